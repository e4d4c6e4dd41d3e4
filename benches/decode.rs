//! Decoding from memory, as multiples of a walker that only checks lengths: frames of the workload
//! W1 as PostgreSQL 18 sent them, to rows with column offsets, to typed values of all columns, to
//! native JSON. Also counts what is allocated, and fails when that grows with rows.
//!
//! `cargo bench --bench decode`

mod w1;

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use postgres_types::{FromSql, Type};
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::event::{Batch, Chunk, Event, Lease, Row};
use walcast::session::{Assembler, AssemblerOptions, HandedOut};
use walcast::wire::copy_both::{ServerMessage, frame_bytes};
use walcast::{Lineage, Lsn, ServerIdentity, SystemId, Timeline};

/// What the read buffer of a connection holds.
const CHUNK_BYTES: usize = 256 * 1024;
const ROUNDS: usize = 15;
/// Vectors of a batch, and what knows its tables: for each chunk, whatever is in it.
const ALLOCATIONS_PER_CHUNK: f64 = 40.0;

/// What is measured: its name, and how many walks it may take.
const STAGES: [(&str, f64); 4] =
    [("lengths alone", 1.0), ("rows", 3.0), ("typed values", 8.0), ("native JSON", 20.0)];

fn main() {
    for format in ["binary", "text"] {
        let w1 = w1::W1::load(format, CHUNK_BYTES);
        println!("W1, {format}: {} rows, {} bytes", w1.rows, w1.bytes());
        let mut times = [const { Vec::new() }; STAGES.len()];
        // In turn, so that a machine whose speed drifts is as fast for one as for the others.
        for _ in 0..ROUNDS {
            for (stage, times) in times.iter_mut().enumerate() {
                let started = Instant::now();
                run(stage, &w1);
                times.push(started.elapsed());
            }
        }
        let walk = median(&mut times[0]);
        println!(
            "{:16} {:>8} {:>6} {:>8} {:>18}",
            "", "ns/row", "walks", "at most", "allocations/row"
        );
        for (stage, (name, walks_max)) in STAGES.into_iter().enumerate() {
            let time = median(&mut times[stage]);
            let walks = time.as_secs_f64() / walk.as_secs_f64();
            let allocated = allocation_counter::measure(|| run(stage, &w1)).count_total as f64;
            println!(
                "{name:16} {:8.1} {walks:6.2} {walks_max:8.0} {:18.5}",
                time.as_secs_f64() * 1e9 / w1.rows as f64,
                allocated / w1.rows as f64,
            );
            let allowed = ALLOCATIONS_PER_CHUNK * w1.chunks.len() as f64;
            assert!(allocated <= allowed, "{name}: {allocated} allocations, {allowed} allowed");
        }
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn run(stage: usize, w1: &w1::W1) {
    match stage {
        0 => assert_eq!(w1.chunks.iter().map(walk).sum::<usize>(), w1.rows),
        1 => batches(w1, |batch| {
            black_box(batch);
        }),
        2 => batches(w1, |batch| typed(&batch)),
        _ => {
            let types = Arc::new(TypeRegistry::builtin());
            let (mut encoder, mut out) = (Encoder::new(EventFormat::Json, types), Vec::new());
            batches(w1, |batch| {
                out.clear();
                encoder.encode(&batch, &mut out).expect("the rows are valid");
                black_box(&out);
            });
        }
    }
}

/// How many rows there are, every length of them checked and nothing kept.
fn walk(chunk: &Bytes) -> usize {
    let (mut at, mut rows) = (0, 0);
    while let Some(length) = frame_bytes(&chunk[at..]).expect("frames") {
        let message = ServerMessage::parse(&chunk[at + 5..at + length]).expect("messages");
        at += length;
        let ServerMessage::XLogData { payload, .. } = message else { continue };
        let tuples = match payload.first() {
            Some(b'I' | b'U' | b'D') => &payload[5..],
            _ => continue,
        };
        rows += usize::from(walk_tuples(tuples).expect("rows") > 0);
    }
    rows
}

#[inline]
fn walk_tuples(mut rest: &[u8]) -> Option<usize> {
    let mut tuples = 0;
    while let Some((_tag, after)) = rest.split_first() {
        let (count, after) = after.split_first_chunk::<2>()?;
        rest = after;
        for _ in 0..u16::from_be_bytes(*count) {
            let (kind, after) = rest.split_first()?;
            rest = match kind {
                b'n' | b'u' => after,
                b't' | b'b' => {
                    let (length, after) = after.split_first_chunk::<4>()?;
                    after.get(u32::from_be_bytes(*length) as usize..)?
                }
                _ => return None,
            };
        }
        tuples += 1;
    }
    Some(tuples)
}

fn batches(w1: &w1::W1, mut each: impl FnMut(Batch)) {
    let identity = ServerIdentity { system_id: SystemId::new(7), timeline: Timeline::new(1) };
    let lineage = Arc::new(Lineage::single(identity));
    let handed = HandedOut { end: Lsn::new(0), partial: None };
    let mut assembler = Assembler::new(lineage, handed, AssemblerOptions::everything());
    for bytes in &w1.chunks {
        let chunk = Chunk { bytes: bytes.clone(), lease: Lease::free() };
        assembler.push(chunk).expect("a server sent it");
        if let Some(batch) = assembler.take(|_| Lease::free()) {
            each(batch);
        }
    }
}

fn typed(batch: &Batch) {
    for event in batch.events() {
        let Event::Change(change) = event else { continue };
        match (change.new_row(), change.old_row()) {
            (Some(row), _) => {
                black_box(values(row));
            }
            (None, Some(old)) => {
                black_box(old.row().get::<i64>(0).expect("the key"));
            }
            (None, None) => {}
        }
    }
}

type Values<'a> = (i64, i32, &'a str, Cents, SystemTime, bool, Document<'a>, Uuid);

#[inline]
fn values(row: Row<'_>) -> Values<'_> {
    let read = || {
        Ok::<_, walcast::row::RowError>((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
            row.get(7)?,
        ))
    };
    read().expect("the types are those of the table")
}

type Refused = Box<dyn Error + Sync + Send>;

/// A `numeric(12,2)`.
#[derive(Debug)]
struct Cents(#[allow(dead_code, reason = "made to be measured")] i64);

impl<'a> FromSql<'a> for Cents {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Refused> {
        let (header, groups) = raw.split_first_chunk::<8>().ok_or("a header")?;
        let weight = i32::from(i16::from_be_bytes([header[2], header[3]]));
        let mut cents = 0;
        for (at, group) in (0..).zip(groups.as_chunks::<2>().0) {
            let group = i64::from(u16::from_be_bytes(*group));
            cents += match weight - at {
                -1 => group / 100,
                power @ 0..=3 => group * 100 * 10_000_i64.pow(power.cast_unsigned()),
                _ => return Err("no numeric(12,2)".into()),
            };
        }
        Ok(Self(if header[4..6] == [0, 0] { cents } else { -cents }))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }
}

/// A `jsonb`, as text.
#[derive(Debug)]
struct Document<'a>(#[allow(dead_code, reason = "made to be measured")] &'a str);

impl<'a> FromSql<'a> for Document<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Refused> {
        let text = if *ty == Type::JSONB { raw.get(1..).ok_or("a version")? } else { raw };
        Ok(Self(std::str::from_utf8(text)?))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::JSON | Type::JSONB)
    }
}

#[derive(Debug)]
struct Uuid(#[allow(dead_code, reason = "made to be measured")] u128);

impl<'a> FromSql<'a> for Uuid {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Refused> {
        Ok(Self(u128::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }
}
