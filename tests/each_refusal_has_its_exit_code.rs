//! What stands in the way of a stream ends the program at once, with its own code, what is wrong
//! and what to do about it.

use std::time::Duration;

use crate::support::{Ended, Primary, Program};

/// Time for a start; a retry without end would not keep it.
const DEADLINE: Duration = Duration::from_secs(30);

fn tail(url: &str, options: &[&str]) -> Ended {
    Program::walcast([&["tail", url], options].concat()).run(DEADLINE)
}

#[track_caller]
fn refused(ended: &Ended, code: i32, said: &str, fix: &str) {
    let stderr = &ended.stderr;
    assert_eq!(ended.code(), Some(code), "{stderr}");
    assert!(stderr.contains(said), "{said:?} not in {stderr}");
    assert!(stderr.contains("\n  fix: ") && stderr.contains(fix), "{fix:?} not in {stderr}");
    assert_eq!(ended.stdout, "");
}

fn published() -> Primary {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication walcast for table t");
    primary
}

#[test]
fn wrong_password_3() {
    let primary = Primary::builder().hba("host all all 127.0.0.1/32 scram-sha-256").start();
    primary.sql("create role app login replication password 'right'");
    let ended = tail(&primary.url_for("app", "hunter2", "postgres"), &[]);
    refused(&ended, 3, "refused the password of user \"app\"", "check user and password");
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    let ended = tail(&primary.url_for("nobody", "x", "postgres"), &[]);
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
}

#[test]
fn no_right_to_replicate_3() {
    let primary = published();
    primary.sql("create role plain login");
    let ended = tail(&primary.url_for("plain", "", "postgres"), &[]);
    refused(&ended, 3, "does not let user \"plain\" in", "ALTER ROLE \"plain\" REPLICATION");
}

#[test]
fn nothing_listens_3() {
    let ended = tail("postgres://u@127.0.0.1:1/d", &[]);
    refused(&ended, 3, "cannot reach 127.0.0.1:1", "listen_addresses");
}

#[test]
fn wal_level_replica_3() {
    let primary = Primary::builder().setting("wal_level", "replica").start();
    let ended = tail(&primary.url(), &[]);
    refused(&ended, 3, "wal_level is replica", "ALTER SYSTEM SET wal_level = logical");
}

#[test]
fn missing_publication_4() {
    let primary = Primary::start();
    let ended = tail(&primary.url(), &["--publication", "shop"]);
    let fix = "--publication shop --create --tables 'public.*'";
    refused(&ended, 4, "publication \"shop\" does not exist", fix);
}

#[test]
fn missing_slot_4() {
    let primary = published();
    let ended = tail(&primary.url(), &["--slot", "mine"]);
    refused(&ended, 4, "replication slot \"mine\" does not exist", "--slot mine --create");
}

#[test]
fn slot_in_use_3() {
    let primary = published();
    primary.sql("select pg_create_logical_replication_slot('s', 'pgoutput')");
    let _holder = Program::walcast(["tail", &primary.url(), "--slot", "s"]).start();
    primary.wait_for_sql_blocking("(select active from pg_replication_slots)", DEADLINE);
    let ended = tail(&primary.url(), &["--slot", "s"]);
    refused(
        &ended,
        3,
        "replication slot \"s\" is in use by server process",
        "pg_terminate_backend",
    );
}

#[test]
fn slot_of_another_plugin_4() {
    let primary = published();
    primary.sql("select pg_create_logical_replication_slot('s', 'test_decoding')");
    let ended = tail(&primary.url(), &["--slot", "s"]);
    refused(&ended, 4, "is of plugin test_decoding", "name another slot");
}

#[test]
fn publication_dropped_while_running_4() {
    let primary = published();
    primary.sql("select pg_create_logical_replication_slot('s', 'pgoutput')");
    let mut running = Program::walcast(["tail", &primary.url(), "--slot", "s"]).start();
    primary.sql("insert into t values (1)");
    running.wait_for_stdout("\"insert\"", DEADLINE);
    primary.sql("drop publication walcast");
    primary.sql("insert into t values (2)");
    let ended = running.wait(DEADLINE);
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("publication \"walcast\""), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
}

#[test]
fn tables_that_would_break_the_application_2() {
    let primary = Primary::start();
    primary.sql("create table keyless(id int); create table keyed(id int primary key)");
    let ended = tail(&primary.url(), &["--create", "--tables", "public.*"]);
    let fix = "ALTER TABLE public.keyless REPLICA IDENTITY FULL";
    refused(&ended, 2, "no replica identity: public.keyless", fix);
    assert_eq!(primary.query_one_text("select count(*) from pg_publication").unwrap(), "0");
}

#[test]
fn a_command_line_that_cannot_work_2() {
    for (options, said) in [
        (&["--format", "avro"][..], "json, pretty, debezium, cloudevents, wal2json"),
        (&["--tables", "orders"], "write it as \"public.orders\""),
        (&["--slot", "Mine"], "lower-case letters"),
        (&["--until-lsn", "soon"], "is not an LSN"),
        (&["--limit", "0"], "0"),
    ] {
        let ended = tail("postgres://u@127.0.0.1:1/d", options);
        assert_eq!(ended.code(), Some(2), "{options:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{options:?}: {}", ended.stderr);
    }
    let ended = tail("postgres://u:hunter2@127.0.0.1:1/d?sslmod=require", &[]);
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("unknown connection parameter \"sslmod\""), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[test]
fn a_config_that_cannot_work_2() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("walcast.toml");
    let text = "[source]\nurl = \"postgres://u@h/d\"\npublicaton = \"p\"\n\n\
                [pipeline]\nmemory = \"64 megs\"\n\n\
                [[sink]]\nname = \"a\"\ntype = \"stdout\"\n";
    std::fs::write(&path, text).unwrap();
    let target = path.display().to_string();
    let ended = Program::walcast(["check", &target]).run(DEADLINE);
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    for said in [
        "walcast.toml:3:1: source.publicaton: unknown key; did you mean `publication`?",
        "walcast.toml:6:1: pipeline.memory: \"64 megs\" is not a size; write it as \"64MiB\"",
    ] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}
