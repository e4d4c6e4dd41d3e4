//! `walcast tail` on a real server: what it prints, where it ends, and what it leaves behind.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Ended, Primary, Program, eventually};

const DEADLINE: Duration = Duration::from_secs(30);

fn tail(primary: &Primary, options: &[&str]) -> Program {
    let url = primary.url();
    Program::walcast([&["tail", url.as_str()], options].concat())
}

/// Runs it to its end, which must be a good one.
#[track_caller]
fn printed(primary: &Primary, options: &[&str]) -> Ended {
    let ended = tail(primary, options).run(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    ended
}

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Tables `a` and `b`, both published as `walcast`, and a slot `s` older than any of their rows.
fn primary_with_slot() -> Primary {
    let primary = Primary::start();
    primary.sql(
        "create table a(id int primary key, note text); create table b(id int primary key);
         create publication walcast for table a, b;",
    );
    primary.sql("select pg_create_logical_replication_slot('s', 'pgoutput')");
    primary
}

fn slots(primary: &Primary) -> String {
    primary.query_one_text("select count(*) from pg_replication_slots").unwrap()
}

#[test]
fn as_json_lines_up_to_now_and_only_once() {
    let primary = primary_with_slot();
    primary.sql("begin; insert into a values (1, 'one'); insert into b values (7); commit");
    primary.sql("update a set note = 'uno'");
    primary.sql("delete from a");
    primary.sql("truncate b");
    let ended = printed(&primary, &["--slot", "s", "--until-now"]);
    let events = events(&ended.stdout);
    let shown: Vec<String> = events
        .iter()
        .map(|event| {
            let text = |key: &str| event[key].to_string();
            format!("{} {} {} {}", text("op"), text("table"), text("key"), text("new"))
        })
        .collect();
    assert_eq!(
        shown,
        [
            r#""insert" "a" {"id":1} {"id":1,"note":"one"}"#,
            r#""insert" "b" {"id":7} {"id":7}"#,
            r#""update" "a" {"id":1} {"id":1,"note":"uno"}"#,
            r#""delete" "a" {"id":1} null"#,
            r#""truncate" "b" null null"#,
        ]
    );
    let last: Vec<bool> = events.iter().map(|event| event["last"] == true).collect();
    assert_eq!(last, [false, true, true, true, true]);
    assert_eq!(printed(&primary, &["--slot", "s", "--until-now"]).stdout, "");
    primary.sql("insert into a values (2, 'two')");
    assert_eq!(events_of(&printed(&primary, &["--slot", "s", "--until-now"])), ["a 2"]);
}

fn events_of(ended: &Ended) -> Vec<String> {
    let shown =
        |event: &Value| format!("{} {}", event["table"].as_str().unwrap(), event["key"]["id"]);
    events(&ended.stdout).iter().map(shown).collect()
}

#[test]
fn as_many_events_as_asked_for_and_no_transaction_lost() {
    let primary = primary_with_slot();
    primary.sql("insert into a values (1), (2)");
    primary.sql("insert into a values (3), (4), (5)");
    let first = printed(&primary, &["--slot", "s", "--limit", "3"]);
    assert_eq!(events_of(&first), ["a 1", "a 2", "a 3"]);
    // The second transaction was cut off, so it comes again, and whole this time.
    let second = printed(&primary, &["--slot", "s", "--limit", "3"]);
    assert_eq!(events_of(&second), ["a 3", "a 4", "a 5"]);
    primary.sql("insert into b values (6)");
    let third = printed(&primary, &["--slot", "s", "--limit", "1"]);
    assert_eq!(events_of(&third), ["b 6"]);
}

#[test]
fn up_to_a_position_and_not_beyond() {
    let primary = primary_with_slot();
    primary.sql("insert into a values (1)");
    let between = primary.query_one_text("select pg_current_wal_insert_lsn()").unwrap();
    primary.sql("insert into a values (2)");
    let options = ["--slot", "s", "--until-lsn", &between];
    assert_eq!(events_of(&printed(&primary, &options)), ["a 1"]);
    assert_eq!(events_of(&printed(&primary, &options)), [""; 0]);
    assert_eq!(events_of(&printed(&primary, &["--slot", "s", "--until-now"])), ["a 2"]);
}

#[test]
fn of_some_tables_with_the_end_of_each_transaction_marked() {
    let primary = primary_with_slot();
    primary.sql("begin; insert into a values (1), (2); insert into b values (3); commit");
    primary.sql("insert into b values (4)");
    primary.sql("insert into a values (5)");
    let ended = printed(&primary, &["--slot", "s", "--until-now", "--tables", "public.a,other.*"]);
    assert_eq!(events_of(&ended), ["a 1", "a 2", "a 5"]);
    let events = events(&ended.stdout);
    let last: Vec<bool> = events.iter().map(|event| event["last"] == true).collect();
    assert_eq!(last, [false, true, true], "{}", ended.stdout);
    assert!(events[1]["end_lsn"].is_string() && events[0].get("end_lsn").is_none());
}

#[test]
fn for_eyes_with_old_and_new_values() {
    let primary = primary_with_slot();
    primary.sql("alter table a replica identity full");
    primary.sql("begin; insert into a values (1, E'one\\x1b[31m'), (2, 'two'); commit");
    primary.sql("update a set note = 'zwei' where id = 2");
    primary.sql("delete from a where id = 1");
    let ended = printed(&primary, &["--slot", "s", "--until-now", "--format", "pretty"]);
    let lines: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with(' ')).collect();
    assert_eq!(
        lines,
        [
            r#"  + public.a  id=1  note="one\u001b[31m""#,
            r#"  + public.a  id=2  note="two""#,
            "  ~ public.a  id=2",
            r#"      note  "two" → "zwei""#,
            r#"  - public.a  id=1  note="one\u001b[31m""#,
        ],
        "{}",
        ended.stdout
    );
    let heads = ended.stdout.lines().filter(|line| line.contains("  xid ")).count();
    assert_eq!(heads, 3, "{}", ended.stdout);
    assert!(!ended.stdout.contains('\u{1b}'));
}

#[test]
fn in_other_formats_with_only_the_bounds_of_what_is_printed() {
    let primary = primary_with_slot();
    primary.sql("begin; insert into a values (1), (2); insert into b values (3); commit");
    primary.sql("insert into b values (4)");
    primary.sql("insert into a values (5)");
    primary.sql("select pg_create_logical_replication_slot('t', 'pgoutput')");
    let wanted = |slot: &str, options: &[&str]| {
        let options = [&["--slot", slot, "--until-now", "--tables", "public.a"], options].concat();
        events(&printed(&primary, &options).stdout)
    };
    let actions = |events: &[Value]| -> String {
        events.iter().map(|event| event["action"].as_str().unwrap()).collect()
    };
    let cut = wanted("s", &["--format", "wal2json", "--limit", "1"]);
    assert_eq!(actions(&cut), "BI");
    let whole = wanted("s", &["--format", "wal2json"]);
    assert_eq!(actions(&whole), "BIICBIC");
    assert_eq!(whole[0]["xid"], whole[3]["xid"]);

    primary.sql("begin; insert into a values (6); insert into b values (7); commit");
    let cloud = wanted("t", &["--format", "cloudevents"]);
    assert_eq!(cloud.len(), 1);
    assert_eq!(
        (&cloud[0]["id"], &cloud[0]["specversion"]),
        (&cloud[0]["data"]["id"], &"1.0".into())
    );
    assert_eq!(cloud[0]["data"]["new"]["id"], 6);
    assert_eq!(cloud[0]["data"]["last"], true, "its transaction's last that is printed");
}

#[test]
fn in_the_envelope_that_a_consumer_of_debezium_reads() {
    let primary = primary_with_slot();
    primary.sql("begin; insert into a values (1, 'one'); insert into b values (3); commit");
    primary.sql("update a set id = 2");
    let options = ["--slot", "s", "--until-now", "--tables", "public.a", "--format", "debezium"];
    let chosen = ["--debezium", "name=shop,transactions,tombstones"];
    let ended = printed(&primary, &[&options[..], &chosen[..]].concat());
    let events = events(&ended.stdout);
    let shown: Vec<String> = events
        .iter()
        .map(|event| {
            let text = |key: &str| event[key].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", text("status"), text("op"), event["before"], event["after"])
        })
        .collect();
    assert_eq!(
        shown,
        [
            "BEGIN - null null",
            r#"- c null {"id":1,"note":"one"}"#,
            "END - null null",
            "BEGIN - null null",
            r#"- d {"id":1,"note":null} null"#,
            "- - null null",
            r#"- c null {"id":2,"note":"one"}"#,
            "END - null null",
        ]
    );
    let source = &events[1]["source"];
    assert_eq!((&source["name"], &source["db"]), (&"shop".into(), &"postgres".into()));
    assert_eq!((&source["schema"], &source["table"]), (&"public".into(), &"a".into()));
    assert_eq!(events[1]["transaction"]["total_order"], 1);
    let refused = tail(&primary, &["--slot", "s", "--debezium", "tombstones"]).run(DEADLINE);
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("add --format debezium"), "{}", refused.stderr);
}

#[test]
fn through_a_temporary_slot_that_is_gone_with_it() {
    let primary = Primary::start();
    primary.sql("create table a(id int primary key)");
    let mut running = tail(&primary, &["--create", "--tables", "public.*"]).start();
    primary.wait_for_sql_blocking(
        "exists (select from pg_replication_slots where temporary and active)",
        DEADLINE,
    );
    insert_until_seen(&primary, &mut || running.stdout().contains("\"insert\""));
    assert!(running.is_running());
    running.signal("INT");
    let ended = running.wait(Duration::from_secs(5));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    primary.wait_for_sql_blocking("not exists (select from pg_replication_slots)", DEADLINE);
}

/// A stream begins some time after its slot is there: rows go in until one comes out.
fn insert_until_seen(primary: &Primary, seen: &mut dyn FnMut() -> bool) {
    eventually("a row comes out", DEADLINE, || {
        primary.sql("insert into a select coalesce(max(id), 0) + 1 from a");
        seen()
    });
}

#[test]
fn until_the_connection_of_a_temporary_slot_breaks() {
    let primary = Primary::start();
    primary.sql("create table a(id int primary key); create publication walcast for table a");
    let running = tail(&primary, &[]).start();
    insert_until_seen(&primary, &mut || !running.stdout().is_empty());
    let before = primary.query_one_text("select pg_current_wal_lsn()").unwrap();
    primary.sql("select pg_terminate_backend(active_pid) from pg_replication_slots");
    let ended = running.wait(DEADLINE);
    assert_eq!(ended.code(), Some(5), "{}", ended.stderr);
    let last = events(&ended.stdout).last().unwrap()["end_lsn"].clone();
    assert!(ended.stderr.contains("the last position was "), "{}", ended.stderr);
    let named = ended.stderr.split("the last position was ").nth(1).unwrap();
    let named: walcast::Lsn = named.split(':').next().unwrap().parse().unwrap();
    assert!(named >= last.as_str().unwrap().parse().unwrap(), "{named}, {last}");
    assert!(named <= before.parse().unwrap(), "{named}, {before}");
}

#[test]
fn from_anew_after_a_break_with_the_gap_shown() {
    let primary = Primary::start();
    primary.sql("create table a(id int primary key); create publication walcast for table a");
    let mut running = tail(&primary, &["--on-disconnect", "restart"]).start();
    insert_until_seen(&primary, &mut || !running.stdout().is_empty());
    primary.restart();
    running.wait_for_stdout("\"op\":\"gap\"", DEADLINE);
    let length = running.stdout().len();
    insert_until_seen(&primary, &mut || running.stdout().len() > length);
    running.signal("TERM");
    let ended = running.wait(Duration::from_secs(5));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let events = events(&ended.stdout);
    let gap = events.iter().position(|event| event["op"] == "gap").unwrap();
    let lsn = |text: &Value| text.as_str().unwrap().parse::<walcast::Lsn>().unwrap();
    assert!(gap > 0 && lsn(&events[gap]["after"]) >= lsn(&events[gap - 1]["end_lsn"]));
    assert!(lsn(&events[gap]["resumed_at"]) > lsn(&events[gap]["after"]));
    assert!(lsn(&events[gap + 1]["commit_lsn"]) >= lsn(&events[gap]["resumed_at"]));
}

#[test]
fn and_goes_on_by_itself_with_a_slot_of_its_own() {
    let primary = primary_with_slot();
    let mut running = tail(&primary, &["--slot", "s"]).start();
    for round in 1..=3 {
        primary.sql(&format!("insert into a values ({round})"));
        running.wait_for_stdout(&format!("\"key\":{{\"id\":{round}}}"), DEADLINE);
        primary.sql("select pg_terminate_backend(active_pid) from pg_replication_slots");
    }
    primary.sql("insert into a values (4)");
    running.wait_for_stdout("\"key\":{\"id\":4}", DEADLINE);
    running.signal("INT");
    let ended = running.wait(Duration::from_secs(5));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(events_of(&ended), ["a 1", "a 2", "a 3", "a 4"]);
}

#[test]
fn to_a_reader_that_has_seen_enough() {
    let primary = primary_with_slot();
    primary.sql("insert into a select id, repeat('x', 100) from generate_series(1, 50000) id");
    let script = "set -o pipefail; \"$0\" \"$@\" | head -n 1";
    let (walcast, url) = (env!("CARGO_BIN_EXE_walcast"), primary.url());
    let words = ["-c", script, walcast, "tail", &url, "--slot", "s", "--until-now"];
    let ended = Program::new("bash", words).run(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(events_of(&ended), ["a 1"]);
    let again = printed(&primary, &["--slot", "s", "--limit", "1"]);
    assert_eq!(events_of(&again), ["a 1"], "what nobody took is not confirmed");
}

#[test]
fn and_says_which_command_makes_what_is_missing() {
    let primary = Primary::start();
    primary.sql("create table a(id int primary key)");
    let refused = tail(&primary, &["--slot", "mine"]).run(DEADLINE);
    assert_eq!(refused.code(), Some(4), "{}", refused.stderr);
    let command = refused.stderr.split("fix: make it: walcast ").nth(1).expect(&refused.stderr);
    assert!(command.contains("--slot mine --create --tables 'public.*'"), "{command}");
    assert_eq!(slots(&primary), "0");
    let script = format!("\"$0\" {} --limit 1", command.trim());
    let running = Program::new("bash", ["-c", &script, env!("CARGO_BIN_EXE_walcast")]).start();
    primary.wait_for_sql_blocking("exists (select from pg_replication_slots)", DEADLINE);
    insert_until_seen(&primary, &mut || running.stdout().contains("\"insert\""));
    let ended = running.wait(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(slots(&primary), "1");
}
