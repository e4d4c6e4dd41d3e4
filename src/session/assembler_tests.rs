//! What the assembler makes of frames, connections cut anywhere included.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::event::{Batch, Column, Event, Lease, Relation, ReplicaIdentity, Value};
use crate::lsn::Position;
use crate::name::{ServerIdentity, SystemId, Timeline};
use crate::testing::Frames;

/// Frames about one table.
#[derive(Default)]
struct Script(Frames);

impl Script {
    fn keepalive(&mut self, end: u64) -> &mut Self {
        self.0.keepalive(end);
        self
    }

    fn begin(&mut self, commit: u64) -> &mut Self {
        self.0.begin(commit);
        self
    }

    fn commit(&mut self, commit: u64) -> &mut Self {
        self.0.commit(commit);
        self
    }

    fn relation(&mut self) -> &mut Self {
        self.relation_with(25)
    }

    /// The table with a note of this type.
    fn relation_with(&mut self, note: u32) -> &mut Self {
        let column = |name: &str, type_oid, in_identity| Column {
            name: name.to_owned(),
            type_oid: Oid::new(type_oid),
            type_name: None,
            type_modifier: -1,
            in_identity,
        };
        self.0.relation(&Relation {
            oid: Oid::new(9),
            schema: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: vec![column("id", 23, true), column("note", note, false)],
            catalog: None,
        });
        self
    }

    fn insert(&mut self, lsn: u64, id: &str) -> &mut Self {
        self.0.insert(lsn, Oid::new(9), &[Value::Text(id.as_bytes()), Value::Null]);
        self
    }

    fn message(&mut self, lsn: u64) -> &mut Self {
        self.0.free_message(lsn, "p", b"hi");
        self
    }

    fn chunk(&mut self) -> Chunk {
        self.0.chunk()
    }
}

fn assembler(handed: HandedOut) -> Assembler {
    let identity = ServerIdentity { system_id: SystemId::new(1), timeline: Timeline::new(1) };
    let options = AssemblerOptions::everything();
    Assembler::new(Arc::new(Lineage::single(identity)), handed, options)
}

fn fresh() -> Assembler {
    assembler(HandedOut { end: Lsn::new(0), partial: None })
}

fn take(assembler: &mut Assembler) -> Option<Batch> {
    assembler.take(|_| Lease::free())
}

/// One line for each event: what a sink would see.
fn lines(batch: &Batch) -> Vec<String> {
    let line = |event| match event {
        Event::Begin(of) => format!("begin {}", of.commit_lsn()),
        Event::Commit(of) => format!("commit {}", of.commit_lsn()),
        Event::Change(change) => {
            let Some(Value::Text(id)) = change.new_row().and_then(|row| row.value_of("id")) else {
                panic!("no id");
            };
            let id = String::from_utf8_lossy(id);
            format!("{id} {:?} last={}", change.position(), change.is_last())
        }
        Event::Message(message) => format!("message {:?}", message.position()),
        Event::Truncate(_) => "truncate".to_owned(),
        Event::SchemaChange(change) => format!("schema {:?}", change.before()),
        Event::Early(_) | Event::Abort(_) => panic!("nobody asked for it"),
    };
    batch.events().map(line).collect()
}

#[test]
fn a_transaction_is_handed_out_whole_and_its_last_change_is_marked() {
    let mut it = fresh();
    let mut script = Script::default();
    script.begin(100).relation().insert(90, "1").insert(90, "2").commit(100);
    it.push(script.chunk()).unwrap();
    let batch = take(&mut it).unwrap();
    assert_eq!(batch.end(), Lsn::new(108));
    let lines = lines(&batch);
    assert_eq!(lines.len(), 4);
    assert!(lines[1].ends_with("index: 1 } last=false"), "{lines:?}");
    assert!(lines[2].ends_with("index: 2 } last=true"), "{lines:?}");
    assert!(take(&mut it).is_none());
}

#[test]
fn an_unfinished_transaction_keeps_its_last_change_back_and_moves_no_end() {
    let mut it = fresh();
    let mut script = Script::default();
    it.push(script.keepalive(50).begin(100).relation().insert(90, "1").insert(90, "2").chunk())
        .unwrap();
    let batch = take(&mut it).unwrap();
    assert_eq!((batch.end(), batch.len()), (Lsn::new(0), 2), "idle progress goes by itself");
    let idle = take(&mut it).unwrap();
    assert_eq!((idle.end(), idle.len()), (Lsn::new(50), 0));
    assert!(take(&mut it).is_none());
    it.push(script.keepalive(99).commit(100).chunk()).unwrap();
    let batch = take(&mut it).unwrap();
    assert_eq!((batch.end(), batch.len()), (Lsn::new(108), 2));
    assert!(lines(&batch)[0].ends_with("last=true"));
}

/// Rows of a table with so many columns, all NULL: a byte each on the wire.
fn wide(columns: usize, rows: usize) -> Chunk {
    let column = Column {
        name: "c".to_owned(),
        type_oid: Oid::new(23),
        type_name: None,
        type_modifier: -1,
        in_identity: false,
    };
    let relation = Relation {
        oid: Oid::new(9),
        schema: "public".to_owned(),
        name: "wide".to_owned(),
        replica_identity: ReplicaIdentity::Nothing,
        columns: vec![column; columns],
        catalog: None,
    };
    let mut frames = Frames::new();
    frames.begin(100).relation(&relation);
    for _ in 0..rows {
        frames.insert(90, Oid::new(9), &vec![Value::Null; columns]);
    }
    frames.commit(100);
    frames.chunk()
}

#[test]
fn a_batch_is_closed_within_a_chunk_when_its_events_take_too_much() {
    const ARENA_BYTES: usize = 32 * 1024;
    const ROW_BYTES: usize = 1600 * size_of::<crate::wire::Field>() + size_of::<Head>();
    let mut it = fresh().bounded(ARENA_BYTES);
    let chunk = wide(1600, 20);
    let (mut rest, mut bytes, mut rows) = (Some(chunk.clone()), 0, 0);
    while let Some(chunk) = rest {
        rest = it.push(chunk).unwrap();
        let mut made = 0;
        let batch = it.take(|bytes| {
            made = bytes;
            Lease::free()
        });
        // Vectors may have twice what they need.
        assert!(made <= 2 * (ARENA_BYTES + ROW_BYTES), "{made}");
        for event in batch.iter().flat_map(Batch::events) {
            let Event::Change(change) = event else { continue };
            rows += 1;
            assert_eq!(
                change.position(),
                Position::Logged { commit_lsn: Lsn::new(100), index: rows }
            );
            assert_eq!(change.is_last(), rows == 20);
            assert_eq!(
                change.new_row().unwrap().iter().filter(|(_, value)| value.is_null()).count(),
                1600
            );
        }
        bytes += batch.map_or(0, |batch| batch.bytes());
    }
    assert_eq!((rows, it.handed_out().end), (20, Lsn::new(108)));
    // A piece is counted twice where its last row waits for the next one.
    assert!(bytes <= 2 * chunk.bytes.len(), "{bytes} of {}", chunk.bytes.len());
}

#[test]
fn idle_progress_is_an_empty_batch() {
    let mut it = fresh();
    let mut script = Script::default();
    it.push(script.keepalive(50).chunk()).unwrap();
    let batch = take(&mut it).unwrap();
    assert!(batch.is_empty());
    assert_eq!(batch.end(), Lsn::new(50));
    it.push(script.keepalive(40).chunk()).unwrap();
    assert!(take(&mut it).is_none());
}

/// A message's LSN is where its record ends: a commit record may start there, none ends there.
#[test]
fn a_message_is_handed_out_once_and_a_commit_that_starts_where_it_ends_is_kept() {
    let mut it = assembler(HandedOut { end: Lsn::new(108), partial: None });
    let mut script = Script::default();
    let chunk = script.message(120).begin(120).relation().insert(110, "1").commit(120).chunk();
    it.push(chunk.clone()).unwrap();
    let batch = take(&mut it).unwrap();
    assert_eq!(batch.len(), 4);
    assert_eq!(batch.after(Lsn::new(119)).len(), 4);
    assert_eq!(batch.after(Lsn::new(120)).len(), 3);
    assert!(batch.after(batch.end()).is_empty());
    let mut again = assembler(HandedOut { end: Lsn::new(120), partial: None });
    again.push(chunk).unwrap();
    assert_eq!(take(&mut again).unwrap().len(), 3);
}

#[test]
fn what_the_protocol_does_not_allow_is_named() {
    let cases: [(Chunk, &str); 5] = [
        (Script::default().commit(1).chunk(), "Commit outside a transaction"),
        (Script::default().begin(5).begin(6).chunk(), "Begin inside a transaction"),
        (Script::default().begin(5).insert(1, "1").chunk(), "relation 9"),
        (Script::default().begin(5).commit(6).chunk(), "Commit names 0/6"),
        (Script::default().begin(5).commit(5).begin(5).chunk(), "commit LSN 0/5 came after"),
    ];
    for (chunk, expected) in cases {
        let error = fresh().push(chunk).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// A sink that has proven what was reached would drop it.
#[test]
fn what_comes_from_before_the_end_that_was_reached_is_refused() {
    let overdue =
        |reached, lsn| Err(DecodeError::Overdue { reached: Lsn::new(reached), lsn: Lsn::new(lsn) });
    let mut script = Script::default();
    let late = script.keepalive(500).relation().begin(100).insert(90, "1").commit(100).chunk();
    assert_eq!(fresh().push(late).map(drop), overdue(500, 100));
    let late = script.begin(300).commit(300).message(200).chunk();
    assert_eq!(fresh().push(late).map(drop), overdue(308, 200));
    // What was handed out before the connection is sent again.
    let mut assembler = assembler(HandedOut { end: Lsn::new(500), partial: None });
    let again = script.keepalive(400).begin(100).commit(100).begin(500).commit(500).chunk();
    assert_eq!(assembler.push(again).map(drop), Ok(()));
    assert_eq!(assembler.push(script.begin(507).chunk()).map(drop), overdue(508, 507));
}

#[test]
fn a_cursor_cuts_a_batch_between_transactions() {
    let mut it = fresh();
    let mut script = Script::default();
    script.begin(100).relation().insert(90, "1").commit(100);
    script.begin(200).insert(90, "2").commit(200);
    it.push(script.chunk()).unwrap();
    let batch = take(&mut it).unwrap();
    assert_eq!(batch.after(Lsn::new(100)).len(), 6);
    assert_eq!(batch.after(Lsn::new(108)).len(), 3);
    assert!(batch.after(Lsn::new(208)).is_empty());
}

/// Three transactions; row LSNs repeat and fall, and the table changes within the last.
fn story() -> Bytes {
    let mut script = Script::default();
    script.keepalive(10);
    for (commit, rows) in [(100, 3), (200, 0), (300, 5)] {
        script.begin(commit).relation();
        for row in 0..rows {
            if (commit, row) == (300, 2) {
                script.relation_with(1043);
            }
            script.insert(commit - row / 2 * 50, &format!("{commit}-{row}"));
        }
        script.commit(commit).message(commit + 12).keepalive(commit + 20);
    }
    script.chunk().bytes
}

/// PostgreSQL 18 can tell of a rollback although nothing was streamed and nothing was asked for.
#[test]
fn a_stray_stream_abort_is_counted_and_is_no_event() {
    let mut script = Script::default();
    script.0.stream_abort(7, 8);
    script.relation().begin(20).insert(10, "1");
    script.0.stream_abort(7, 9);
    script.insert(11, "2").commit(20);
    script.0.stream_abort(7, 7);
    let mut it = fresh();
    it.push(script.chunk()).unwrap();
    let batch = take(&mut it).unwrap();
    assert_eq!((batch.len(), batch.end()), (4, Lsn::new(28)));
    assert_eq!(it.stray_aborts(), 3);
}

fn frame_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    while let Some(at) = ends.last().filter(|at| **at < bytes.len()) {
        ends.push(at + frame_bytes(&bytes[*at..]).unwrap().unwrap());
    }
    ends
}

proptest! {
    /// A connection cut anywhere and begun again from any confirmed end hands out each event once.
    #[test]
    fn reconnects_lose_and_repeat_nothing(
        cuts in prop::collection::vec((0usize..40, 1usize..4), 0..6),
        arena_bytes in prop_oneof![Just(usize::MAX), 0usize..1000],
    ) {
        let bytes = story();
        let ends = frame_ends(&bytes);
        let mut whole = fresh();
        whole.push(Chunk { bytes: bytes.clone(), lease: Lease::free() }).unwrap();
        let expected = lines(&take(&mut whole).unwrap());
        prop_assert_eq!(expected.iter().filter(|line| line.starts_with("schema")).count(), 1);
        let mut seen = Vec::new();
        let mut handed = HandedOut { end: Lsn::new(0), partial: None };
        for (cut, step) in cuts.into_iter().chain([(ends.len(), 3)]) {
            let mut it = assembler(handed).bounded(arena_bytes);
            let upto = cut.min(ends.len() - 1);
            for frames in ends[..=upto].chunks(step).map(|frames| (frames[0], frames)) {
                let next = ends.iter().position(|end| end == frames.1.last().unwrap()).unwrap() + 1;
                let end = ends[next.min(upto)];
                let bytes = bytes.slice(frames.0..end);
                let mut rest = Some(Chunk { bytes, lease: Lease::free() });
                while let Some(chunk) = rest {
                    rest = it.push(chunk).unwrap();
                    if let Some(batch) = take(&mut it) {
                        prop_assert!(batch.end() >= handed.end);
                        seen.extend(lines(&batch));
                    }
                    handed = it.handed_out();
                }
            }
        }
        let strip = |lines: Vec<String>| -> Vec<String> {
            lines.into_iter().map(|line| line.replace("last=true", "").replace("last=false", ""))
                .collect()
        };
        prop_assert_eq!(strip(seen), strip(expected));
    }
}
