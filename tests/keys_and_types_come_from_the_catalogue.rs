//! What the replication stream does not say comes from the catalogue: the primary key under REPLICA
//! IDENTITY FULL, attribute numbers, what a database's own types are made of. It is used only while
//! the catalogue still agrees with what the stream described.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::StreamExt;
use postgres_types::Kind;
use serde::Deserialize;
use serde_json::{Value, json};
use walcast::event::{Batch, Change, Event, Relation};
use walcast::{ReplicationStream, Source, WireFormat};

use crate::support::pipeline::{Place, SOON, caught_up, prepare, source, start};
use crate::support::{History, Primary, Server};

/// What a pipeline writes of `sql`, which runs while nobody reads if `late`.
async fn events(primary: &Primary, sql: &[&str], late: Late) -> Vec<Value> {
    let place = Place::new();
    prepare(place.to_file(source(&primary.url()))).await;
    if late == Late::Yes {
        sql.iter().for_each(|sql| primary.sql(sql));
    }
    let running = start(place.to_file(source(&primary.url())));
    running.streams().await;
    if late == Late::No {
        for sql in sql {
            primary.sql(sql);
            caught_up(primary, SOON).await;
        }
    }
    caught_up(primary, SOON).await;
    running.drain().await.unwrap();
    primary.wait_for_sql("not exists (select from pg_replication_slots where active)", SOON).await;
    primary.sql("select pg_drop_replication_slot('s')");
    History::read(&place.file("out.jsonl")).events().cloned().collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Late {
    No,
    Yes,
}

fn keys(events: &[Value]) -> Vec<Value> {
    events.iter().map(|event| event["key"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_replica_identity_full_the_key_is_the_primary_key() {
    let server = Server::wanted().unwrap();
    let primary = Primary::builder().start_on(server.clone());
    primary.sql(
        "create table t(note text, b int, a int, primary key (a, b));
         create table keyless(id int);
         create table parted(id int primary key, note text) partition by range (id);
         create table part partition of parted for values from (0) to (100);
         alter table t replica identity full; alter table keyless replica identity full;
         alter table part replica identity full; alter table parted replica identity full;
         create publication p for table t, keyless, parted with (publish_via_partition_root)",
    );
    let changes = [
        "insert into t values ('x', 2, 1); update t set note = repeat('y', 3000);
         update t set a = 7; delete from t",
        "insert into keyless values (1)",
        "truncate parted; insert into parted values (5, 'x')",
    ];
    let expected = [
        json!({"a": 1, "b": 2}),
        json!({"a": 1, "b": 2}),
        json!({"a": 7, "b": 2}),
        json!({"a": 7, "b": 2}),
        Value::Null,
        Value::Null,
        json!({"id": 5}),
    ];
    assert_eq!(keys(&events(&primary, &changes, Late::No).await), expected);
    assert_eq!(keys(&events(&primary, &changes, Late::Yes).await), expected);
    if server.major >= 15 {
        // With a list of columns only inserts can be published of such a table.
        let insert = ["truncate t; insert into t values ('x', 2, 1)"];
        for (columns, key) in [("note, b", Value::Null), ("b, a", json!({"a": 1, "b": 2}))] {
            primary.sql(&format!("alter publication p set table t ({columns})"));
            let keys = keys(&events(&primary, &insert, Late::No).await);
            assert_eq!(keys, [Value::Null, key]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_catalogue_no_longer_knows_is_null() {
    let primary = Primary::start();
    let begin = "drop table if exists t; create table t(a int primary key, b int);
        alter table t replica identity full";
    primary.sql(&format!("{begin}; create publication p for table t"));
    let changes = [
        "insert into t values (1, 2)",
        "alter table t drop constraint t_pkey, add primary key (b), add c int",
        "insert into t values (3, 4, 5)",
    ];
    // Asked in time, each version has its key.
    let in_time = events(&primary, &changes, Late::No).await;
    assert_eq!(keys(&in_time), [json!({"a": 1}), json!({"b": 4})]);
    primary.sql(&format!("drop publication p; {begin}; create publication p for table t"));
    let late = events(&primary, &changes, Late::Yes).await;
    assert_eq!(keys(&late), [Value::Null, json!({"b": 4})]);
    assert_eq!(late[0]["new"], json!({"a": 1, "b": 2}));
    // A table that is gone has no key either.
    primary.sql(&format!("drop publication p; {begin}; create publication p for table t"));
    let gone = events(&primary, &["insert into t values (1, 2)", "drop table t"], Late::Yes).await;
    assert_eq!((&gone[0]["key"], &gone[0]["new"]), (&Value::Null, &json!({"a": 1, "b": 2})));
}

/// Reads batches until one has a change.
async fn changes(stream: &mut ReplicationStream) -> Batch {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.next()).await;
        let batch = next.expect("changes in time").expect("the stream goes on").unwrap();
        if batch.events().any(|event| matches!(event, Event::Change(_))) {
            return batch;
        }
    }
}

/// The first row change.
fn first(batch: &Batch) -> Change<'_> {
    let change = batch.events().find_map(|event| match event {
        Event::Change(change) => Some(change),
        _ => None,
    });
    change.unwrap()
}

fn low(primary: &Primary) -> Source {
    Source::new(&primary.url(), "s", ["p"]).unwrap().create_slot(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn attribute_numbers_tell_a_renamed_column_from_a_new_one() {
    let primary = Primary::start();
    primary.sql("create table t(a int, b int, c int); create publication p for table t");
    let mut stream = ReplicationStream::connect(low(&primary)).await.unwrap();
    let mut shapes = Vec::new();
    for change in [
        "alter table t drop b",
        "alter table t rename c to d",
        "alter table t drop a; alter table t add a int",
        "alter table t replica identity full",
    ] {
        primary.sql(&format!("{change}; insert into t default values"));
        let batch = changes(&mut stream).await;
        let relation = first(&batch).relation();
        let names: Vec<_> = relation.columns.iter().map(|column| column.name.clone()).collect();
        let shape = (names, relation.attribute_numbers().map(<[i16]>::to_vec));
        // What was kept elsewhere says the same.
        let stored = serde_json::to_string(relation).unwrap();
        let kept: Relation = serde_json::from_str(&stored).unwrap();
        assert_eq!(kept, *relation);
        shapes.push(shape);
    }
    let shape = |names: [&str; 2], numbers: [i16; 2]| {
        (names.map(String::from).to_vec(), Some(numbers.to_vec()))
    };
    assert_eq!(
        shapes,
        [
            shape(["a", "c"], [1, 3]),
            shape(["a", "d"], [1, 3]),
            shape(["d", "a"], [3, 4]),
            shape(["d", "a"], [3, 4])
        ]
    );
}

/// Drop and add again with the same name looks the same on the wire, and is another column.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_was_dropped_and_added_again_is_another_one() {
    let primary = Primary::start();
    primary.sql("create table t(a int, b int); create publication p for table t");
    let mut stream = ReplicationStream::connect(low(&primary)).await.unwrap();
    primary.sql("insert into t values (1, 2)");
    let before = changes(&mut stream).await;
    primary.sql("alter table t drop b; alter table t add b int; insert into t values (3, 4)");
    let after = changes(&mut stream).await;
    let (before, after) = (first(&before).relation(), first(&after).relation());
    assert!(before.is_described_as(after));
    assert_eq!(before.attribute_numbers(), Some([1, 2].as_slice()));
    assert_eq!(after.attribute_numbers(), Some([1, 3].as_slice()));
    // Said again without a change, a table stays the version it was.
    primary.sql("create index on t(a); insert into t values (5, 6)");
    let again = changes(&mut stream).await;
    assert!(std::ptr::eq(after, first(&again).relation()));
}

#[tokio::test(flavor = "multi_thread")]
async fn enums_and_domains_come_in_binary_and_as_what_they_are() {
    let primary = Primary::start();
    primary.sql(
        "create type mood as enum ('fine', 'so \"so\"');
         create domain price as numeric(8,2); create domain prices as price[];
         create domain odd as json; create domain odder as odd;
         create table t(id int primary key, m mood, ms mood[], p price, ps prices, j odder);
         create publication p for table t",
    );
    let sql = "insert into t values (1, 'so \"so\"', '[0:1]={fine,NULL}', 1.5, '{2.25,NULL}',
        '[1]'); insert into t values (2)";
    let expected = [
        json!({"id": 1, "m": "so \"so\"", "ms": ["fine", null], "p": 1.50, "ps": [2.25, null],
            "j": [1]}),
        json!({"id": 2, "m": null, "ms": null, "p": null, "ps": null, "j": null}),
    ];
    let new: Vec<_> = events(&primary, &[sql], Late::No).await.into_iter().collect();
    assert_eq!(new.iter().map(|event| event["new"].clone()).collect::<Vec<_>>(), expected);
    assert!(new.iter().all(|event| event.get("types").is_none()));
    let stream = ReplicationStream::connect(low(&primary)).await.unwrap();
    assert_eq!(format!("{:?}", stream.format()), "Some(Binary)");
    stream.finish().await;
}

/// A type that is made while the stream runs is known with the first row of it, and one that is
/// gone before anybody asked is raw, with its name.
#[tokio::test(flavor = "multi_thread")]
async fn types_are_made_and_dropped_while_the_stream_runs() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication p for table t");
    let made = [
        "create type mood as enum ('fine'); alter table t add m mood; insert into t values (1, 'fine')",
        "alter type mood add value 'sad'; alter type mood rename value 'fine' to 'good'",
        "insert into t values (2, 'good'), (3, 'sad')",
        "create domain n as int; alter table t add n n; insert into t values (4, null, 5)",
    ];
    let new = |events: &[Value]| -> Vec<Value> {
        events.iter().map(|event| event["new"].clone()).collect()
    };
    let events_of = events(&primary, &made, Late::No).await;
    let expected = [
        json!({"id": 1, "m": "fine"}),
        json!({"id": 2, "m": "good"}),
        json!({"id": 3, "m": "sad"}),
        json!({"id": 4, "m": null, "n": 5}),
    ];
    assert_eq!(new(&events_of), expected);
    assert!(events_of.iter().all(|event| event.get("types").is_none()));

    let dropped = [
        "insert into t values (5, 'sad', 6)",
        "alter table t drop m, drop n; drop type mood; drop domain n",
        "insert into t values (6)",
    ];
    let gone = events(&primary, &dropped, Late::Yes).await;
    assert_eq!(new(&gone), [json!({"id": 5, "m": "sad", "n": "6"}), json!({"id": 6})]);
    // Of a domain the server names what it is over.
    assert_eq!(gone[0]["types"], json!({"m": "public.mood", "n": "pg_catalog.int4"}));
    assert_eq!(gone[1].get("types"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_text_as_well() {
    let primary = Primary::start();
    primary.sql(
        "create domain n as int; create table t(id n primary key, note text);
         alter table t replica identity full; create publication p for table t",
    );
    let source = low(&primary).format(WireFormat::Text);
    let mut stream = ReplicationStream::connect(source).await.unwrap();
    primary.sql("insert into t values (7, 'x')");
    let batch = changes(&mut stream).await;
    let change = first(&batch);
    assert_eq!(change.relation().key_columns(), [0]);
    assert_eq!(change.new_row().unwrap().to_json().unwrap(), r#"{"id":7,"note":"x"}"#);
}

/// A composite's type changes under the tables that have it, and the stream says nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_composite_that_was_altered_is_raw_until_its_table_is_described_again() {
    let primary = Primary::start();
    let begin =
        "drop table if exists t; drop type if exists pair; create type pair as (n int, t text);
        create table t(id int primary key, p pair)";
    primary.sql(&format!("{begin}; create publication p for table t"));
    let changes = [
        "insert into t values (1, (1, 'a'))",
        "alter type pair add attribute x int; insert into t values (2, (2, 'b', 3))",
        "alter table t add c int; insert into t values (3, (3, 'c', 4))",
    ];
    let shown = |events: &[Value]| -> Vec<Value> {
        let pairs = events.iter().map(|event| event["new"]["p"].clone());
        let raw = |pair: &Value| pair["type"] == "public.pair" && pair["binary"].is_string();
        pairs.map(|pair| if raw(&pair) { json!("raw") } else { pair }).collect()
    };
    let (first, last) = (json!({"n": 1, "t": "a"}), json!({"n": 3, "t": "c", "x": 4}));
    let in_time = events(&primary, &changes, Late::No).await;
    assert_eq!(shown(&in_time), [first, json!("raw"), last.clone()]);
    primary.sql(&format!("drop publication p; {begin}; create publication p for table t"));
    // Asked late, the catalogue knows the type as it is now.
    let late = events(&primary, &changes, Late::Yes).await;
    assert_eq!(shown(&late), [json!("raw"), json!({"n": 2, "t": "b", "x": 3}), last]);
}

/// Where binary is insisted on, what has no decoder stops nothing and is not guessed at.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_only_text_can_carry_is_raw_in_binary() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key, m money); create publication p for table t");
    let expected = [
        (WireFormat::Auto, r#"{"id":1,"m":"$1.50"}"#),
        (WireFormat::Binary, r#"{"id":1,"m":{"oid":790,"binary":"\\x0000000000000096"}}"#),
    ];
    for (format, shown) in expected {
        primary.sql("truncate t");
        let mut stream = ReplicationStream::connect(low(&primary).format(format)).await.unwrap();
        primary.sql("set lc_monetary = 'C'; insert into t values (1, '1.50')");
        let batch = changes(&mut stream).await;
        assert_eq!(first(&batch).new_row().unwrap().to_json().unwrap(), shown);
        stream.confirmer().vouch_durable(batch.end()).unwrap();
        stream.finish().await;
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mood {
    Fine,
    Sad,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Pair {
    n: Option<i32>,
    moods: Vec<Option<Mood>>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Everything {
    id: i32,
    mood: Mood,
    pair: Pair,
    pairs: Vec<Pair>,
    price: f64,
    span: String,
    tags: BTreeMap<String, Option<String>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_what_a_database_defines_are_read_as_rust_types() {
    let primary = Primary::start();
    primary.sql(
        "create extension hstore; create type mood as enum ('fine', 'sad');
         create type pair as (n int, moods mood[]); create domain price as numeric(8,2);
         create domain num as int; create type textrange as range (subtype = text);
         create table t(id num primary key, mood mood, pair pair, pairs pair[], price price,
           span textrange, tags hstore);
         create publication p for table t",
    );
    let pair = |n, moods: Vec<Option<Mood>>| Pair { n, moods };
    for format in [WireFormat::Auto, WireFormat::Text] {
        primary.sql("truncate t");
        let mut stream = ReplicationStream::connect(low(&primary).format(format)).await.unwrap();
        primary.sql(
            "insert into t values (7, 'sad', (1, '{fine,NULL}'), array[(null, '{}')::pair], 1.5,
               '[\"a \"\"b\",z)', 'k=>\"v \\\"w\", n=>NULL')",
        );
        let batch = changes(&mut stream).await;
        let row = first(&batch).new_row().unwrap();
        let expected = Everything {
            id: 7,
            mood: Mood::Sad,
            pair: pair(Some(1), vec![Some(Mood::Fine), None]),
            pairs: vec![pair(None, vec![])],
            price: 1.5,
            span: "[\"a \"\"b\",z)".to_owned(),
            tags: [("k", Some("v \"w")), ("n", None)]
                .map(|(key, value)| (key.to_owned(), value.map(str::to_owned)))
                .into(),
        };
        assert_eq!(row.deserialize::<Everything>().unwrap(), expected);
        assert_eq!(row.get::<i32>("id").unwrap(), 7);
        let tags: HashMap<String, Option<String>> = row.get("tags").unwrap();
        assert_eq!(tags["k"].as_deref(), Some("v \"w"));
        let type_of = |name: &str| {
            let place = row.relation().column_index(name).unwrap();
            row.relation().postgres_type(place).unwrap()
        };
        assert_eq!(type_of("mood").kind(), &Kind::Enum(vec!["fine".into(), "sad".into()]));
        assert!(matches!(type_of("pairs").kind(), Kind::Array(it) if it.name() == "pair"));
        stream.confirmer().vouch_durable(batch.end()).unwrap();
        stream.finish().await;
    }
}
