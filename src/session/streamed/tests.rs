//! Streamed transactions come out as protocol 1 would have sent them.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::event::{Batch, Column, Event, Oid, Relation, ReplicaIdentity, Value};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::{ServerIdentity, SystemId, Timeline};
use crate::session::{Assembler, AssemblerOptions, HandedOut};
use crate::testing::Frames;

/// The transaction that [`Frames`] writes in a Begin.
pub(super) const XID: u32 = 731;
pub(super) const ALL: usize = usize::MAX;
/// Less than a block, and more than what is rolled back takes.
pub(super) const TINY: usize = 4096;

/// A table of one or two columns.
pub(super) fn table(oid: u32, columns: usize) -> Relation {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        type_oid: Oid::new(25),
        type_name: None,
        type_modifier: -1,
        in_identity: true,
    };
    Relation {
        oid: Oid::new(oid),
        schema: "public".to_owned(),
        name: format!("t{oid}"),
        replica_identity: ReplicaIdentity::Default,
        columns: ["id", "note"][..columns].iter().map(column).collect(),
        catalog: None,
    }
}

pub(super) fn insert(frames: &mut Frames, oid: u32, lsn: u64, row: &[&str]) {
    let row: Vec<Value<'_>> = row.iter().map(|text| Value::Text(text.as_bytes())).collect();
    frames.insert(lsn, Oid::new(oid), &row);
}

/// A connection as floor 4 drives it: spilled frames are kept in a map.
pub(super) struct Connection {
    pub(super) streamed: Streamed,
    assembler: Assembler,
    kept: HashMap<u32, VecDeque<Vec<u8>>>,
    spills: usize,
    /// Prepared transactions that are being kept, and those that are.
    pub(super) unsealed: HashMap<u32, VecDeque<Vec<u8>>>,
    pub(super) prepared: HashMap<u32, (PreparedTransaction, VecDeque<Vec<u8>>)>,
    restoring: Option<VecDeque<Vec<u8>>>,
    pub(super) lost: Vec<String>,
    pub(super) lines: Vec<String>,
    pub(super) end: Lsn,
}

impl Connection {
    pub(super) fn new(memory_max: usize) -> Self {
        let identity = ServerIdentity { system_id: SystemId::new(1), timeline: Timeline::new(1) };
        let lineage = Arc::new(Lineage::single(identity));
        let handed = HandedOut { end: Lsn::new(0), partial: None };
        Self {
            streamed: Streamed::new(memory_max),
            assembler: Assembler::new(lineage, handed, AssemblerOptions::everything()),
            kept: HashMap::new(),
            spills: 0,
            unsealed: HashMap::new(),
            prepared: HashMap::new(),
            restoring: None,
            lost: Vec::new(),
            lines: Vec::new(),
            end: Lsn::new(0),
        }
    }

    pub(super) fn push(&mut self, chunk: Chunk) -> Result<(), DecodeError> {
        self.streamed.push(chunk);
        while let Some(step) = self.streamed.poll(|_| Lease::free())? {
            match step {
                Step::Assemble(chunk) => {
                    self.assembler.push(chunk)?;
                    if let Some(batch) = self.assembler.take(|_| Lease::free()) {
                        self.end = batch.end();
                        self.lines.extend(lines(&batch));
                    }
                }
                Step::Spill { xid, frames } => {
                    self.spills += 1;
                    let frames = frames.into_iter().map(|chunk| chunk.bytes.to_vec());
                    self.kept.entry(xid).or_default().extend(frames);
                }
                Step::Recall { xid } => {
                    let next = self.kept.get_mut(&xid).and_then(VecDeque::pop_front);
                    self.streamed.recalled(next.map(|bytes| (bytes, Lease::free())))?;
                }
                Step::Forget { xid } => assert!(self.kept.remove(&xid).is_some()),
                // The connection ends.
                Step::GiveUp(unheld) => {
                    self.lost.push(unheld.to_string());
                    return Ok(());
                }
                step => self.two_phase(step)?,
            }
        }
        Ok(())
    }

    fn two_phase(&mut self, step: Step) -> Result<(), DecodeError> {
        match step {
            Step::Keep { xid, frames } => {
                let frames = frames.into_iter().map(|chunk| chunk.bytes.to_vec());
                self.unsealed.entry(xid).or_default().extend(frames);
            }
            Step::Seal(head) => {
                // The end may be confirmed as soon as this is done, and not before.
                assert!(self.end < head.end_lsn, "{} {}", self.end, head.end_lsn);
                let frames = self.unsealed.remove(&head.xid).unwrap_or_default();
                self.prepared.insert(head.xid, (head, frames));
            }
            Step::Restore { xid, .. } => {
                let restoring = self.restoring.get_or_insert_with(|| self.prepared[&xid].1.clone());
                let next = restoring.pop_front().map(|bytes| (bytes, Lease::free()));
                if next.is_none() {
                    self.restoring = None;
                }
                self.streamed.recalled(next)?;
            }
            Step::Discard { xid } => _ = self.prepared.remove(&xid).expect("it was kept"),
            Step::Lost { gid, .. } => self.lost.push(gid),
            step => panic!("{step:?}"),
        }
        Ok(())
    }

    /// A connection that expects prepared transactions, after one that kept some.
    pub(super) fn two_phase_after(memory_max: usize, before: Option<&Connection>) -> Self {
        let mut this = Self::new(memory_max);
        let mut kept = Kept { is_whole: true, ..Kept::default() };
        if let Some(before) = before {
            this.prepared.clone_from(&before.prepared);
            kept.transactions.extend(before.prepared.values().map(|(head, _)| head.clone()));
        }
        this.streamed.expect_prepared(kept);
        this
    }
}

/// One line for each event: what a sink would see, but for what is last in a batch.
fn lines(batch: &Batch) -> Vec<String> {
    let line = |event| match event {
        Event::Begin(of) => format!("begin {} {}", of.commit_lsn(), of.xid()),
        Event::Commit(of) => format!("commit {} {:?}", of.commit_lsn(), of.end_lsn()),
        Event::Change(change) => {
            let row = change.new_row().expect("inserts alone");
            let values = ["id", "note"].map(|name| row.value_of(name));
            format!("{values:?} {} {:?}", change.lsn(), change.position())
        }
        Event::Message(message) => format!("message {:?}", message.position()),
        Event::Truncate(truncate) => format!("truncate {:?}", truncate.position()),
        Event::SchemaChange(change) => format!("schema {:?}", change.before()),
        Event::Early(_) | Event::Abort(_) => panic!("nobody asked for it"),
    };
    batch.events().map(line).collect()
}

#[test]
fn a_rolled_back_subtransaction_is_dropped_alone() {
    let mut frames = Frames::new();
    frames.stream_start(XID, true).relation(&table(9, 1));
    (0..500).for_each(|row| insert(&mut frames, 9, 10, &[&row.to_string()]));
    frames.stream_stop().stream_start(XID, false).within(XID + 1);
    (500..1000).for_each(|row| insert(&mut frames, 9, 20, &[&row.to_string()]));
    frames.stream_stop().stream_abort(XID, XID + 1).stream_start(XID, false);
    (1000..1005).for_each(|row| insert(&mut frames, 9, 30, &[&row.to_string()]));
    frames.stream_stop().stream_commit(XID, 100);
    let chunk = frames.chunk();
    for memory_max in [ALL, TINY] {
        let mut it = Connection::new(memory_max);
        it.push(chunk.clone()).unwrap();
        assert_eq!((it.lines.len(), it.end), (505 + 2, Lsn::new(108)));
        assert!(it.lines[505].contains("index: 505"), "{}", it.lines[505]);
        assert_eq!((it.spills > 0, it.kept.len()), (memory_max == TINY, 0));
    }
}

#[test]
fn a_table_first_described_in_what_is_rolled_back_stays_described() {
    let mut frames = Frames::new();
    frames.stream_start(XID, true).within(XID + 1).relation(&table(9, 1));
    insert(&mut frames, 9, 10, &["gone"]);
    frames.stream_stop().stream_abort(XID, XID + 1).stream_start(XID, false);
    insert(&mut frames, 9, 20, &["here"]);
    frames.stream_stop().stream_commit(XID, 100).begin(200);
    insert(&mut frames, 9, 150, &["later"]);
    frames.commit(200);
    let mut it = Connection::new(TINY);
    it.push(frames.chunk()).unwrap();
    assert_eq!(it.lines.len(), 6, "{:?}", it.lines);
}

#[test]
fn what_a_transaction_described_while_it_ran_does_not_outlive_a_later_description() {
    let mut frames = Frames::new();
    frames.stream_start(XID, true).relation(&table(9, 1));
    insert(&mut frames, 9, 10, &["one"]);
    frames.stream_stop().begin(50).relation(&table(9, 2));
    insert(&mut frames, 9, 40, &["two", "columns"]);
    frames.commit(50).stream_commit(XID, 100).begin(200);
    insert(&mut frames, 9, 150, &["two", "again"]);
    frames.commit(200);
    let mut it = Connection::new(ALL);
    it.push(frames.chunk()).unwrap();
    assert_eq!(it.lines.len(), 11, "{:?}", it.lines);
    let changes = it.lines.iter().filter(|line| line.starts_with("schema"));
    assert_eq!(changes.count(), 2, "there and back: {:?}", it.lines);
}

#[test]
fn a_transaction_of_which_nothing_is_left_moves_the_end_alone() {
    let mut frames = Frames::new();
    frames.stream_start(XID, true).relation(&table(9, 1)).within(XID + 1);
    insert(&mut frames, 9, 10, &["gone"]);
    frames.stream_stop().stream_abort(XID, XID + 1).stream_commit(XID, 100);
    let mut it = Connection::new(TINY);
    it.push(frames.chunk()).unwrap();
    assert_eq!((it.lines.len(), it.end), (0, Lsn::new(108)));
}

#[test]
fn a_keepalive_counts_between_blocks_and_not_in_one() {
    let mut frames = Frames::new();
    frames.stream_start(XID, true).keepalive(30);
    let mut it = Connection::new(ALL);
    it.push(frames.chunk()).unwrap();
    assert_eq!(it.end, Lsn::new(0));
    it.push(frames.stream_stop().keepalive(40).chunk()).unwrap();
    assert_eq!((it.end, it.streamed.held_transactions()), (Lsn::new(40), 1));
}

#[test]
fn an_origin_and_messages_are_of_their_transaction() {
    let mut frames = Frames::new();
    frames.stream_start(XID, true).origin("elsewhere").message(10, "p", b"1");
    frames.stream_stop().free_message(15, "p", b"0");
    frames.stream_start(XID, false).origin("elsewhere").message(20, "p", b"2");
    frames.stream_stop().stream_commit(XID, 100);
    let mut it = Connection::new(ALL);
    it.push(frames.chunk()).unwrap();
    let positions: Vec<_> = it.lines.iter().filter(|line| line.contains("index")).collect();
    assert_eq!((it.lines.len(), positions.len()), (5, 3), "{:?}", it.lines);
    assert!(positions[0].contains("index: 0") && positions[2].contains("index: 2"));
}

#[test]
fn what_the_protocol_does_not_allow_is_named() {
    let frames = Frames::new;
    let cases: [(Chunk, &str); 7] = [
        (frames().stream_stop().chunk(), "Stream Stop outside"),
        (frames().stream_commit(7, 9).chunk(), "of nothing streamed"),
        (frames().stream_start(7, false).chunk(), "not the first"),
        (
            frames().stream_start(7, true).stream_stop().stream_start(7, true).chunk(),
            "streamed already",
        ),
        (frames().stream_start(7, true).begin(9).chunk(), "inside a stream block"),
        (frames().begin(5).stream_start(7, true).stream_stop().begin(6).chunk(), "Begin inside"),
        (
            frames()
                .stream_start(7, true)
                .truncate(1, &[Oid::new(9)])
                .stream_stop()
                .stream_commit(7, 9)
                .chunk(),
            "relation 9",
        ),
    ];
    for (chunk, expected) in cases {
        let error = Connection::new(ALL).push(chunk).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} instead of {expected}");
    }
    let mut it = Connection::new(ALL);
    it.push(frames().stream_abort(7, 7).stream_abort(7, 8).chunk()).unwrap();
    assert_eq!(it.streamed.stray_aborts(), 2);
}

#[test]
fn the_largest_is_kept_elsewhere_first_and_what_cannot_be_is_too_much() {
    let mut frames = Frames::new();
    for (xid, rows) in [(1, 10), (2, 3000)] {
        frames.stream_start(xid, true).relation(&table(9, 1));
        (0..rows).for_each(|_| insert(&mut frames, 9, 10, &["row"]));
        frames.stream_stop();
    }
    let mut it = Connection::new(100_000);
    it.push(frames.chunk()).unwrap();
    assert_eq!(it.kept.keys().collect::<Vec<_>>(), [&2]);
    for subxid in 0..20_000 {
        frames.stream_abort(1, 10 + subxid);
    }
    it.streamed.push(frames.chunk());
    let mut steps = std::iter::from_fn(|| it.streamed.poll(|_| Lease::free()).unwrap());
    assert!(steps.any(|step| matches!(step, Step::GiveUp(Unheld::Memory))));
}

#[test]
fn while_memory_is_short_next_to_nothing_is_held_in_it() {
    let mut frames = Frames::new();
    frames.stream_start(XID, true).relation(&table(9, 1));
    (0..3000).for_each(|_| insert(&mut frames, 9, 10, &["row"]));
    frames.stream_stop();
    let mut it = Connection::new(ALL);
    it.push(frames.chunk()).unwrap();
    assert_eq!((it.spills, it.streamed.memory_bytes() > 100_000), (0, true));
    it.streamed.memory_is_short(true);
    it.push(frames.stream_start(XID, false).stream_stop().chunk()).unwrap();
    assert_eq!((it.spills, it.streamed.memory_bytes()), (1, 0));
    frames.stream_start(XID, false);
    insert(&mut frames, 9, 20, &["one more"]);
    it.push(frames.stream_stop().chunk()).unwrap();
    assert_eq!(it.spills, 1, "a block is not worth the while");
    it.push(frames.stream_commit(XID, 100).chunk()).unwrap();
    assert_eq!(it.lines.len(), 1 + 3001 + 1);
}

/// A message names the top-level transaction, whichever subtransaction it is of.
#[test]
fn a_message_that_may_be_rolled_back_is_not_guessed_at() {
    let aborted = |before: &dyn Fn(&mut Frames)| {
        let mut frames = Frames::new();
        before(frames.stream_start(XID, true));
        frames.stream_stop().stream_abort(XID, XID + 1).stream_start(XID, false);
        frames.message(20, "p", b"after").stream_stop().stream_commit(XID, 100);
        let mut streamed = Streamed::new(ALL);
        streamed.push(frames.chunk());
        std::iter::from_fn(|| streamed.poll(|_| Lease::free()).unwrap())
            .take(5)
            .any(|step| matches!(step, Step::GiveUp(Unheld::Message)))
    };
    assert!(aborted(&|frames| {
        frames.message(10, "p", b"before");
    }));
    assert!(!aborted(&|_| {}));
    let of_another = |frames: &mut Frames| {
        frames.within(XID + 2).message(10, "p", b"m");
    };
    assert!(!aborted(&of_another), "a server that tells them apart is believed");
}

/// A transaction as a test tells it: (subtransaction, row) in order, and what was rolled back.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) rows: Vec<(u8, u8)>,
    pub(super) aborted: Vec<u8>,
    pub(super) is_aborted: bool,
}

pub(super) fn told() -> impl Strategy<Value = Told> {
    let rows = prop::collection::vec((0u8..4, 0u8..3), 1..30);
    let aborted = prop::sample::subsequence(vec![1u8, 2, 3], 0..3);
    (rows, aborted, prop::bool::weighted(0.2)).prop_map(|(rows, aborted, is_aborted)| Told {
        rows,
        aborted,
        is_aborted,
    })
}

pub(super) fn change(frames: &mut Frames, row: u8, lsn: u64) {
    match row {
        0 => insert(frames, 9, lsn, &[&lsn.to_string()]),
        1 => _ = frames.message(lsn, "p", b"m"),
        _ => _ = frames.truncate(lsn, &[Oid::new(9), Oid::new(9)]),
    }
}

/// The same transactions as protocol 1 sends them, each at its commit.
pub(super) fn plain(story: &[Told]) -> Chunk {
    let mut frames = Frames::new();
    for (at, told) in story.iter().enumerate().filter(|(_, told)| !told.is_aborted) {
        let commit = 10_000 * (at as u64 + 1);
        let lives = |(_, (sub, _)): &(usize, &(u8, u8))| !told.aborted.contains(sub);
        let rows: Vec<_> = told.rows.iter().enumerate().filter(lives).collect();
        if rows.is_empty() {
            continue;
        }
        frames.begin_of(100 * (at as u32 + 1), commit).relation(&table(9, 1));
        rows.iter().for_each(|(lsn, (_, row))| change(&mut frames, *row, *lsn as u64));
        frames.commit(commit);
    }
    frames.chunk()
}

/// And in interleaved blocks of `block` changes.
pub(super) fn streamed(story: &[Told], block: usize) -> Chunk {
    let mut frames = Frames::new();
    let longest = story.iter().map(|told| told.rows.len()).max().unwrap_or(0);
    let xid = |at: usize| 100 * (at as u32 + 1);
    for from in (0..longest).step_by(block) {
        for (at, told) in story.iter().enumerate().filter(|(_, told)| from < told.rows.len()) {
            frames.stream_start(xid(at), from == 0);
            if from == 0 {
                frames.within(xid(at) + 1).relation(&table(9, 1));
            }
            for (lsn, (sub, row)) in told.rows.iter().enumerate().skip(from).take(block) {
                // A message of the top-level transaction itself would not be held.
                let is_message = *row == 1 && *sub == 0;
                frames.within(xid(at) + if is_message { 9 } else { u32::from(*sub) });
                change(&mut frames, *row, lsn as u64);
            }
            frames.stream_stop().keepalive(1);
        }
    }
    for (at, told) in story.iter().enumerate() {
        told.aborted.iter().for_each(|sub| {
            frames.stream_abort(xid(at), xid(at) + u32::from(*sub));
        });
        match told.is_aborted {
            true => frames.stream_abort(xid(at), xid(at)),
            false => frames.stream_commit(xid(at), 10_000 * (at as u64 + 1)),
        };
    }
    frames.chunk()
}

/// Lines without the transaction ids.
pub(super) fn of_any_xid(lines: &[String]) -> Vec<String> {
    let strip = |line: &String| match line.strip_prefix("begin ") {
        Some(rest) => rest.split(' ').next().unwrap_or_default().to_owned(),
        None => line.clone(),
    };
    lines.iter().map(strip).collect()
}

pub(super) fn frame_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    while let Some(at) = ends.last().filter(|at| **at < bytes.len()) {
        ends.push(at + frame_bytes(&bytes[*at..]).unwrap().unwrap());
    }
    ends
}

proptest! {
    /// However they are streamed, cut into chunks and kept elsewhere.
    #[test]
    fn streamed_transactions_are_as_if_they_had_not_been(
        story in prop::collection::vec(told(), 1..5),
        block in 1usize..12,
        cut in 1usize..20,
        memory_max in prop::sample::select(vec![TINY, 100_000, ALL]),
    ) {
        let mut expected = Connection::new(ALL);
        expected.push(plain(&story)).unwrap();
        let bytes = streamed(&story, block).bytes;
        let mut it = Connection::new(memory_max);
        for ends in frame_ends(&bytes).windows(cut + 1).step_by(cut) {
            let bytes = bytes.slice(ends[0]..ends[cut]);
            it.push(Chunk { bytes, lease: Lease::free() }).unwrap();
        }
        let ends = frame_ends(&bytes);
        let taken = (ends.len() - 1) / cut * cut;
        it.push(Chunk { bytes: bytes.slice(ends[taken]..), lease: Lease::free() }).unwrap();
        prop_assert_eq!(&it.lines, &expected.lines);
        prop_assert!(it.kept.is_empty());
        prop_assert_eq!(it.streamed.memory_bytes(), 0);
    }

    /// Hostile bytes inside a block end in an error or in nothing, never in a panic.
    #[test]
    fn no_flipped_byte_makes_it_panic(at in 0usize..600, byte in any::<u8>()) {
        let rows = vec![(0, 0), (1, 2), (2, 1)];
        let story = [Told { rows, aborted: vec![1], is_aborted: false }];
        let mut bytes = streamed(&story, 2).bytes.to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Connection::new(TINY).push(Chunk { bytes: bytes.into(), lease: Lease::free() });
    }
}
