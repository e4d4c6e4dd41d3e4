//! `walcast slot` on a real server.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Ended, Primary, Program, Running};

const DEADLINE: Duration = Duration::from_secs(30);

fn slot(primary: &Primary, action: &str, rest: &[&str]) -> Ended {
    let url = primary.url();
    Program::walcast([&["slot", action, url.as_str()], rest].concat()).run(DEADLINE)
}

#[track_caller]
fn good(ended: Ended) -> String {
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    ended.stdout
}

#[track_caller]
fn refused(ended: Ended, code: i32, said: &str) {
    assert_eq!(ended.code(), Some(code), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}

fn listed(primary: &Primary) -> Vec<Value> {
    let text = good(slot(primary, "list", &["--json"]));
    serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
}

/// A consumer of slot `s` that comes back whenever its connection is ended.
fn consumer(primary: &Primary) -> Running {
    primary.sql("create table t(id int primary key); create publication walcast for table t");
    primary.sql("select pg_create_logical_replication_slot('s', 'pgoutput')");
    let running = Program::walcast(["tail", &primary.url(), "--slot", "s"]).start();
    primary.wait_for_sql_blocking("(select active from pg_replication_slots)", DEADLINE);
    running
}

#[test]
fn from_first_to_last() {
    let primary = Primary::start();
    assert_eq!(good(slot(&primary, "list", &[])), "no replication slots\n");
    let said = good(slot(&primary, "create", &["s"]));
    assert!(said.starts_with("made s, which begins at "), "{said}");
    let slots = listed(&primary);
    assert_eq!(slots.len(), 1);
    assert_eq!(slots[0]["slot_name"], "s");
    assert_eq!(slots[0]["plugin"], "pgoutput");
    assert_eq!(slots[0]["temporary"], false);
    assert_eq!(slots[0]["wal_status"], "reserved");
    assert_eq!(slots[0]["holder"], Value::Null);
    assert!(said.contains(slots[0]["confirmed_flush_lsn"].as_str().unwrap()), "{said}");
    refused(slot(&primary, "create", &["s"]), 2, "exists already, with pgoutput, of postgres");
    let said = good(slot(&primary, "drop", &["s"]));
    assert!(said.starts_with("dropped s"), "{said}");
    assert_eq!(listed(&primary).len(), 0);
    refused(slot(&primary, "drop", &["s"]), 4, "replication slot \"s\" does not exist");
    refused(slot(&primary, "advance", &["s", "--to", "current"]), 4, "does not exist");
}

#[test]
fn with_who_holds_them() {
    let primary = Primary::start();
    let running = consumer(&primary);
    let pid = primary.query_one_text("select active_pid from pg_replication_slots").unwrap();
    let slots = listed(&primary);
    assert_eq!(slots[0]["holder"]["pid"].to_string(), pid);
    assert_eq!(slots[0]["holder"]["application"], "walcast");
    assert_eq!(slots[0]["holder"]["client"], "127.0.0.1");
    let table = good(slot(&primary, "list", &[]));
    let row = table.lines().nth(1).unwrap();
    assert!(row.starts_with("s     pgoutput  postgres"), "{table}");
    assert!(
        row.contains(&format!("pid {pid}, \"walcast\" of \"postgres\" from 127.0.0.1")),
        "{table}"
    );
    let to = primary.query_one_text("select pg_current_wal_lsn()").unwrap();
    refused(slot(&primary, "drop", &["s"]), 3, "--force");
    refused(slot(&primary, "advance", &["s", "--to", &to]), 3, &format!("process {pid}"));
    assert_eq!(listed(&primary).len(), 1);
    drop(running);
}

#[test]
fn by_force_although_the_consumer_comes_back() {
    let primary = Primary::start();
    let running = consumer(&primary);
    good(slot(&primary, "drop", &["s", "--force"]));
    assert_eq!(listed(&primary).len(), 0);
    // It finds that its slot is gone, and does not make another one.
    let ended = running.wait(DEADLINE);
    refused(ended, 4, "replication slot \"s\" does not exist");
    assert_eq!(listed(&primary).len(), 0);
}

#[test]
fn forward_only_and_what_they_pass_is_said_to_be_lost() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication walcast for table t");
    good(slot(&primary, "create", &["s"]));
    let begin = listed(&primary)[0]["confirmed_flush_lsn"].as_str().unwrap().to_owned();
    primary.sql("insert into t values (1)");
    let middle = primary.query_one_text("select pg_current_wal_lsn()").unwrap();
    primary.sql("insert into t values (2)");
    let ended = slot(&primary, "advance", &["s", "--to", &middle]);
    assert!(ended.stderr.contains("will never be sent"), "{}", ended.stderr);
    let said = good(ended);
    assert!(said.contains(&format!("from {begin} to {middle}")), "{said}");
    let url = primary.url();
    let rest = Program::walcast(["tail", &url, "--slot", "s", "--until-now"]).run(DEADLINE);
    let rest = good(rest);
    assert!(rest.lines().count() == 1 && rest.contains("\"new\":{\"id\":2}"), "{rest}");
    refused(slot(&primary, "advance", &["s", "--to", &begin]), 2, "a slot moves forward only");
    primary.sql("insert into t values (3)");
    good(slot(&primary, "advance", &["s", "--to", "current"]));
    let rest = Program::walcast(["tail", &url, "--slot", "s", "--until-now"]).run(DEADLINE);
    assert_eq!(good(rest), "");
    refused(slot(&primary, "advance", &["s", "--to", "soon"]), 2, "is not an LSN");
}

#[test]
fn not_while_a_transaction_keeps_them_from_being_made() {
    let primary = Primary::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(primary.client());
    runtime.block_on(client.batch_execute("begin; create table open()")).unwrap();
    let url = primary.url();
    let running = Program::walcast(["slot", "create", &url, "s"]).start();
    primary.wait_for_sql_blocking("exists (select from pg_replication_slots)", DEADLINE);
    assert!(running.stdout().is_empty());
    runtime.block_on(client.batch_execute("commit")).unwrap();
    good(running.wait(DEADLINE));
}
