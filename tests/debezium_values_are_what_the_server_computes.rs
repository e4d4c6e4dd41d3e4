//! What the Debezium envelope holds for a value is what the server itself computes of it in SQL,
//! from text and from binary alike: numbers since 1970, ISO strings, unscaled decimals.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use serde_json::Value as Json;
use walcast::codec::debezium::{DebeziumOptions, Decimals, TimePrecision};
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::event::{Batch, Event, Oid};
use walcast::{ReplicationStream, Source, WireFormat};

use crate::support::pipeline::SOON;
use crate::support::{Primary, every_major};

/// Which options a case is of.
#[derive(Clone, Copy, PartialEq)]
enum With {
    /// Precise decimals, adaptive times.
    Usual,
    /// Decimals as strings, ISO times.
    Strings,
    /// Decimals as doubles, times in microseconds.
    Numbers,
}
use With::{Numbers, Strings, Usual};

/// A type, a value, and the JSON that the server makes of `v`.
struct Case(With, &'static str, &'static str, &'static str);

const MICROS: &str = "to_json((extract(epoch from v) * 1000000)::int8)";
const MILLIS: &str = "to_json((extract(epoch from v) * 1000)::int8)";
const BASE64: &str = "to_json(replace(encode(v, 'base64'), E'\\n', ''))";
const TEXT: &str = "to_json(v::text)";
const ZONED: &str = "to_json(to_char(v at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))";

const CASES: &[Case] = &[
    Case(Usual, "bool", "t", "to_json(v)"),
    Case(Usual, "int2", "-7", "to_json(v)"),
    Case(Usual, "int8", "9223372036854775807", "to_json(v)"),
    Case(Usual, "oid", "4294967295", "to_json(v::int8)"),
    Case(Usual, "float4", "1.5", "to_json(v)"),
    Case(Usual, "float8", "0.1", "to_json(v)"),
    Case(Usual, "float8", "3", "to_json(v)"),
    Case(Usual, "float8", "-Infinity", "to_json(v::text)"),
    Case(Usual, "text", "a\"b\\c\n😀", TEXT),
    Case(Usual, "char(4)", "a", "to_json('a   '::text)"),
    Case(Usual, "name", "n", TEXT),
    Case(Usual, "\"char\"", "c", TEXT),
    Case(Usual, "uuid", "0e37df36-f698-11e6-8dd4-cb9ced3df976", TEXT),
    Case(Usual, "json", "{ \"b\": 1.50,  \"a\":\t[1e5] }", TEXT),
    Case(Usual, "jsonb", "{\"b\": 1.50, \"a\": \"x\\ny\"}", TEXT),
    Case(Usual, "bytea", "\\x00ff2233", BASE64),
    Case(Usual, "date", "2026-11-23", "to_json(v - '1970-01-01'::date)"),
    Case(Usual, "date", "1969-12-31", "to_json(v - '1970-01-01'::date)"),
    Case(Usual, "date", "0044-03-15 BC", "to_json(v - '1970-01-01'::date)"),
    Case(Usual, "time", "12:30:00.123456", MICROS),
    Case(Usual, "time", "24:00:00", MICROS),
    Case(Usual, "time(3)", "12:30:00.123", MILLIS),
    Case(Numbers, "time(3)", "12:30:00.123", MICROS),
    Case(Usual, "timestamp", "2026-11-23 22:22:05.123456", MICROS),
    Case(Usual, "timestamp", "1900-01-01 00:00:00.000001", MICROS),
    Case(Usual, "timestamp(0)", "2026-11-23 22:22:05", MILLIS),
    Case(Numbers, "timestamp(0)", "2026-11-23 22:22:05", MICROS),
    Case(Usual, "timestamptz", "2026-11-23 22:22:05.12+03", ZONED),
    Case(Usual, "timestamptz", "2026-11-23 22:22:05+00", ZONED),
    Case(Usual, "timestamptz", "infinity", TEXT),
    Case(
        Usual,
        "timestamptz(3)",
        "2026-11-23 22:22:05.12+00",
        "to_json(to_char(v at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'))",
    ),
    Case(
        Usual,
        "timetz",
        "12:30:00+05:45",
        "to_json(to_char(('2000-01-01'::date + v) at time zone 'UTC', 'HH24:MI:SS\"Z\"'))",
    ),
    Case(Usual, "interval", "-3 days 04:05:06.7", MICROS),
    Case(Usual, "interval", "1 year 2 mons", "to_json((14 * 30.4375 * 86400000000)::int8)"),
    Case(Usual, "money", "-12.50", "to_json('+x4='::text)"),
    Case(Strings, "money", "-12.50", "to_json('-12.50'::text)"),
    Case(Numbers, "money", "12.50", "to_json(12.5)"),
    Case(Strings, "date", "2026-11-23", "to_json(v::text || 'Z')"),
    Case(Strings, "date", "12026-11-23", "to_json('+12026-11-23Z'::text)"),
    Case(Strings, "date", "0044-03-15 BC", "to_json('-0043-03-15Z'::text)"),
    Case(Strings, "time", "12:30:00.12", "to_json(v::text || 'Z')"),
    Case(
        Strings,
        "timestamp",
        "2026-11-23 22:22:05.12",
        "to_json(replace(v::text, ' ', 'T') || 'Z')",
    ),
    Case(Strings, "numeric", "12.500", TEXT),
    Case(Strings, "numeric(6,2)", "12.5", TEXT),
    Case(Numbers, "numeric", "12345678901234567890.5", "to_json(v::float8)"),
    Case(Usual, "bit(1)", "1", "to_json(true)"),
    Case(Usual, "bit(4)", "1010", "to_json('Cg=='::text)"),
    Case(Usual, "bit varying(20)", "100000001", "to_json('AQE='::text)"),
    Case(
        Usual,
        "point",
        "(1,2.5)",
        "json_build_object('x', 1.0, 'y', 2.5, 'wkb', 'AQEAAAAAAAAAAADwPwAAAAAAAARA', 'srid', null)",
    ),
    Case(Usual, "inet", "10.0.0.1/8", TEXT),
    Case(Usual, "macaddr", "08:00:2b:01:02:03", TEXT),
    Case(Usual, "int4range", "[1,5)", TEXT),
    Case(Usual, "tsvector", "a:1 b:2", TEXT),
    Case(Usual, "xml", "<a b=\"c\">&amp;</a>", TEXT),
    Case(Usual, "mood", "so \"so\"", TEXT),
    Case(Usual, "int4[]", "{1,NULL,-3}", "to_json(v)"),
    Case(Usual, "int4[]", "[0:1][2:3]={{1,2},{3,4}}", "to_json(v)"),
    Case(Usual, "int4[]", "{}", "to_json(v)"),
    Case(
        Usual,
        "text[]",
        "{\"\",NULL,\"NULL\",\"a,b\",\"{\",\"q\\\"\\\\\",\"x y\",plain}",
        "to_json(v)",
    ),
    Case(Usual, "bool[]", "{t,f}", "to_json(v)"),
    Case(Usual, "uuid[]", "{0e37df36-f698-11e6-8dd4-cb9ced3df976}", "to_json(v)"),
    Case(Usual, "inet[]", "{10.0.0.1,::1}", "to_json(v)"),
    Case(Usual, "jsonb[]", "{\"{\\\"a\\\": \\\"x y\\\"}\"}", "to_json(v::text[])"),
    Case(Usual, "date[]", "{2026-11-23,1970-01-02}", "to_json(array[20780, 1])"),
    Case(Strings, "numeric[]", "{1.50,NULL}", "to_json(v::text[])"),
    Case(Usual, "bytea[]", "{\"\\\\x00ff\"}", "to_json(array['AP8=']::text[])"),
];

/// Numbers whose unscaled form is taken apart and held against their digits.
const DECIMALS: &[&str] = &[
    "0",
    "0.00",
    "1.27",
    "1.28",
    "-1.28",
    "-1.29",
    "12.500",
    "100",
    "-256",
    "99999999999999999999.99",
    "-123456789012345678901234567890123456789012345678901234567890.123",
    "1e40",
    "1e-20",
    "0.1",
];

fn options(with: With) -> DebeziumOptions {
    let mut options = DebeziumOptions::default();
    (options.decimals, options.time) = match with {
        Usual => (Decimals::Precise, TimePrecision::Adaptive),
        Strings => (Decimals::String, TimePrecision::Iso),
        Numbers => (Decimals::Double, TimePrecision::Microseconds),
    };
    options
}

/// What `batches` are in `format`, line for line.
fn lines(batches: &[Batch], format: EventFormat) -> Vec<Json> {
    let mut encoder = Encoder::new(format, Arc::new(TypeRegistry::builtin()));
    let mut lines = Vec::new();
    for batch in batches {
        encoder.encode(batch, &mut lines).unwrap();
    }
    let lines = String::from_utf8(lines).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The only row that `batches` insert into `table`, as these options show it.
fn after(batches: &[Batch], with: With, table: &str) -> Json {
    let events = lines(batches, EventFormat::Debezium(options(with)));
    let mut event =
        events.into_iter().find(|event| event["source"]["table"] == table).expect(table);
    event["after"].take()
}

/// A slot for what is read as text, and one for what is read in binary.
const SLOTS: [(&str, WireFormat); 2] = [("s", WireFormat::Text), ("b", WireFormat::Binary)];

fn make_slots(primary: &Primary) {
    for (slot, _) in SLOTS {
        primary.sql(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
    }
}

/// Batches with as many changes of what `publication` has.
async fn read(
    primary: &Primary,
    (slot, publication): (&str, &str),
    format: WireFormat,
    changes: usize,
) -> Vec<Batch> {
    let source = Source::new(&primary.url(), slot, [publication]).unwrap().format(format);
    let mut stream = ReplicationStream::connect(source).await.unwrap();
    let mut batches: Vec<Batch> = Vec::new();
    let is_change = |event: &Event<'_>| matches!(event, Event::Change(_));
    while batches.iter().flat_map(Batch::events).filter(is_change).count() < changes {
        let batch = tokio::time::timeout(SOON, stream.next()).await;
        batches.push(batch.expect("changes in time").expect("the stream goes on").unwrap());
    }
    stream.finish().await;
    batches
}

/// Whether the type of `v` in `table` can be read in binary.
fn decodes(primary: &Primary, table: &str) -> bool {
    let query = format!(
        "select atttypid from pg_attribute where attrelid = '{table}'::regclass and attname = 'v'"
    );
    let oid = primary.query_one_text(&query).unwrap().parse().unwrap();
    TypeRegistry::builtin().has_binary_decoder(Oid::new(oid))
}

fn quoted(literal: &str) -> String {
    format!("E'{}'", literal.replace('\\', "\\\\").replace('\'', "''"))
}

/// The number that base64 of two's complement stands for, with `scale` digits after the point.
fn digits(unscaled: &str, scale: usize) -> String {
    let bytes = STANDARD.decode(unscaled).unwrap();
    let is_negative = bytes[0] & 0x80 != 0;
    // Decimal digits, the lowest first; of the magnitude less one where negative.
    let mut digits = vec![0u32];
    for byte in bytes {
        let mut carry = u32::from(if is_negative { !byte } else { byte });
        for digit in &mut digits {
            carry += *digit * 256;
            *digit = carry % 10;
            carry /= 10;
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    let mut carry = u32::from(is_negative);
    for digit in &mut digits {
        carry += *digit;
        *digit = carry % 10;
        carry /= 10;
    }
    if carry > 0 {
        digits.push(carry);
    }
    digits.resize(digits.len().max(scale + 1), 0);
    let text: String = digits.iter().rev().map(|digit| char::from(b'0' + *digit as u8)).collect();
    let (whole, fraction) = text.split_at(text.len() - scale);
    let sign = if is_negative { "-" } else { "" };
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn for_every_type_with_a_form_of_its_own() {
    for server in every_major() {
        let primary = Primary::builder().setting("lc_monetary", "C").start_on(server);
        primary.sql("create type mood as enum ('fine', 'so \"so\"')");
        let mut expected = Vec::new();
        for (nth, Case(_, sql_type, ..)) in CASES.iter().enumerate() {
            primary.sql(&format!("create table c{nth}(id int primary key, v {sql_type})"));
        }
        let all: Vec<String> = (0..CASES.len()).map(|nth| format!("c{nth}")).collect();
        let decoded: Vec<String> =
            all.iter().filter(|table| decodes(&primary, table)).cloned().collect();
        assert!(decoded.len() > CASES.len() / 2);
        primary.sql(&format!("create publication p for table {}", all.join(", ")));
        primary.sql(&format!("create publication d for table {}", decoded.join(", ")));
        make_slots(&primary);
        for (nth, Case(_, _, literal, expression)) in CASES.iter().enumerate() {
            primary.sql(&format!("insert into c{nth} values (1, {})", quoted(literal)));
            let session =
                "set timezone = 'UTC'; set extra_float_digits = 1; set bytea_output = hex";
            let query = format!("{session}; select ({expression})::text from c{nth}");
            let text = primary.query_one_text(&query).unwrap();
            expected.push(serde_json::from_str::<Json>(&text).unwrap());
        }
        for ((slot, format), (publication, tables)) in
            std::iter::zip(SLOTS, [("p", &all), ("d", &decoded)])
        {
            let batches = read(&primary, (slot, publication), format, tables.len()).await;
            for (nth, Case(with, sql_type, literal, _)) in CASES.iter().enumerate() {
                if !tables.contains(&all[nth]) {
                    continue;
                }
                let row = after(&batches, *with, &all[nth]);
                let (have, want) = (&row["v"], &expected[nth]);
                let same = match (have.as_f64(), want.as_f64()) {
                    (Some(have), Some(want)) => have == want,
                    _ => have == want,
                };
                let major = primary.major();
                assert!(same, "{major} {format:?} {sql_type} {literal}: {have} is not {want}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn for_decimals_of_any_length_from_text_and_from_binary() {
    let primary = Primary::start();
    for (table, sql_type) in [("fixed", "numeric(90,20)"), ("free", "numeric")] {
        primary.sql(&format!("create table {table}(id int primary key, v {sql_type})"));
    }
    primary.sql("create publication p for all tables");
    make_slots(&primary);
    let values: Vec<String> =
        DECIMALS.iter().enumerate().map(|(nth, number)| format!("({nth}, {number})")).collect();
    for table in ["fixed", "free"] {
        primary.sql(&format!("insert into {table} values {}", values.join(", ")));
    }
    for (slot, format) in SLOTS {
        let batches = read(&primary, (slot, "p"), format, 2 * DECIMALS.len()).await;
        for event in lines(&batches, EventFormat::Debezium(options(Usual))) {
            let (table, row) = (event["source"]["table"].as_str().unwrap(), &event["after"]);
            let of_server = |shown: &str| {
                let query = format!("select {shown} from {table} where id = {}", row["id"]);
                primary.query_one_text(&query).unwrap()
            };
            if table == "fixed" {
                assert_eq!(digits(row["v"].as_str().unwrap(), 20), of_server("v::text"));
            } else {
                let scale = row["v"]["scale"].as_u64().unwrap() as usize;
                let shown = digits(row["v"]["value"].as_str().unwrap(), scale);
                assert_eq!(shown, of_server("trim_scale(v)::text"));
            }
        }
    }
}

/// I9, in every format: what an update left alone and the server did not send is never null.
#[tokio::test(flavor = "multi_thread")]
async fn and_what_was_not_sent_is_null_in_no_format() {
    let primary = Primary::start();
    primary.sql(
        "create table t(id int primary key, n int, a text, b bytea, c jsonb, d text[], e numeric);
         alter table t alter a set storage external, alter b set storage external,
             alter c set storage external, alter d set storage external,
             alter e set storage external;
         create publication p for table t;",
    );
    primary.sql(
        "insert into t values (1, 1, repeat('x', 10000), decode(repeat('00', 10000), 'hex'),
             jsonb_build_object('k', repeat('y', 10000)), array[repeat('z', 10000)],
             repeat('123456789', 2000)::numeric)",
    );
    primary.sql("select pg_create_logical_replication_slot('s', 'pgoutput')");
    primary.sql("update t set n = 2");
    let batches = read(&primary, ("s", "p"), WireFormat::Binary, 1).await;
    let formats = [
        EventFormat::Json,
        EventFormat::CloudEvents(Default::default()),
        EventFormat::Wal2Json,
        EventFormat::Debezium(options(Usual)),
        EventFormat::Debezium(options(Strings)),
    ];
    for format in formats {
        let events = lines(&batches, format.clone());
        let event = events.iter().find(|event| event.to_string().contains("\"t\"")).unwrap();
        let row = match format.name() {
            "json" => &event["new"],
            "cloudevents" => &event["data"]["new"],
            "debezium" => &event["after"],
            _ => &event["columns"],
        };
        if format.name() == "debezium" {
            let columns = row.as_object().unwrap();
            assert!(columns.len() == 7 && columns.values().all(|value| !value.is_null()), "{row}");
            assert_eq!(row["a"], "__debezium_unavailable_value");
        } else {
            let count =
                row.as_object().map_or_else(|| row.as_array().unwrap().len(), |row| row.len());
            assert_eq!(count, 2, "only what was sent: {row}");
        }
    }
}
