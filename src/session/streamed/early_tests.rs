//! What is told of streamed transactions before they commit, and that it comes to the same.

use super::tests::{ALL, Told, XID, frame_ends, insert, plain, streamed, table, told};
use super::*;
use crate::event::{Batch, Broken, EarlyKind, Event, Given, Oid, Value};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::{ServerIdentity, SystemId, Timeline};
use crate::session::{Assembler, AssemblerOptions, EarlyAssembler, HandedOut};
use crate::testing::Frames;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One connection of a stream, as floor 4 drives it.
struct Connection {
    streamed: Streamed,
    assembler: Assembler,
    early: EarlyAssembler,
}

/// Who takes what has not committed, and what it makes of it.
#[derive(Default)]
struct Consumer {
    given: Given,
    seen: Vec<String>,
    /// By transaction: what came, and of which subtransaction.
    open: BTreeMap<u32, Vec<(u32, String)>>,
    /// The committed transaction that is under way.
    begun: Option<Vec<String>>,
    committed: Vec<(Lsn, Vec<String>)>,
}

fn options() -> AssemblerOptions {
    AssemblerOptions::everything()
}

impl Connection {
    fn after(handed: HandedOut, options: AssemblerOptions) -> Self {
        let identity = ServerIdentity { system_id: SystemId::new(1), timeline: Timeline::new(1) };
        let lineage = Arc::new(Lineage::single(identity));
        let mut streamed = Streamed::new(ALL);
        streamed.show_early();
        let early = EarlyAssembler::new(Arc::clone(&lineage), options.clone());
        Self { streamed, assembler: Assembler::new(lineage, handed, options), early }
    }

    fn first() -> Self {
        Self::after(HandedOut { end: Lsn::new(0), partial: None }, options())
    }

    fn push(&mut self, chunk: Chunk, consumer: &mut Consumer) {
        self.streamed.push(chunk);
        while let Some(step) = self.streamed.poll(|_| Lease::free()).unwrap() {
            match step {
                Step::Assemble(chunk) => assert!(self.assembler.push(chunk).unwrap().is_none()),
                Step::Early(step) => {
                    let has_had = |commit_lsn| self.assembler.has_had(commit_lsn);
                    self.early.take_in(step, has_had).unwrap();
                    continue;
                }
                step => panic!("{step:?}"),
            }
            self.hand_out(consumer);
        }
        self.hand_out(consumer);
    }

    /// What has not committed goes first.
    fn hand_out(&mut self, consumer: &mut Consumer) {
        let end = self.assembler.handed_out().end;
        if let Some(batch) = self.early.take(end, |_| Lease::free()) {
            assert!(batch.is_early() && batch.end() == end);
            let shown = consumer.given.admit(&batch);
            consumer.take(&shown);
        }
        if let Some(batch) = self.assembler.take(|_| Lease::free()) {
            let shown = consumer.given.show(batch);
            consumer.take(&shown);
        }
    }

    /// It breaks; how far the next one is to leave out what it is sent again.
    fn breaks(self, consumer: &mut Consumer) -> HandedOut {
        let mut handed = self.assembler.handed_out();
        let Broken { void, hid_part } = consumer.given.broke();
        if hid_part {
            handed.partial = None;
        }
        void.into_iter().for_each(|xid| _ = consumer.open.remove(&xid));
        handed
    }
}

fn of_row(id: Option<Value<'_>>) -> String {
    format!("row {id:?}")
}

impl Consumer {
    fn take(&mut self, batch: &Batch) {
        assert_eq!(batch.events().count(), batch.len());
        batch.events().for_each(|event| self.event(event));
    }

    fn event(&mut self, event: Event<'_>) {
        let committed = match event {
            Event::Begin(_) => return assert!(self.begun.replace(Vec::new()).is_none()),
            Event::Commit(of) => {
                let early = self.open.remove(&of.xid());
                assert_eq!(of.was_early(), early.is_some());
                let rows = match early {
                    Some(rows) => rows.into_iter().map(|(_, row)| row).collect(),
                    None => self.begun.take().unwrap(),
                };
                self.seen.push(format!("commit {} {}", of.xid(), of.commit_lsn()));
                return self.committed.push((of.commit_lsn(), rows));
            }
            Event::Abort(abort) => {
                self.seen.push(format!("abort {} {}", abort.xid(), abort.subxid()));
                let open = self.open.get_mut(&abort.xid()).unwrap();
                open.retain(|(subxid, _)| *subxid != abort.subxid());
                if abort.is_whole() {
                    self.open.remove(&abort.xid());
                }
                return;
            }
            Event::Early(change) => {
                let row = match change.kind() {
                    EarlyKind::Row(row) => of_row(row.new_row().unwrap().value_of("id")),
                    EarlyKind::Truncate(_) => "truncate".to_owned(),
                    EarlyKind::Message(message) => format!("message {}", message.prefix()),
                };
                let (xid, subxid) = (change.xid(), change.subxid());
                self.seen.push(format!("{xid} {subxid} {}", change.ordinal()));
                return self.open.entry(xid).or_default().push((subxid, row));
            }
            Event::Change(change) => of_row(change.new_row().unwrap().value_of("id")),
            Event::Truncate(_) => "truncate".to_owned(),
            Event::Message(message) => format!("message {}", message.prefix()),
            Event::SchemaChange(_) => panic!("no shape changes here"),
        };
        self.begun.as_mut().unwrap().push(committed);
    }
}

fn rows(frames: &mut Frames, count: usize) {
    (0..count).for_each(|_| insert(frames, 9, 10, &["row"]));
}

#[test]
fn changes_come_with_their_ids_and_ordinals_and_the_commit_alone_after_them() {
    let (mut frames, mut consumer) = (Frames::new(), Consumer::default());
    frames.stream_start(XID, true).relation(&table(9, 1));
    rows(&mut frames, 1);
    rows(frames.within(XID + 1), 2);
    frames.stream_stop().stream_start(900, true).relation(&table(9, 1));
    rows(&mut frames, 1);
    frames.stream_stop();
    let mut it = Connection::first();
    it.push(frames.chunk(), &mut consumer);
    assert_eq!(consumer.seen, ["731 731 1", "731 732 2", "731 732 3", "900 900 1"]);
    frames.stream_abort(XID, XID + 1).stream_start(XID, false);
    rows(frames.within(XID + 2), 1);
    frames.stream_stop().stream_abort(900, 900).stream_commit(XID, 100);
    it.push(frames.chunk(), &mut consumer);
    let later = ["abort 731 732", "731 733 4", "abort 900 900", "commit 731 0/64"];
    assert_eq!(consumer.seen[4..], later);
    assert_eq!(consumer.committed[0].1.len(), 2);
    assert_eq!(it.assembler.handed_out().end, Lsn::new(108));
}

#[test]
fn a_transaction_of_which_nothing_is_left_is_void() {
    let (mut frames, mut consumer) = (Frames::new(), Consumer::default());
    frames.stream_start(XID, true).relation(&table(9, 1)).within(XID + 1);
    rows(&mut frames, 1);
    frames.stream_stop().stream_abort(XID, XID + 1).stream_commit(XID, 100);
    Connection::first().push(frames.chunk(), &mut consumer);
    assert_eq!(consumer.seen, ["731 732 1", "abort 731 732", "abort 731 731"]);
}

#[test]
fn one_whose_commit_was_handed_out_before_is_void_when_it_comes_again() {
    let (mut frames, mut consumer) = (Frames::new(), Consumer::default());
    frames.stream_start(XID, true).relation(&table(9, 1));
    rows(&mut frames, 1);
    frames.stream_stop().stream_commit(XID, 100);
    let chunk = frames.chunk();
    let mut it = Connection::first();
    it.push(chunk.clone(), &mut consumer);
    let handed = it.breaks(&mut consumer);
    Connection::after(handed, options()).push(chunk, &mut consumer);
    let seen = ["731 731 1", "commit 731 0/64", "731 731 1", "abort 731 731"];
    assert_eq!(consumer.seen, seen);
}

#[test]
fn what_was_not_asked_for_is_counted_and_not_told() {
    let (mut frames, mut consumer) = (Frames::new(), Consumer::default());
    frames.stream_start(XID, true).origin("elsewhere").relation(&table(9, 1));
    rows(&mut frames, 1);
    frames.stream_stop().stream_commit(XID, 100);
    frames.stream_start(900, true).relation(&table(9, 1));
    frames.message(10, "p", b"m").message(10, "q", b"m").truncate(10, &[Oid::new(9)]);
    let wanted = AssemblerOptions { messages: vec!["q".to_owned()], local_only: true };
    let start = HandedOut { end: Lsn::new(0), partial: None };
    let mut it = Connection::after(start, wanted);
    it.push(frames.chunk(), &mut consumer);
    assert_eq!(consumer.seen, ["900 900 2", "900 900 3"]);
}

/// What a consumer has in the end, the rows in order.
fn committed(story: &[Told]) -> Vec<(Lsn, Vec<String>)> {
    let mut consumer = Consumer::default();
    Connection::first().push(plain(story), &mut consumer);
    consumer.committed
}

/// Some of `chunk`, in pieces of `cut` frames.
fn pieces(chunk: &Chunk, frames: usize, cut: usize) -> Vec<Chunk> {
    let ends = frame_ends(&chunk.bytes);
    let last = frames.min(ends.len() - 1);
    let bounds: Vec<usize> = (0..last).step_by(cut).chain([last]).map(|at| ends[at]).collect();
    let piece = |bounds: &[usize]| Chunk {
        bytes: chunk.bytes.slice(bounds[0]..bounds[1]),
        lease: Lease::free(),
    };
    bounds.windows(2).map(piece).collect()
}

proptest! {
    /// Wherever connections break, and whether the next one streams or not.
    #[test]
    fn in_the_end_a_consumer_has_what_one_without_it_has(
        story in prop::collection::vec(told(), 1..5),
        block in 1usize..12,
        cut in 1usize..20,
        breaks in prop::collection::vec((0usize..200, any::<bool>()), 0..4),
    ) {
        let mut consumer = Consumer::default();
        let (streamed, plain) = (streamed(&story, block), plain(&story));
        let mut it = Connection::first();
        for (at, streams) in breaks {
            let sent = if streams { &streamed } else { &plain };
            pieces(sent, at, cut).into_iter().for_each(|piece| it.push(piece, &mut consumer));
            let handed = it.breaks(&mut consumer);
            it = Connection::after(handed, options());
        }
        pieces(&streamed, usize::MAX, cut).into_iter().for_each(|it_| it.push(it_, &mut consumer));
        prop_assert_eq!(consumer.committed, committed(&story));
        prop_assert!(consumer.open.is_empty() && consumer.given.broke().void.is_empty());
    }
}
