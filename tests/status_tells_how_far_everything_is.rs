//! `walcast status`: of a pipeline that runs, of one that is held up, of one that has ended, and of
//! a server.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Desk, Primary, Program, drained, eventually};

const DEADLINE: Duration = Duration::from_secs(30);
const OUT: &str = "[[sink]]\nname = \"out\"\ntype = \"stdout\"\n";

fn primary_with_table() -> Primary {
    let primary = Primary::start();
    primary.sql("create table a(id int primary key, note text)");
    primary
}

/// The status as JSON, with its exit code.
#[track_caller]
fn json(desk: &Desk) -> (Value, Option<i32>) {
    let ended = desk.walcast("status", &["--json"]).run(DEADLINE);
    assert_eq!(ended.stderr, "");
    (serde_json::from_str(&ended.stdout).expect(&ended.stdout), ended.code())
}

fn rung<'a>(status: &'a Value, stage: &str, sink: Option<&str>) -> &'a Value {
    let rungs = status["lag"].as_array().unwrap();
    let found = rungs.iter().find(|rung| rung["stage"] == stage && rung["sink"].as_str() == sink);
    found.unwrap_or_else(|| panic!("no rung {stage} {sink:?}: {status:#}"))
}

#[test]
fn zero_when_idle_and_caught_up() {
    let primary = primary_with_table();
    let desk = Desk::new(&primary.url(), "");
    let running = desk.start(&primary);
    primary.sql("insert into a select id, 'x' from generate_series(1, 100) id");
    let caught_up = |status: &Value| {
        let rungs = status["lag"].as_array().unwrap();
        rungs.len() == 5 && rungs.iter().all(|it| it["bytes"] == 0 && it["seconds"] == 0.0)
    };
    let status = eventually("all lag is 0", DEADLINE, || {
        let (status, code) = json(&desk);
        (desk.lines().len() == 100 && caught_up(&status)).then_some((status, code))
    });
    let (status, code) = status;
    assert_eq!(code, Some(0), "{status:#}");
    assert_eq!(status["running"], true);
    assert_eq!(status["primary"]["healthy"], true);
    assert_eq!(status["slot"]["name"], "s");
    let sink = &status["replicas"][0];
    assert_eq!((&sink["name"], &sink["healthy"]), (&"audit".into(), &true.into()));
    assert_eq!((&sink["lag_bytes"], &sink["lag_seconds"]), (&0.into(), &0.0.into()));
    let table = desk.walcast("status", &[]).run(DEADLINE);
    assert_eq!(table.code(), Some(0), "{}", table.stderr);
    assert!(table.stdout.ends_with("\nhealthy, caught up\n"), "{}", table.stdout);
    drained(running);
}

#[test]
fn growing_while_a_sink_is_blocked() {
    let primary = primary_with_table();
    let desk = Desk::new(&primary.url(), OUT);
    let (running, mut reader) = desk.start_blocked(&primary);
    primary.sql("insert into a select id, repeat('x', 100) from generate_series(1, 5000) id");
    eventually("the other sink has it all", DEADLINE, || desk.lines().len() == 5000);
    let lag = || {
        let (status, code) = json(&desk);
        let seconds = rung(&status, "durable", Some("out"))["seconds"].as_f64().unwrap();
        (status, seconds, code)
    };
    let (status, first, code) = lag();
    assert!(first > 0.0, "{status:#}");
    assert!(rung(&status, "confirmed", None)["bytes"].as_u64().unwrap() > 50_000, "{status:#}");
    assert_eq!(rung(&status, "durable", Some("audit"))["seconds"], 0.0, "{status:#}");
    // It waits and does not fail: slow is not ill.
    assert_eq!(code, Some(0), "{status:#}");
    eventually("the lag has grown by a second", DEADLINE, || lag().1 > first + 1.0);
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    eventually("it is 0 again", DEADLINE, || lag().1 == 0.0);
    drained(running);
}

#[test]
fn from_the_files_when_nothing_runs() {
    let primary = primary_with_table();
    let desk = Desk::new(&primary.url(), "");
    let (status, code) = json(&desk);
    assert_eq!(code, Some(8));
    assert_eq!(
        (&status["running"], &status["slot"]["confirmed_lsn"]),
        (&false.into(), &Value::Null)
    );
    assert_eq!(status["replicas"][0]["state"], "never_run");
    assert!(!desk.path("walcast-state").exists(), "looking makes nothing");
    let running = desk.start(&primary);
    primary.sql("insert into a values (1)");
    eventually("the line comes", DEADLINE, || desk.lines().len() == 1);
    drained(running);
    let (before, _) = json(&desk);
    assert_eq!(before["replicas"][0]["state"], "stopped");
    let applied: walcast::Lsn =
        before["replicas"][0]["applied_lsn"].as_str().unwrap().parse().unwrap();
    let end = desk.lines()[0]["end_lsn"].as_str().unwrap().parse().unwrap();
    assert!(applied >= end);
    primary.sql("insert into a select id, repeat('x', 100) from generate_series(2, 1000) id");
    let (after, code) = json(&desk);
    assert_eq!(code, Some(8));
    let behind = |status: &Value| rung(status, "durable", Some("audit"))["bytes"].as_u64().unwrap();
    assert!(behind(&after) > behind(&before) + 100_000, "{after:#}");
    let table = desk.walcast("status", &[]).run(DEADLINE);
    assert!(table.stdout.contains("\nthe pipeline does not run\n"), "{}", table.stdout);
}

#[test]
fn of_every_slot_of_a_server() {
    let primary = primary_with_table();
    primary.sql("select pg_create_logical_replication_slot('idle', 'pgoutput')");
    primary.sql("insert into a select id, repeat('x', 100) from generate_series(1, 1000) id");
    let url = primary.url();
    let ended = Program::walcast(["status", &url, "--json"]).run(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let status: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(status["slots"][0]["slot_name"], "idle");
    assert!(status["slots"][0]["behind_bytes"].as_u64().unwrap() > 100_000, "{status:#}");
    let table = Program::walcast(["status", &url]).run(DEADLINE);
    assert!(table.stdout.contains("idle  nobody streams  "), "{}", table.stdout);
}

#[test]
fn of_a_slot_that_is_lost() {
    let primary = Primary::builder()
        .setting("max_slot_wal_keep_size", "1MB")
        .setting("min_wal_size", "32MB")
        .setting("max_wal_size", "32MB")
        .start();
    primary.sql("create table a(id int, note text)");
    primary.sql("select pg_create_logical_replication_slot('lost', 'pgoutput')");
    eventually("the slot is lost", DEADLINE, || {
        primary.sql("insert into a select id, repeat('x', 1000) from generate_series(1, 30000) id");
        primary.sql("checkpoint");
        let lost = "select wal_status = 'lost' from pg_replication_slots";
        primary.query_one_text(lost).as_deref() == Some("t")
    });
    let ended = Program::walcast(["status", &primary.url()]).run(DEADLINE);
    assert_eq!(ended.code(), Some(8), "{}", ended.stdout);
    assert!(ended.stdout.contains("slot lost: the server removed WAL"), "{}", ended.stdout);
}

#[test]
fn again_and_again_until_interrupted() {
    let primary = primary_with_table();
    let desk = Desk::new(&primary.url(), "");
    let running = desk.start(&primary);
    let watching = desk.walcast("status", &["--watch", "--json"]).start();
    let look = |line: &str| {
        serde_json::from_str::<Value>(line).is_ok_and(|status| status["running"] == true)
    };
    // The slot is read a moment before the pipeline answers questions.
    eventually("three looks", DEADLINE, || {
        watching.stdout().lines().filter(|line| look(line)).count() >= 3
    });
    watching.signal("INT");
    let ended = watching.wait(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.lines().skip_while(|line| !look(line)).all(look));
    drained(running);
}

#[test]
fn of_a_server_that_is_gone() {
    let primary = primary_with_table();
    let desk = Desk::new(&primary.url(), "");
    let running = desk.start(&primary);
    primary.stop_immediate();
    let (status, code) = json(&desk);
    assert_eq!((code, &status["primary"]["healthy"]), (Some(8), &false.into()), "{status:#}");
    drop(running);
    let ended = Program::walcast(["status", &primary.url()]).run(DEADLINE);
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
}
