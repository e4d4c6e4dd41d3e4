//! `walcast run` on a real server: what its files hold, how it ends, and what it says when it
//! cannot begin.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Desk, Load, Primary, drained, eventually, pgbench_tables, streams};

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn and_ends_in_order_when_told_to() {
    let primary = Primary::start();
    primary.sql("create table a(id int primary key, note text)");
    let desk = Desk::new(&primary.url(), "");
    let running = desk.start(&primary);
    primary.sql("insert into a select id, 'row ' || id from generate_series(1, 1000) id");
    eventually("a line comes", DEADLINE, || !desk.lines().is_empty());
    let ended = drained(running);
    let lines = desk.lines();
    assert_eq!(lines.len(), 1000);
    // Nothing delivered is unconfirmed, and what comes next is not doubled.
    let end = lines[999]["end_lsn"].as_str().unwrap();
    let confirmed = format!(
        "select confirmed_flush_lsn >= '{end}' from pg_replication_slots where slot_name = 's'"
    );
    assert_eq!(primary.query_one_text(&confirmed).as_deref(), Some("t"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    primary.sql("insert into a values (1001)");
    let running = desk.start(&primary);
    eventually("the next line comes", DEADLINE, || desk.lines().len() > 1000);
    drained(running);
    let ids: Vec<i64> =
        desk.lines().iter().map(|line| line["key"]["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, (1..=1001).collect::<Vec<_>>());
}

#[test]
fn and_its_file_adds_up_to_the_tables_after_a_load() {
    let primary = Primary::start();
    pgbench_tables(&primary, 1);
    primary.sql("create publication p for all tables");
    let desk = Desk::with_publication(&primary.url(), "");
    let running = desk.start(&primary);
    let load = Load::on(&primary).clients(4).transactions(250).start();
    let committed = load.wait(DEADLINE);
    drained(running);
    // The drain ends at what was handed out; the rest comes with the next run.
    let running = desk.start(&primary);
    let history = |lines: &[Value]| {
        lines.iter().filter(|line| line["table"] == "pgbench_history").count() as u64
    };
    eventually("all have come", DEADLINE, || history(&desk.lines()) == committed);
    drained(running);
    let lines = desk.lines();
    for (table, key, balance) in [
        ("pgbench_accounts", "aid", "abalance"),
        ("pgbench_tellers", "tid", "tbalance"),
        ("pgbench_branches", "bid", "bbalance"),
    ] {
        // The last line of each row is the row.
        let mut last = std::collections::BTreeMap::new();
        for line in lines.iter().filter(|line| line["table"] == table) {
            assert_eq!(line["op"], "update");
            last.insert(line["new"][key].as_i64().unwrap(), line["new"][balance].as_i64().unwrap());
        }
        let ours: i64 = last.values().sum();
        let sum = format!("select sum({balance}) from {table}");
        assert_eq!(primary.query_one_text(&sum), Some(ours.to_string()), "{table}");
    }
    let ids: std::collections::HashSet<&str> =
        lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), lines.len(), "an id came twice");
    assert_eq!(lines.len() as u64, committed * 4);
    let commits: Vec<walcast::Lsn> =
        lines.iter().map(|line| line["commit_lsn"].as_str().unwrap().parse().unwrap()).collect();
    assert!(commits.is_sorted(), "out of commit order");
}

#[test]
fn and_lets_go_at_the_second_signal() {
    let primary = Primary::start();
    primary.sql("create table a(id int primary key, note text)");
    let desk = Desk::new(&primary.url(), "[[sink]]\nname = \"out\"\ntype = \"stdout\"\n");
    let (mut running, _pipe) = desk.start_blocked(&primary);
    primary.sql("insert into a select id, repeat('x', 100) from generate_series(1, 5000) id");
    eventually("the file has it all", DEADLINE, || desk.lines().len() == 5000);
    running.signal("TERM");
    eventually("it drains", DEADLINE, || running.stderr().contains("draining"));
    assert!(running.is_running(), "{}", running.stderr());
    running.signal("TERM");
    let ended = running.wait(Duration::from_secs(5));
    assert_eq!(ended.code(), Some(6), "{}", ended.stderr);
    assert!(ended.stderr.contains("sink out had not proven everything"), "{}", ended.stderr);
    // What the pipe never took is not confirmed; the file, which has it, takes none of it again.
    let confirmed = "select pg_current_wal_lsn() - confirmed_flush_lsn > 500000
        from pg_replication_slots where slot_name = 's'";
    assert_eq!(primary.query_one_text(confirmed).as_deref(), Some("t"));
    let running = desk.start(&primary);
    drained(running);
    assert_eq!(desk.lines().len(), 5000);
}

#[test]
fn and_shows_its_password_to_nobody() {
    let primary =
        Primary::builder().hba("host all,replication all 127.0.0.1/32 scram-sha-256").start();
    primary.sql("create role w login replication password 'h0rse&staple'; create table a(id int primary key)");
    primary.sql("create publication p for table a");
    let url = format!("postgres://w:${{SECRET}}@127.0.0.1:{}/postgres", primary.port());
    let desk = Desk::with_publication(&url, "");
    let secret = |text: &str| text.contains("h0rse");
    let mut running = desk.run().env("SECRET", "h0rse&staple").start();
    streams(&primary, &mut running);
    let environment = format!("/proc/{}/cmdline", running.pid());
    assert!(!secret(&std::fs::read_to_string(environment).unwrap()));
    let ended = drained(running);
    assert!(!secret(&ended.stderr) && !secret(&ended.stdout), "{}", ended.stderr);
    assert!(ended.stderr.contains("w@127.0.0.1"), "{}", ended.stderr);
    let refused = desk.run().env("SECRET", "wr0ng&h0rse").run(DEADLINE);
    assert_eq!(refused.code(), Some(3), "{}", refused.stderr);
    assert!(!secret(&refused.stderr), "{}", refused.stderr);
}

#[test]
fn but_not_beside_another_on_the_same_state() {
    let primary = Primary::start();
    primary.sql("create table a(id int primary key)");
    let desk = Desk::new(&primary.url(), "");
    let running = desk.start(&primary);
    let second = desk.run().run(DEADLINE);
    assert_eq!(second.code(), Some(1), "{}", second.stderr);
    let named = format!("is held by process {}", running.pid());
    assert!(second.stderr.contains(&named), "{}", second.stderr);
    assert!(second.stderr.contains("fix: stop that process"), "{}", second.stderr);
    drained(running);
}

#[test]
fn but_not_where_it_cannot_write() {
    let primary = Primary::start();
    let desk = Desk::new(&primary.url(), "[pipeline]\nstate = \"/proc/walcast\"\n");
    let ended = desk.run().run(DEADLINE);
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("cannot make in state directory /proc/walcast"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("fix: name a directory in [pipeline] state"), "{}", ended.stderr);
    assert_eq!(primary.query_one_text("select count(*) from pg_replication_slots").unwrap(), "0");
}

#[test]
fn but_not_when_its_config_is_wrong() {
    let desk = Desk::new("postgres://u:pa55@h/d", "colour = \"red\"\n");
    let ended = desk.run().run(DEADLINE);
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("walcast.toml:10:1: sink.audit.colour: unknown key"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("pa55"), "{}", ended.stderr);
}

#[test]
fn but_not_without_its_publication() {
    let primary = Primary::start();
    let desk = Desk::with_publication(&primary.url(), "");
    let ended = desk.run().run(DEADLINE);
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("fix: "), "{}", ended.stderr);
}
