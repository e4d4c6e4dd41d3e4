//! Rows larger than the memory, tables as wide as can be, names as long and strange as can be,
//! transactions without anything, messages between transactions: all through a pipeline with little
//! memory that is restarted between.

use std::time::Duration;

use serde_json::Value;
use walcast::Source;

use crate::support::pipeline::{Place, SOON, caught_up, source, start};
use crate::support::{History, Primary, oracle, workload};

const MEMORY: usize = 1024 * 1024;

/// What a frame may take beyond the memory: the largest that these tests bring about, and what is
/// made of the widest row.
const OVERSIZE: usize = 3_100_000;
const OF_WIDEST_ROW: usize = 64 * 1024;

/// Runs a pipeline over `steps`, either one run for each or one for all, and reads what it wrote.
/// What is in flight never exceeds the memory by more than `beyond`.
async fn wrote(
    primary: &Primary,
    source: impl Fn() -> Source,
    steps: &[&str],
    (restart, beyond): (bool, usize),
) -> History {
    let place = Place::new();
    let begin = || start(place.to_file(source()).memory(MEMORY));
    let mut running = begin();
    running.streams().await;
    for step in steps {
        primary.sql(step);
        let patience =
            tokio::time::timeout(Duration::from_secs(15), caught_up(primary, SOON)).await;
        if patience.is_err() {
            panic!("stuck after {step:.200}: {:#?}", running.status().await);
        }
        if restart {
            running.drain().await.unwrap();
            running = begin();
            running.streams().await;
        }
    }
    let memory = running.status().await.memory;
    assert!(memory.inflight_bytes_peak <= memory.limit_bytes + beyond, "{memory:?}");
    running.drain().await.unwrap();
    primary.wait_for_sql("not exists (select from pg_replication_slots where active)", SOON).await;
    primary.sql("select pg_drop_replication_slot('s')");
    History::read(&place.file("out.jsonl"))
}

async fn arrives(primary: &Primary, tables: &[&str], steps: &[&str], beyond: usize) {
    for restart in [false, true] {
        let before: oracle::Tables =
            tables.iter().map(|name| (String::from(*name), oracle::table(primary, name))).collect();
        let how = (restart, beyond);
        let history = wrote(primary, || source(&primary.url()), steps, how).await;
        history.assert_agrees_from(before, primary, tables);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_larger_than_the_memory() {
    let primary = Primary::start();
    primary.sql(
        "create table t(id bigint generated always as identity primary key, note text);
         create publication p for table t",
    );
    let huge = "insert into t(note) select repeat('h', 3000000 + g) from generate_series(1, 3) g;";
    let small = "insert into t(note) select 'small' from generate_series(1, 100);";
    let steps = [
        format!("{small} {huge} {small} {huge}"),
        huge.to_owned(),
        "insert into t(note) values (repeat('x', 1000000))".to_owned(),
        "insert into t(note) select repeat('y', 300000) from generate_series(1, 10)".to_owned(),
        format!("{small} {huge} update t set note = note || 'z' where length(note) > 2000000"),
        "delete from t where length(note) > 100".to_owned(),
    ];
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    arrives(&primary, &["t"], &steps, OVERSIZE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_1600_columns() {
    let primary = Primary::start();
    let columns = |kind: &str| -> String {
        (1..1600).map(|at| format!(", {}{at:04} {kind}", "c".repeat(59))).collect()
    };
    primary.sql(&format!(
        "create table narrow(id int primary key);
         create table wide(id int primary key{});
         create table bits(id int primary key{});
         create publication p for table narrow, wide, bits",
        columns("int"),
        columns("bool")
    ));
    let row = |id: u32| format!("insert into wide values ({id}{});", ", 7".repeat(1599));
    let steps = [
        format!("insert into narrow values (-1), (-2); {} insert into narrow values (-3);", row(1)),
        "truncate narrow, wide, bits".to_owned(),
        "insert into wide(id) select g from generate_series(1, 300) g".to_owned(),
        "insert into bits(id) select g from generate_series(1, 300) g".to_owned(),
        format!(
            "{}update wide set id = -id where id < 100; delete from wide where id > 0; delete from bits",
            row(1000)
        ),
    ];
    let mut steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    steps.push("truncate narrow, wide, bits");
    arrives(&primary, &["narrow", "wide", "bits"], &steps, OF_WIDEST_ROW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_63_bytes_with_everything_in_them() {
    let primary = Primary::start();
    let name = |what: &str| {
        let mut name = format!("{what}\"'\\ .,{{}}%täble\u{1F418}\t$1--");
        while name.len() < 63 {
            name.push('x');
        }
        assert_eq!(name.len(), 63);
        name
    };
    let quoted = |name: &str| walcast::quote_identifier(name);
    let (schema, table, column) = (name("schema"), name("table"), name("column"));
    let publication = name("publication");
    let full_name = format!("{}.{}", quoted(&schema), quoted(&table));
    primary.sql(&format!(
        "create schema {}; create table {full_name}({} int primary key, \"n\" text);
         create publication {} for table {full_name}",
        quoted(&schema),
        quoted(&column),
        quoted(&publication)
    ));
    let source = || {
        let source = Source::new(&primary.url(), "s", [publication.as_str()]).unwrap();
        source.create_slot(true).status_interval(Duration::from_secs(1))
    };
    let insert = format!("insert into {full_name} values (1, 'a'), (2, 'b')");
    let history = wrote(&primary, source, &[&insert], (true, 0)).await;
    let events: Vec<&Value> = history.events().collect();
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!(
            (&event["schema"], &event["table"]),
            (&schema.clone().into(), &table.clone().into())
        );
        assert!(event["new"][&column].is_number() && event["key"][&column].is_number(), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_without_anything() {
    let primary = Primary::start();
    workload::tables(&primary);
    primary.sql("create publication p for table items, txlog with (publish = 'insert')");
    let steps = [
        "select txid_current()",
        "create table x(id int); drop table x",
        "insert into notes(note) values ('not published')",
        "insert into txlog values (txid_current(), 1)",
        "begin; insert into txlog values (-1, 1); rollback; begin; commit;",
        "update txlog set changes = 1",
    ];
    for restart in [false, true] {
        primary.sql("delete from txlog");
        let history = wrote(&primary, || source(&primary.url()), &steps, (restart, 0)).await;
        assert_eq!(history.transactions.len(), 1);
        history.assert_matches_log(&primary);
    }
}

/// Between transactions, often at the very end of a commit, and over restarts.
#[tokio::test(flavor = "multi_thread")]
async fn messages_between_transactions() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication p for table t");
    let with_messages = || source(&primary.url()).messages(vec!["m".to_owned()]);
    let steps: Vec<String> = (0..6)
        .map(|n| {
            format!(
                "begin; insert into t values ({n}); commit;
                 select pg_logical_emit_message(false, 'm', 'free {n}');
                 select pg_logical_emit_message(false, 'm', 'again {n}');
                 begin; select pg_logical_emit_message(true, 'm', 'bound {n}');
                 insert into t values (-{n} - 1); commit;
                 select pg_logical_emit_message(false, 'other', 'not wanted');"
            )
        })
        .collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    for restart in [false, true] {
        primary.sql("delete from t");
        let history = wrote(&primary, with_messages, &steps, (restart, 0)).await;
        let said: Vec<&str> =
            history.events().filter_map(|event| event["content"].as_str()).collect();
        let expected: Vec<String> = (0..6)
            .flat_map(|n| [format!("free {n}"), format!("again {n}"), format!("bound {n}")])
            .collect();
        assert_eq!(said, expected);
        assert_eq!(history.events().filter(|event| event["op"] == "insert").count(), 12);
    }
}

/// The last change of a transaction is still the last, however large it is, when something as large
/// follows that nobody asked for.
#[tokio::test(flavor = "multi_thread")]
async fn large_messages_that_nobody_wants() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key, note text); create publication p for table t");
    let with_messages = || source(&primary.url()).messages(vec!["m".to_owned()]);
    let unwanted = |bytes: u32| {
        format!("select pg_logical_emit_message(true, 'other', repeat('x', {bytes}));")
    };
    let steps: Vec<String> = [100, 20_000, 500_000, 3_000_000]
        .iter()
        .map(|bytes| {
            let unwanted = unwanted(*bytes);
            let large = format!("repeat('y', {bytes})");
            format!(
                "insert into t values ({bytes}, ''), (-{bytes}, {large}); {unwanted} {unwanted}"
            )
        })
        .collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let history = wrote(&primary, with_messages, &steps, (false, OVERSIZE)).await;
    assert_eq!(history.transactions.len(), 4);
    assert_eq!(history.events().count(), 8);
}
