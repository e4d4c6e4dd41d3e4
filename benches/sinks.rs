//! Cost of a sink: batches like those of the workload W1 (eight columns, 100 rows a transaction),
//! from memory, into the null sink, the encoder alone, and files with and without other sinks of
//! the same format. Rows per second, and CPU time a row (user + system)
//! where the system tells it.
//!
//! `cargo bench --bench sinks --features testing [-- DIRECTORY]`, the directory being where the
//! files go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use walcast::codec::json::JsonLines;
use walcast::codec::value::TypeRegistry;
use walcast::event::{Batch, Chunk, Column, Lease, Oid, Relation, ReplicaIdentity, Value};
use walcast::session::{Assembler, AssemblerOptions, HandedOut};
use walcast::sink::{OpenContext, Sink};
use walcast::sinks::{FileSink, NullSink};
use walcast::testing::{Feed, Frames};
use walcast::{Lsn, SinkName, SlotName};

const TRANSACTIONS: u64 = 10_000;
const ROWS_PER_TRANSACTION: u64 = 100;
const ROWS: u64 = TRANSACTIONS * ROWS_PER_TRANSACTION;
/// What the read buffer of a connection holds.
const CHUNK_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_millis(5);

fn main() {
    let target = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let directory = match target {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    };
    let directory = directory.expect("a directory for the files can be made");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    for _ in 0..3 {
        encode_alone(&batches());
        let (share, batches) = (Sharing::No, batches());
        measure("null", || runtime.block_on(drain(NullSink::new(), batches, share, LINGER)));
        for (name, share, linger) in [
            ("file", Sharing::No, Duration::MAX),
            ("file, shared bytes", Sharing::Yes, Duration::MAX),
            ("file, flushed every 5 ms", Sharing::No, LINGER),
        ] {
            let path = fresh(directory.path());
            let batches = self::batches();
            let sink = FileSink::new(&path);
            measure(name, || runtime.block_on(drain(sink, batches, share, linger)));
        }
    }
}

fn fresh(directory: &Path) -> PathBuf {
    for name in ["w1.jsonl", "w1.jsonl.cursor"] {
        let _ = std::fs::remove_file(directory.join(name));
    }
    directory.join("w1.jsonl")
}

#[derive(Clone, Copy, PartialEq)]
enum Sharing {
    Yes,
    No,
}

/// Write everything, flushing after each `linger`, as a lane does.
async fn drain(mut sink: impl Sink, batches: Vec<Batch>, sharing: Sharing, linger: Duration) {
    let feed = Feed::after(Lsn::new(0));
    let (name, slot) = (SinkName::new("bench").expect("fits"), SlotName::new("s").expect("fits"));
    let mut context = OpenContext::new(name, slot, Arc::clone(feed.lineage()));
    context.share_encoding = sharing == Sharing::Yes;
    sink.open(&context).await.expect("the sink opens");
    let mut flushed = Instant::now();
    for batch in batches {
        sink.write(batch).await.expect("the sink writes");
        if flushed.elapsed() >= linger {
            sink.flush().await.expect("the sink flushes");
            flushed = Instant::now();
        }
    }
    sink.flush().await.expect("the sink flushes");
    sink.close().await.expect("the sink closes");
}

fn encode_alone(batches: &[Batch]) {
    let mut lines = JsonLines::new(Arc::new(TypeRegistry::builtin()));
    let mut out = Vec::new();
    let mut bytes = 0;
    measure("encode alone", || {
        for batch in batches {
            out.clear();
            lines.encode(batch, &mut out).expect("the rows are valid");
            bytes += out.len();
        }
    });
    println!("{:24} {:8.1} bytes a row", "", bytes as f64 / ROWS as f64);
}

fn measure(name: &str, work: impl FnOnce()) {
    let ([user, system], started) = (cpu_seconds(), Instant::now());
    work();
    let elapsed = started.elapsed().as_secs_f64();
    let [user, system] = {
        let now = cpu_seconds();
        [now[0] - user, now[1] - system]
    }
    .map(|seconds| seconds / ROWS as f64 * 1e9);
    let rows = ROWS as f64 / elapsed / 1e6;
    println!("{name:24} {rows:8.2} M rows/s {user:6.0} + {system:4.0} ns CPU a row");
}

/// What this process has used, from /proc; 0 where there is none.
fn cpu_seconds() -> [f64; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let mut ticks = fields.skip(11).filter_map(|ticks| ticks.parse::<f64>().ok());
    std::array::from_fn(|_| ticks.next().unwrap_or_default() / 100.0)
}

/// W1's inserts as one connection would read them.
fn batches() -> Vec<Batch> {
    let relation = relation();
    let handed = HandedOut { end: Lsn::new(0), partial: None };
    let lineage = Arc::clone(Feed::after(Lsn::new(0)).lineage());
    let mut assembler = Assembler::new(lineage, handed, AssemblerOptions::everything());
    let mut frames = Frames::new();
    let mut batches = Vec::new();
    let mut chunk_bytes = 0;
    for transaction in 1..=TRANSACTIONS {
        let commit = transaction * 0x10_0000;
        frames.begin_at(commit, 820_000_000_123_456 + transaction as i64);
        if transaction == 1 {
            frames.relation(&relation);
        }
        for nth in 0..ROWS_PER_TRANSACTION {
            let row = row(transaction * ROWS_PER_TRANSACTION + nth);
            let values = row.each_ref().map(|text| Value::Text(text.as_bytes()));
            frames.insert(commit - 0x1000 + nth, relation.oid, &values);
        }
        let Chunk { bytes, .. } = frames.commit(commit).chunk();
        chunk_bytes += bytes.len();
        assembler.push(Chunk { bytes, lease: Lease::free() }).expect("the frames are valid");
        if chunk_bytes >= CHUNK_BYTES {
            chunk_bytes = 0;
            batches.extend(assembler.take(|_| Lease::free()));
        }
    }
    batches.extend(assembler.take(|_| Lease::free()));
    batches
}

fn relation() -> Relation {
    let columns = [
        ("id", 20),
        ("n", 23),
        ("txt", 25),
        ("amt", 1700),
        ("ts", 1184),
        ("ok", 16),
        ("doc", 3802),
        ("uid", 2950),
    ];
    let column = |(name, type_oid): (&str, u32)| Column {
        name: name.to_owned(),
        type_oid: Oid::new(type_oid),
        type_name: None,
        type_modifier: -1,
        in_identity: name == "id",
    };
    Relation {
        oid: Oid::new(16_500),
        schema: "public".to_owned(),
        name: "w1".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: columns.map(column).into(),
        catalog: None,
    }
}

fn row(number: u64) -> [String; 8] {
    let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let (user, score, ip) = (number, number % 1000, number % 250);
    [
        number.to_string(),
        (number * 7919 % 2_000_000_000).to_string(),
        format!("{hash:016x}{:016x}{:08x}", !hash, hash >> 32),
        format!("{}.{:02}", number * 3779 % 10_000_000, number % 100),
        format!(
            "2026-01-{:02} 12:{:02}:{:02}.23456{}+00",
            1 + number % 28,
            number % 60,
            number % 59,
            1 + number % 9
        ),
        if number.is_multiple_of(3) { "t" } else { "f" }.to_owned(),
        format!(
            r#"{{"ip": "10.0.{ip}.{ip}", "tags": ["alpha", "beta"], "user": "u{user}", "score": {score}, "active": true}}"#
        ),
        format!("{:08x}-0000-4000-8000-{:012x}", hash >> 32, hash & 0xFFFF_FFFF_FFFF),
    ]
}
