//! `wal2json` lines are those of the real plugin, for the same transactions on the same server: a
//! table of many types, updates, deletes, truncates and messages, from text and from binary.

use std::sync::Arc;

use futures::StreamExt;
use tokio_postgres::SimpleQueryMessage;
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::{ReplicationStream, Source, WireFormat};

use crate::support::pipeline::SOON;
use crate::support::{Primary, Server, skip};

/// What the plugin is asked for; the rest is as it is when nothing is said.
const OPTIONS: &str = "'format-version', '2', 'include-xids', '1', 'include-timestamp', '1', \
    'include-lsn', '1', 'include-domain-data-type', '1'";

/// Every type with a decoder, with values that text and binary show in different ways.
const DECODED: &[(&str, &[&str])] = &[
    ("bool", &["t", "f"]),
    ("int2", &["-7", "32767"]),
    ("int4", &["-7", "2147483647"]),
    ("int8", &["-7", "9223372036854775807"]),
    ("oid", &["7", "4294967295"]),
    ("float4", &["1.5", "NaN", "-Infinity", "1e20"]),
    ("float8", &["0.1", "NaN", "Infinity", "1e-300", "-0"]),
    ("numeric", &["12.500", "NaN", "-Infinity", "1e20"]),
    ("numeric(12,2)", &["12.5"]),
    ("text", &["", "a\"b\\c", "ä😀", "line\nbreak\t\u{1}"]),
    ("varchar(12)", &["NULL"]),
    ("varchar", &["x"]),
    ("char(4)", &["a"]),
    ("bpchar", &["a  "]),
    ("name", &["n"]),
    ("\"char\"", &["c", "\"", ""]),
    ("bytea", &["\\x00ff22", ""]),
    ("date", &["2026-11-23", "infinity", "0044-03-15 BC", "12026-01-01"]),
    ("time", &["12:30:00", "24:00:00", "00:00:00.000001"]),
    ("time(3)", &["12:30:00.123456"]),
    ("timetz", &["12:30:00.5+05:45", "00:00:00-15:59:59"]),
    ("timestamp", &["2026-11-23 22:22:05.123456", "-infinity", "0044-03-15 12:00:00 BC"]),
    ("timestamp(0)", &["2026-11-23 22:22:05.123456"]),
    ("timestamptz", &["2026-11-23 22:22:05.123456+03", "infinity", "0044-03-15 12:00:00+00 BC"]),
    ("timestamptz(3)", &["2026-11-23 22:22:05.123456+03"]),
    ("interval", &["1 year 2 mons -3 days 04:05:06.7", "0"]),
    ("interval day to second(3)", &["3 days 04:05:06.7891"]),
    ("interval(2)", &["04:05:06.7891"]),
    ("uuid", &["0e37df36-f698-11e6-8dd4-cb9ced3df976"]),
    ("json", &["{ \"b\": 1.50,  \"a\":\t[1e5] }"]),
    ("jsonb", &["{\"b\": 1.50, \"a\": [1e5, \"x\\ny\"]}"]),
    ("int4[]", &["{}", "{1,NULL,-3}", "[2:3]={1,2}", "[0:1][-1:0]={{1,2},{3,4}}"]),
    ("text[]", &["{\"\",NULL,\"NULL\",\"a,b\",\"{\",\"q\\\"\\\\\",\"x y\",plain}"]),
    ("numeric(8,3)[]", &["{1.5,NaN}"]),
    ("varchar(5)[]", &["{a}"]),
    ("bool[]", &["{t,f}"]),
    ("bytea[]", &["{\"\\\\x00ff\"}"]),
    ("timestamptz[]", &["{\"2026-11-23 22:22:05+00\",infinity}"]),
    ("jsonb[]", &["{\"{\\\"a\\\": \\\"x y\\\"}\"}"]),
    ("\"char\"[]", &["{a,\"\\\"\"}"]),
    ("date[]", &["{2026-11-23}"]),
    ("float8[]", &["{0.1,NaN}"]),
];

/// Types that come as text.
const OTHERS: &[(&str, &[&str])] = &[
    ("inet", &["10.0.0.1", "fe80::1/64"]),
    ("cidr[]", &["{10.0.0.0/8}"]),
    ("money", &["12.50"]),
    ("point", &["(1,2.5)"]),
    ("box", &["(2,2),(1,1)"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("int4range", &["[1,5)", "empty"]),
    ("tsvector", &["a:1 b:2 'it''s \"x\"'"]),
    ("bit(4)", &["1010"]),
    ("bit varying(9)", &["101"]),
    ("bit varying", &["1"]),
    ("pg_lsn", &["16/B374D848"]),
    ("xml", &["<a b=\"c\">&amp;</a>"]),
    ("mood", &["fine", "so \"so\""]),
    ("\"Mood\"", &["Fine"]),
    ("shop.kind", &["new"]),
    ("amount", &["5"]),
    ("flag", &["t"]),
    ("label", &["x"]),
    ("pair", &["(1,\"a b\")"]),
    ("mood[]", &["{fine,NULL}"]),
    ("\"Mood\"[]", &["{Fine}"]),
    ("shop.kind[]", &["{new}"]),
    ("amount[]", &["{5}"]),
];

const MAKE: &str = "create schema shop;
    create type mood as enum ('fine', 'so \"so\"'); create type \"Mood\" as enum ('Fine');
    create type shop.kind as enum ('new'); create type pair as (n int, t text);
    create domain amount as int; create domain flag as bool; create domain label as text;
    create table def(id int primary key, note text, big text);
    alter table def alter big set storage external;
    create table \"Full \"\"x\"(id int, note text); alter table \"Full \"\"x\" replica identity full;
    create table shop.idx(a text not null, b int not null, c numeric);
    create unique index idx_ab on shop.idx(b, a); alter table shop.idx replica identity using index idx_ab;";

const TELL: &[&str] = &[
    "insert into def values (1, 'one', repeat('b', 10000)), (2, null, 'small')",
    "update def set note = 'uno' where id = 1",
    "update def set id = 3 where id = 2",
    "update def set big = repeat('c', 9000), id = 4 where id = 1",
    "delete from def where id = 3",
    "insert into \"Full \"\"x\" values (1, null), (2, 'x')",
    "update \"Full \"\"x\" set note = 'y'",
    "delete from \"Full \"\"x\" where id = 1",
    "begin; insert into shop.idx values ('a', 1, 1.50); update shop.idx set c = null;
     update shop.idx set a = 'b'; delete from shop.idx; commit",
    "select pg_logical_emit_message(false, 'free', 'at \"once\"')",
    "begin; select pg_logical_emit_message(true, 'pre\"fix', 'with the rest'); insert into def values (9);
     savepoint s; insert into def values (10); rollback to s; insert into def values (11); commit",
    "truncate def, \"Full \"\"x\" restart identity cascade",
];

fn make_table(name: &str, types: &[(&str, &[&str])]) -> String {
    let columns: String =
        types.iter().enumerate().map(|(at, (sql, _))| format!(", c{at} {sql}")).collect();
    format!("create table {name}(id int primary key{columns});")
}

/// One row for each value, and one update and delete of them all.
fn fill_table(name: &str, types: &[(&str, &[&str])]) -> Vec<String> {
    let rows = types.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let row = |nth: usize| {
        let value = |(_, values): &(&str, &[&str])| match values.get(nth) {
            Some(value) => format!(", E'{}'", value.replace('\\', "\\\\").replace('\'', "''")),
            None => ", null".to_owned(),
        };
        let values: String = types.iter().map(value).collect();
        format!("insert into {name} values ({nth}{values})")
    };
    let mut told: Vec<_> = (0..rows).map(row).collect();
    told.push(format!("update {name} set id = id + 100; delete from {name}"));
    told
}

/// The first server here that has the plugin, with slot `w` made of it.
fn primary_with_plugin() -> Option<Primary> {
    for server in Server::installed() {
        let has_plugin = server.bin().is_some_and(|bin| {
            let libraries = ["../lib/wal2json.so", "../lib/postgresql/wal2json.so"];
            libraries.iter().any(|library| bin.join(library).exists())
        });
        if has_plugin {
            return Some(Primary::builder().start_on(server.clone()));
        }
    }
    skip("no server here has the plugin wal2json (Debian: postgresql-15-wal2json)");
    None
}

async fn written_by_plugin(primary: &Primary) -> Vec<String> {
    let client = primary.client().await;
    client.batch_execute("set timezone = 'UTC'").await.unwrap();
    let query = format!("select data from pg_logical_slot_get_changes('w', null, null, {OPTIONS})");
    let messages = client.simple_query(&query).await.unwrap();
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().to_owned()),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// As many lines as the plugin wrote, of what came in `format`.
async fn written_by_us(
    primary: &Primary,
    slot: &str,
    format: WireFormat,
    count: usize,
) -> Vec<String> {
    let source = Source::new(&primary.url(), slot, ["p"]).unwrap();
    let source = source.messages(vec!["*".to_owned()]).format(format);
    let mut stream = ReplicationStream::connect(source).await.unwrap();
    let mut encoder = Encoder::new(EventFormat::Wal2Json, Arc::new(TypeRegistry::builtin()));
    let mut lines = Vec::new();
    while lines.iter().filter(|byte| **byte == b'\n').count() < count {
        let batch = tokio::time::timeout(SOON, stream.next()).await;
        let batch = batch.expect("changes in time").expect("the stream goes on").unwrap();
        encoder.encode(&batch, &mut lines).unwrap();
    }
    stream.finish().await;
    String::from_utf8(lines).unwrap().lines().map(str::to_owned).collect()
}

/// `B` has no `nextlsn` here: it is not known before the Commit.
fn without_next_lsn(line: &str) -> String {
    match line.split_once(",\"nextlsn\":") {
        Some((front, _)) if line.starts_with("{\"action\":\"B\"") => format!("{front}}}"),
        _ => line.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_by_line_from_text_and_from_binary() {
    let Some(primary) = primary_with_plugin() else { return };
    for (name, types, format) in
        [("decoded", DECODED, WireFormat::Binary), ("others", OTHERS, WireFormat::Text)]
    {
        let own = if name == "decoded" { MAKE } else { "" };
        primary.sql(&format!(
            "{own} {} drop publication if exists p; create publication p for all tables;",
            make_table(name, types)
        ));
        primary.sql("select pg_create_logical_replication_slot('w', 'wal2json')");
        for slot in ["s", "t"] {
            primary
                .sql(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
        }
        let told = fill_table(name, types);
        for statement in told.iter().map(String::as_str).chain(TELL.iter().copied()) {
            primary.sql(statement);
        }
        let theirs = written_by_plugin(&primary).await;
        assert!(theirs.len() > told.len() + TELL.len());
        let theirs: Vec<_> = theirs.iter().map(|line| without_next_lsn(line)).collect();
        for (slot, format) in [("s", format), ("t", WireFormat::Text)] {
            let ours = written_by_us(&primary, slot, format, theirs.len()).await;
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs, "{format:?}");
            }
            assert_eq!(ours.len(), theirs.len());
        }
        for slot in ["w", "s", "t"] {
            let free = format!(
                "not exists (select from pg_replication_slots where active and slot_name = '{slot}')"
            );
            primary.wait_for_sql(&free, SOON).await;
            primary.sql(&format!("select pg_drop_replication_slot('{slot}')"));
        }
    }
}
