//! Cost of a value and of an event: rows like those of the workload W1 (eight columns: bigint, int,
//! text, numeric, timestamptz, bool, jsonb, uuid), from text and from binary, as JSON and as events
//! of each format, in bytes written per second, with what was allocated.
//!
//! `cargo bench --bench codec --features testing`

use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use walcast::Lsn;
use walcast::codec::cloudevents::CloudEventsOptions;
use walcast::codec::debezium::DebeziumOptions;
use walcast::codec::value::{Scalar, TypeRegistry, ValueType, write_json};
use walcast::codec::{Encoder, EventFormat, write_json_str, write_json_utf8};
use walcast::event::{Batch, Column, Lease, Oid, Relation, ReplicaIdentity, Value};
use walcast::session::{Assembler, AssemblerOptions, HandedOut};
use walcast::testing::{Feed, Frames};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const ROWS: usize = 1000;
const TYPES: [u32; 8] = [20, 23, 25, 1700, 1184, 16, 3802, 2950];
const NAMES: [&str; 8] = ["id", "n", "txt", "amt", "ts", "ok", "doc", "uid"];

type Row = [Vec<u8>; 8];

struct Rows {
    types: [ValueType; 8],
    /// What stands before each value: written once per relation, copied per row.
    keys: [Vec<u8>; 8],
    text: Vec<Row>,
    binary: Vec<Row>,
}

impl Rows {
    fn new() -> Self {
        let registry = TypeRegistry::builtin();
        let types = TYPES.map(|oid| registry.value_type(Oid::new(oid)));
        let keys = NAMES.map(|name| {
            let mut key = vec![if name == NAMES[0] { b'{' } else { b',' }];
            write_json_str(&mut key, name);
            key.push(b':');
            key
        });
        let (text, binary) = (1..=ROWS as u64).map(row).unzip();
        Self { types, keys, text, binary }
    }

    fn write(&self, out: &mut Vec<u8>, rows: &[Row], value: impl Fn(&[u8]) -> Value<'_>) {
        for row in rows {
            for ((key, value_type), bytes) in std::iter::zip(&self.keys, &self.types).zip(row) {
                out.extend_from_slice(key);
                write_json(out, value_type, value(black_box(bytes))).expect("the rows are valid");
            }
            out.extend_from_slice(b"}\n");
        }
    }
}

/// Row `number` of W1, as text and as binary.
fn row(number: u64) -> (Row, Row) {
    let hash = |seed: u64| (seed | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let n = (number * 7919 % 2_000_000_000) as i32;
    let txt = format!("{:016x}{:016x}{:08x}", hash(number), hash(!number), hash(n as u64) as u32);
    let cents = number * 3779 * 131_071 % 100_000_000_000;
    let micros = 820_454_400_000_000 + number as i64 * 1_234_567;
    let doc = format!(
        r#"{{"ip": "10.0.{}.{}", "tags": ["alpha", "beta"], "user": "u{number}", "score": {}, "active": {}}}"#,
        number / 250 % 250,
        number % 250,
        number % 1000,
        number.is_multiple_of(2),
    );
    let uid = [hash(number ^ 77).to_be_bytes(), hash(number ^ 99).to_be_bytes()].concat();
    let whole = cents / 100;
    let groups = [whole / 100_000_000, whole / 10_000 % 10_000, whole % 10_000, cents % 100 * 100];
    let first = groups.iter().position(|group| *group != 0).unwrap_or(0);
    let mut numeric = vec![0, 4 - first as u8, 0, 2 - first as u8, 0, 0, 0, 2];
    numeric.extend(groups[first..].iter().flat_map(|group| (*group as u16).to_be_bytes()));
    let binary = [
        number.to_be_bytes().to_vec(),
        n.to_be_bytes().to_vec(),
        txt.clone().into_bytes(),
        numeric,
        micros.to_be_bytes().to_vec(),
        vec![u8::from(number.is_multiple_of(3))],
        [b"\x01", doc.as_bytes()].concat(),
        uid,
    ];
    let text_of = |scalar: Scalar, bytes: &[u8]| {
        let mut out = Vec::new();
        write_json(&mut out, &scalar.into(), Value::Binary(bytes)).expect("the rows are valid");
        String::from_utf8(out).expect("JSON is text").trim_matches('"').to_owned()
    };
    let ts = text_of(Scalar::TimestampTz, &binary[4]).replace('T', " ").replace("+00:00", "+00");
    let text = [
        number.to_string(),
        n.to_string(),
        txt,
        text_of(Scalar::Numeric, &binary[3]),
        ts,
        if number.is_multiple_of(3) { "t" } else { "f" }.into(),
        doc,
        text_of(Scalar::Uuid, &binary[7]),
    ];
    (text.map(String::into_bytes), binary)
}

fn bench_rows<'a>(
    bencher: Bencher<'_, '_>,
    rows: &'a Rows,
    form: &'a [Row],
    value: impl Fn(&[u8]) -> Value<'_> + Copy,
) {
    let mut out = Vec::new();
    rows.write(&mut out, form, value);
    bencher.counter(ItemsCount::new(ROWS)).counter(BytesCount::new(out.len())).bench_local(|| {
        out.clear();
        rows.write(&mut out, form, value);
        black_box(&out);
    });
}

#[divan::bench]
fn w1_rows_from_text(bencher: Bencher<'_, '_>) {
    let rows = Rows::new();
    bench_rows(bencher, &rows, &rows.text, |bytes| Value::Text(bytes));
}

#[divan::bench]
fn w1_rows_from_binary(bencher: Bencher<'_, '_>) {
    let rows = Rows::new();
    bench_rows(bencher, &rows, &rows.binary, |bytes| Value::Binary(bytes));
}

/// The formats of events, by name.
fn formats() -> Vec<EventFormat> {
    vec![
        EventFormat::Json,
        EventFormat::CloudEvents(CloudEventsOptions::default()),
        EventFormat::Debezium(DebeziumOptions::default()),
        EventFormat::Wal2Json,
    ]
}

const FORMATS: [&str; 4] = ["json", "cloudevents", "debezium", "wal2json"];

/// One transaction of W1's rows as events, plans made beforehand.
#[divan::bench(args = FORMATS)]
fn w1_events_from_text(bencher: Bencher<'_, '_>, format: &str) {
    let rows = Rows::new();
    bench_events(bencher, format, &batch(&rows.text, |bytes| Value::Text(bytes)));
}

#[divan::bench(args = FORMATS)]
fn w1_events_from_binary(bencher: Bencher<'_, '_>, format: &str) {
    let rows = Rows::new();
    bench_events(bencher, format, &batch(&rows.binary, |bytes| Value::Binary(bytes)));
}

fn bench_events(bencher: Bencher<'_, '_>, format: &str, batch: &Batch) {
    let format = formats().into_iter().find(|known| known.name() == format);
    let types = Arc::new(TypeRegistry::builtin());
    let mut encoder = Encoder::new(format.expect("a format by its name"), types);
    let mut out = Vec::new();
    encoder.encode(batch, &mut out).expect("the rows are valid");
    bencher.counter(ItemsCount::new(ROWS)).counter(BytesCount::new(out.len())).bench_local(|| {
        out.clear();
        encoder.encode(black_box(batch), &mut out).expect("the rows are valid");
        black_box(&out);
    });
}

/// Inserts of these rows, as one connection would hand them out.
fn batch(rows: &[Row], value: impl Fn(&[u8]) -> Value<'_>) -> Batch {
    let columns = std::iter::zip(NAMES, TYPES).map(|(name, oid)| Column {
        name: name.to_owned(),
        type_oid: Oid::new(oid),
        type_name: None,
        type_modifier: -1,
        in_identity: name == NAMES[0],
    });
    let relation = Relation {
        oid: Oid::new(16_500),
        schema: "public".to_owned(),
        name: "w1".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: columns.collect(),
        catalog: None,
    };
    let mut frames = Frames::new();
    frames.begin_at(0x10_0000, 820_000_000_123_456).relation(&relation);
    for (nth, row) in (0..).zip(rows) {
        let values: Vec<_> = row.iter().map(|bytes| value(bytes)).collect();
        frames.insert(0x1000 + nth, relation.oid, &values);
    }
    frames.commit(0x10_0000);
    let handed = HandedOut { end: Lsn::new(0), partial: None };
    let lineage = Arc::clone(Feed::after(Lsn::new(0)).lineage());
    let mut assembler = Assembler::new(lineage, handed, AssemblerOptions::everything());
    assembler.push(frames.chunk()).expect("the frames are valid");
    assembler.take(|_| Lease::free()).expect("a transaction")
}

/// One column of W1 alone: what it adds to a row.
#[divan::bench(args = NAMES)]
fn w1_column_from_text(bencher: Bencher<'_, '_>, name: &str) {
    let rows = Rows::new();
    bench_column(bencher, &rows, &rows.text, name, |bytes| Value::Text(bytes));
}

#[divan::bench(args = NAMES)]
fn w1_column_from_binary(bencher: Bencher<'_, '_>, name: &str) {
    let rows = Rows::new();
    bench_column(bencher, &rows, &rows.binary, name, |bytes| Value::Binary(bytes));
}

fn bench_column(
    bencher: Bencher<'_, '_>,
    rows: &Rows,
    form: &[Row],
    name: &str,
    value: impl Fn(&[u8]) -> Value<'_>,
) {
    let column = NAMES.iter().position(|known| *known == name).expect("a column of W1");
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        out.clear();
        for row in form {
            write_json(&mut out, &rows.types[column], value(black_box(&row[column])))
                .expect("the rows are valid");
        }
        black_box(&out);
    });
}

#[divan::bench]
fn float8_from_binary(bencher: Bencher<'_, '_>) {
    let numbers: Vec<_> = (1..=ROWS).map(|n| (1.0 / n as f64).to_be_bytes()).collect();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        out.clear();
        for number in &numbers {
            write_json(&mut out, &Scalar::Float8.into(), Value::Binary(black_box(number)))
                .expect("eight bytes are a float");
        }
        black_box(&out);
    });
}

#[divan::bench(args = [8, 40, 400, 40_000])]
fn string(bencher: Bencher<'_, '_>, length: usize) {
    let text: Vec<u8> = b"The quick brown fox jumps over the lazy dog 0123456789. "
        .iter()
        .copied()
        .cycle()
        .take(length)
        .collect();
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        out.clear();
        write_json_utf8(&mut out, black_box(&text)).expect("ASCII is UTF-8");
        black_box(&out);
    });
}
