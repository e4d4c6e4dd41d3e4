//! Values of a megabyte that an update does not touch, which the server does not send again: under
//! each replica identity, with keys that change and keys that are large themselves.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::{ReplicationStream, Source, Streaming, WireFormat};

use crate::support::{History, Primary, Program, every_major};

const DEADLINE: Duration = Duration::from_secs(60);
/// The last row, which ends a reading.
const LAST: &str = "the last row";
const COLUMNS: [&str; 7] = ["id", "code", "small", "words", "j", "b", "a"];

const MODES: [(&str, Streaming, WireFormat); 2] = [
    ("off_text", Streaming::Off, WireFormat::Text),
    ("on_binary", Streaming::On, WireFormat::Binary),
];

/// What is done to each table, and which columns are not sent then when `id` is the key, and when
/// `code` is, whose values are out of line too.
const UPDATES: [(&str, &[&str], &[&str]); 6] = [
    ("set small = 1 where id = 1", &["code", "words", "j", "b", "a"], &["words", "j", "b", "a"]),
    ("set id = 101 where id = 1", &["code", "words", "j", "b", "a"], &["words", "j", "b", "a"]),
    (
        "set code = large('new key', 2500) where id = 101",
        &["words", "j", "b", "a"],
        &["words", "j", "b", "a"],
    ),
    (
        "set words = large('other', 1000000) where id = 101",
        &["code", "j", "b", "a"],
        &["j", "b", "a"],
    ),
    (
        "set words = words, small = 2 where id = 2",
        &["code", "words", "j", "b", "a"],
        &["words", "j", "b", "a"],
    ),
    ("set j = null, a = '{}' where id = 2", &["code", "words", "b"], &["words", "b"]),
];

/// Tables by replica identity: `by_id` and `by_code` have DEFAULT.
fn tables(primary: &Primary) {
    primary.sql(
        "create function large(seed text, bytes int) returns text language sql immutable as
            $$ select left(string_agg(md5(seed || g), ''), bytes)
               from generate_series(1, bytes / 32 + 1) g $$;
         create table by_id(id int primary key, code text, small int, words text, j jsonb, b bytea,
            a text[]);
         alter table by_id alter code set storage external, alter words set storage external,
            alter j set storage external, alter b set storage external,
            alter a set storage external;
         create table by_code(like by_id including storage, primary key (code));
         create table by_index(like by_id including storage);
         alter table by_index alter code set not null;
         create unique index by_code_too on by_index(code);
         alter table by_index replica identity using index by_code_too;
         create table whole(like by_id including storage);
         alter table whole replica identity full;
         create table nothing(like by_id including storage, primary key (id));
         alter table nothing replica identity nothing;
         create table last(note text);
         create publication p for all tables",
    );
}

fn insert(table: &str, id: u32, bytes: u32) -> String {
    let large = |bytes: u32| format!("large('{id}', {bytes})");
    let (value, twice) = (large(bytes), large(2 * bytes));
    let series = format!("generate_series(1, {bytes} / 1024) g");
    let pieces = format!("(select array_agg(repeat(md5('a{id}' || g), 32)) from {series})");
    format!(
        "insert into {table} values ({id}, {}, 0, {value}, jsonb_build_object('k', {value}),
            decode({twice}, 'hex'), {pieces})",
        large(2500)
    )
}

fn tell(primary: &Primary) {
    for table in ["by_id", "by_code", "by_index", "whole"] {
        primary.sql(&insert(table, 1, 1_000_000));
        primary.sql(&insert(table, 2, 50_000));
        primary.sql(&insert(table, 3, 3000));
        for (update, ..) in UPDATES {
            primary.sql(&format!("update {table} {update}"));
        }
        primary.sql(&format!("delete from {table} where id = 3"));
    }
    primary.sql(&insert("nothing", 1, 1_000_000));
    primary.sql(&format!("insert into last values ('{LAST}')"));
}

/// Everything up to the last row, as lines of JSON.
async fn read(source: Source) -> String {
    let mut stream = ReplicationStream::connect(source).await.unwrap();
    let mut encoder = Encoder::new(EventFormat::Json, Arc::new(TypeRegistry::builtin()));
    let mut lines = Vec::new();
    while !String::from_utf8_lossy(&lines[lines.len().saturating_sub(1000)..]).contains(LAST) {
        let batch = tokio::time::timeout(DEADLINE, stream.next()).await;
        let batch = batch.expect("changes in time").expect("the stream goes on").unwrap();
        encoder.encode(&batch, &mut lines).unwrap();
    }
    stream.finish().await;
    String::from_utf8(lines).unwrap()
}

/// An event without its values.
fn outline(event: &Value) -> String {
    let names =
        |row: &Value| row.as_object().map(|row| row.keys().cloned().collect::<Vec<_>>().join(","));
    let (old, new, key) = (names(&event["old"]), names(&event["new"]), names(&event["key"]));
    format!(
        "{} {} key {key:?} old {old:?} new {new:?} unchanged {}",
        event["op"], event["table"], event["unchanged"]
    )
}

/// Each column of an updated row is there or said to be unchanged, and none of these is null.
#[track_caller]
fn assert_nothing_is_lost(event: &Value, table: &str, update: usize, what: &str) {
    let shown = || format!("{what}: {}", outline(event));
    let (_, unsent_by_id, unsent_by_code) = UPDATES[update];
    let unsent: &[&str] = match table {
        "by_id" => unsent_by_id,
        "whole" => &[],
        _ => unsent_by_code,
    };
    assert_eq!(event["unchanged"], json!(unsent), "{}", shown());
    let new = event["new"].as_object().unwrap();
    for column in COLUMNS {
        assert_ne!(unsent.contains(&column), new.contains_key(column), "{column}: {}", shown());
    }
    let key = match table {
        "by_id" => json!({"id": new["id"]}),
        "whole" => Value::Null,
        _ => json!({"code": new["code"]}),
    };
    assert!(event["key"] == key, "{}", shown());
    let nulls = new.values().filter(|value| value.is_null()).count();
    assert_eq!(nulls, usize::from(update == UPDATES.len() - 1), "{}", shown());
    if table == "whole" {
        let old = event["old"].as_object().unwrap();
        assert!(COLUMNS.iter().all(|column| !old[*column].is_null()), "{}", shown());
    }
}

#[track_caller]
fn assert_told(history: &History, primary: &Primary, what: &str) {
    for table in ["by_id", "by_code", "by_index", "whole"] {
        let updates = history.events().filter(|it| it["op"] == "update" && it["table"] == table);
        let updates: Vec<&Value> = updates.collect();
        assert_eq!(updates.len(), UPDATES.len(), "{what} {table}");
        for (at, update) in updates.into_iter().enumerate() {
            assert_nothing_is_lost(update, table, at, what);
        }
        let deleted = history.events().find(|it| it["op"] == "delete" && it["table"] == table);
        assert!(!deleted.unwrap()["old"].is_null(), "{what} {table}");
    }
    let of_nothing = history.events().filter(|event| event["table"] == "nothing");
    assert_eq!(of_nothing.map(|event| &event["op"]).collect::<Vec<_>>(), ["insert"], "{what}");
    history.assert_agrees(primary, &["by_id", "by_code", "by_index", "whole"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn are_unchanged_and_never_null_under_every_identity() {
    for server in every_major() {
        let primary = Primary::builder().setting("logical_decoding_work_mem", "64kB");
        let primary = primary.start_on(server);
        let what = format!("PostgreSQL {}", primary.major());
        tables(&primary);
        for (slot, ..) in MODES {
            let call = "pg_create_logical_replication_slot";
            primary.sql(&format!("select {call}('{slot}', 'pgoutput')"));
        }
        tell(&primary);
        let mut first: Option<String> = None;
        for (slot, streaming, format) in MODES {
            let source = Source::new(&primary.url(), slot, ["p"]).unwrap();
            let lines = read(source.streaming(streaming).format(format)).await;
            let Some(first) = &first else {
                let history = History::parse(&lines).unwrap_or_else(|why| panic!("{what}: {why}"));
                assert_told(&history, &primary, &what);
                first = Some(lines);
                continue;
            };
            for (line, of_first) in lines.lines().zip(first.lines()) {
                assert!(line == of_first, "{what} {slot}: {line:.200} is not {of_first:.200}");
            }
            assert_eq!(lines.lines().count(), first.lines().count(), "{what} {slot}");
        }
    }
}

/// Without a replica identity the application's own updates fail, and `check` says where.
#[test]
fn of_a_table_without_identity_are_named_by_check() {
    let primary = Primary::start();
    tables(&primary);
    primary.sql("drop table last");
    primary.sql(&insert("nothing", 1, 3000));
    let update = "do $$ begin
            update nothing set small = 1;
            raise 'it was updated';
        exception when object_not_in_prerequisite_state then null;
        end $$";
    primary.sql(update);
    let ended = Program::walcast(["check", &primary.url(), "--json"]).run(DEADLINE);
    assert_eq!(ended.code(), Some(7), "{}{}", ended.stdout, ended.stderr);
    let all: Value = serde_json::from_str(&ended.stdout).unwrap();
    let findings = all["findings"].as_array().unwrap().iter();
    let errors: Vec<&Value> = findings.filter(|it| it["severity"] == "error").collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["subject"], "table public.nothing");
    assert!(errors[0]["fix"].as_str().unwrap().contains("REPLICA IDENTITY FULL"), "{errors:?}");
}
