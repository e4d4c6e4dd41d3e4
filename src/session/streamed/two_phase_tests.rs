//! Prepared transactions come out at their commit, as protocol 1 would have sent them.

use proptest::prelude::*;

use super::tests::{ALL, Connection, TINY, Told, change, insert, of_any_xid, table, told};
use super::*;
use crate::event::Oid;
use crate::lsn::Lsn;
use crate::testing::Frames;

fn fresh() -> Connection {
    Connection::two_phase_after(ALL, None)
}

/// A transaction of one row, prepared at `prepare`.
fn prepared(frames: &mut Frames, xid: u32, gid: &str, prepare: u64) {
    frames.begin_prepare(xid, gid, prepare);
    insert(frames, 9, 10, &[gid]);
    frames.prepare(xid, gid, prepare);
}

#[test]
fn it_comes_at_its_commit_and_not_at_all_when_it_is_rolled_back() {
    let mut frames = Frames::new();
    frames.begin(10).relation(&table(9, 1)).commit(10);
    prepared(&mut frames, 7, "stays", 100);
    prepared(&mut frames, 8, "gone", 200);
    let mut it = fresh();
    it.push(frames.chunk()).unwrap();
    assert_eq!((it.lines.len(), it.end, it.prepared.len()), (2, Lsn::new(208), 2));
    it.push(frames.rollback_prepared(8, "gone", 300).chunk()).unwrap();
    assert_eq!((it.lines.len(), it.end, it.prepared.len()), (2, Lsn::new(308), 1));
    it.push(frames.commit_prepared(7, "stays", 400).chunk()).unwrap();
    assert_eq!((it.lines.len(), it.end), (5, Lsn::new(408)), "{:?}", it.lines);
    assert_eq!(it.lines[2], "begin 0/190 7");
    assert!(it.lines[3].contains("index: 1"), "{:?}", it.lines);
}

/// A description that was sent before, or among its frames, or that was changed since.
#[test]
fn each_row_is_of_the_shape_it_was_prepared_with_and_so_is_what_follows() {
    let mut frames = Frames::new();
    frames.begin(10).relation(&table(9, 1)).commit(10);
    prepared(&mut frames, 7, "narrow", 100);
    frames.begin_prepare(8, "both", 200);
    insert(&mut frames, 9, 110, &["narrow"]);
    frames.relation(&table(9, 2)).relation(&table(11, 1));
    insert(&mut frames, 9, 120, &["wide", "row"]);
    insert(&mut frames, 11, 130, &["other"]);
    frames.prepare(8, "both", 200).begin(300);
    // The server does not describe again what it described in the prepared one.
    insert(&mut frames, 9, 210, &["wide", "again"]);
    insert(&mut frames, 11, 220, &["other"]);
    frames.commit(300).commit_prepared(7, "narrow", 400).begin(500);
    insert(&mut frames, 9, 410, &["wide", "still"]);
    frames.commit(500);
    let mut it = fresh();
    it.push(frames.chunk()).unwrap();
    // The narrow one comes after the wide ones, so that the shape changes there and back.
    assert_eq!(it.lines.len(), 2 + 4 + (1 + 3) + (1 + 3), "{:?}", it.lines);
    // And on a connection that knows nothing of them.
    let mut next = Connection::two_phase_after(ALL, Some(&it));
    next.push(frames.commit_prepared(8, "both", 600).chunk()).unwrap();
    assert_eq!(next.lines.len(), 5 + 1, "{:?}", next.lines);
}

#[test]
fn a_streamed_one_is_brought_into_form_and_becomes_nobodys_description() {
    for memory_max in [ALL, TINY] {
        let mut frames = Frames::new();
        frames.stream_start(7, true).origin("elsewhere").relation(&table(9, 1));
        (0..500).for_each(|row| insert(&mut frames, 9, 10, &[&row.to_string()]));
        frames.within(8);
        (0..500).for_each(|row| insert(&mut frames, 9, 10, &[&row.to_string()]));
        frames.stream_stop().stream_abort(7, 8).stream_prepare(7, "large", 100);
        frames.keepalive(150).begin(200).relation(&table(9, 2));
        insert(&mut frames, 9, 110, &["wide", "row"]);
        frames.commit(200).commit_prepared(7, "large", 300).begin(400);
        insert(&mut frames, 9, 310, &["wide", "row"]);
        frames.commit(400);
        let mut it = Connection::two_phase_after(memory_max, None);
        it.push(frames.chunk()).unwrap();
        assert_eq!(it.lines.len(), 3 + (1 + 502) + (1 + 3), "{:?}", it.lines);
        assert_eq!((it.streamed.memory_bytes(), it.end), (0, Lsn::new(408)));
    }
}

#[test]
fn a_keepalive_counts_after_the_prepare_alone() {
    let mut frames = Frames::new();
    frames.begin_prepare(7, "g", 100).keepalive(90);
    let mut it = fresh();
    it.push(frames.chunk()).unwrap();
    assert_eq!(it.end, Lsn::new(0));
    it.push(frames.prepare(7, "g", 100).chunk()).unwrap();
    assert_eq!(it.end, Lsn::new(108));
}

#[test]
fn what_was_never_kept_is_lost_unless_everything_was() {
    let commit = |it: &mut Connection| {
        it.push(Frames::new().commit_prepared(7, "g", 100).chunk()).unwrap();
        (it.lost.clone(), it.end)
    };
    // The server says so of a transaction that changed nothing.
    assert_eq!(commit(&mut fresh()), (vec![], Lsn::new(108)));
    let mut it = Connection::new(ALL);
    it.streamed.expect_prepared(Kept::default());
    assert_eq!(commit(&mut it), (vec!["g".to_owned()], Lsn::new(0)));
    // Of another transaction with this id.
    let mut frames = Frames::new();
    let mut it = fresh();
    frames.begin(10).relation(&table(9, 1)).commit(10);
    prepared(&mut frames, 7, "another", 50);
    it.push(frames.chunk()).unwrap();
    assert_eq!(commit(&mut it).0, ["g"]);
    // And of one whose blocks were streamed and which was never prepared here.
    let mut it = fresh();
    frames.stream_start(7, true).relation(&table(9, 1)).stream_stop();
    it.push(frames.chunk()).unwrap();
    assert_eq!(commit(&mut it).0, ["g"]);
    assert_eq!(it.streamed.held_transactions(), 0);
}

#[test]
fn one_that_is_sent_again_is_kept_once_and_its_blocks_are_let_go_of() {
    let mut frames = Frames::new();
    frames.begin(10).relation(&table(9, 1)).commit(10);
    prepared(&mut frames, 7, "g", 100);
    let mut first = fresh();
    first.push(frames.chunk()).unwrap();
    let mut again = Connection::two_phase_after(ALL, Some(&first));
    frames.begin(10).relation(&table(9, 1)).commit(10);
    prepared(&mut frames, 7, "g", 100);
    frames.stream_start(7, true).relation(&table(9, 1)).stream_stop();
    again.push(frames.commit_prepared(7, "g", 200).chunk()).unwrap();
    assert_eq!(again.lines.len(), 2 + 3, "{:?}", again.lines);
    assert_eq!(again.streamed.held_transactions(), 0);
}

#[test]
fn what_the_protocol_does_not_allow_is_named() {
    let frames = Frames::new;
    let cases = [
        (frames().prepare(7, "g", 9).chunk(), "no Begin Prepare"),
        (frames().stream_prepare(7, "g", 9).chunk(), "of nothing streamed"),
        (frames().begin_prepare(7, "g", 9).prepare(8, "g", 9).chunk(), "another transaction"),
        (frames().begin_prepare(7, "g", 9).prepare(7, "h", 9).chunk(), "another transaction"),
        (frames().begin_prepare(7, "g", 9).begin(9).chunk(), "of a prepared transaction"),
        (frames().begin(5).begin_prepare(7, "g", 9).begin(9).chunk(), "of a prepared transaction"),
        (
            frames()
                .begin_prepare(7, "g", 9)
                .truncate(1, &[Oid::new(9)])
                .prepare(7, "g", 9)
                .commit_prepared(7, "g", 20)
                .chunk(),
            "relation 9",
        ),
    ];
    for (chunk, expected) in cases {
        let error = fresh().push(chunk).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} instead of {expected}");
    }
    let unasked = frames().begin_prepare(7, "g", 9).chunk();
    let error = Connection::new(ALL).push(unasked).unwrap_err().to_string();
    assert!(error.contains("not asked for"), "{error}");
}

/// How a transaction is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Prepared,
    Streamed,
}

/// A server that prepares each transaction before it commits the one before, and describes a table
/// once for each connection, or for each streamed transaction.
#[derive(Default)]
struct Teller {
    frames: Frames,
    lsn: u64,
    is_described: bool,
}

impl Teller {
    fn next(&mut self) -> u64 {
        self.lsn += 10_000;
        self.lsn
    }

    fn describe(&mut self) {
        if !std::mem::replace(&mut self.is_described, true) {
            self.frames.relation(&table(9, 1));
        }
    }

    fn rows(&mut self, told: &Told) {
        for (lsn, (sub, row)) in told.rows.iter().enumerate() {
            if !told.aborted.contains(sub) {
                change(&mut self.frames, *row, lsn as u64);
            }
        }
    }

    fn begin(&mut self, told: &Told, way: Way, xid: u32) {
        let (at, gid) = (self.next(), xid.to_string());
        match way {
            Way::Plain => {}
            Way::Prepared => {
                self.frames.begin_prepare(xid, &gid, at).keepalive(at + 1);
                self.describe();
                self.rows(told);
                self.frames.prepare(xid, &gid, at);
            }
            Way::Streamed => {
                self.frames.stream_start(xid, true).relation(&table(9, 1));
                for (lsn, (sub, row)) in told.rows.iter().enumerate() {
                    // A message of the top-level transaction itself would not be held.
                    let is_message = *row == 1 && *sub == 0;
                    self.frames.within(xid + if is_message { 9 } else { u32::from(*sub) });
                    change(&mut self.frames, *row, lsn as u64);
                }
                self.frames.stream_stop();
                for sub in &told.aborted {
                    self.frames.stream_abort(xid, xid + u32::from(*sub));
                }
                self.frames.stream_prepare(xid, &gid, at);
            }
        }
    }

    fn end(&mut self, told: &Told, way: Way, xid: u32) {
        let (at, gid) = (self.next(), xid.to_string());
        match (way, told.is_aborted) {
            (Way::Plain, true) => {}
            (Way::Plain, false) => {
                let lives = |(sub, _): &(u8, u8)| !told.aborted.contains(sub);
                if told.rows.iter().any(lives) {
                    self.frames.begin(at);
                    self.describe();
                    self.rows(told);
                    self.frames.commit(at);
                }
            }
            (_, true) => _ = self.frames.rollback_prepared(xid, &gid, at),
            (_, false) => _ = self.frames.commit_prepared(xid, &gid, at),
        }
    }
}

proptest! {
    /// However they are sent, and wherever the connection ends between.
    #[test]
    fn prepared_transactions_are_as_if_they_had_not_been(
        story in prop::collection::vec(
            (told(), prop::sample::select(vec![Way::Plain, Way::Prepared, Way::Streamed])),
            1..6,
        ),
        cut in 0usize..12,
        memory_max in prop::sample::select(vec![TINY, ALL]),
    ) {
        let (mut teller, mut plain) = (Teller::default(), Teller::default());
        let mut it = Connection::two_phase_after(memory_max, None);
        let mut lines = Vec::new();
        for step in 0..=2 * story.len() {
            if step == cut {
                let next = Connection::two_phase_after(memory_max, Some(&it));
                lines.append(&mut it.lines);
                it = next;
                teller.is_described = false;
            }
            // 0, then 1 and the end of 0, then 2 and the end of 1 …
            let at = if step % 2 == 0 { step / 2 } else { (step / 2).wrapping_sub(1) };
            let Some((told, way)) = story.get(at) else { continue };
            let xid = 100 * (at as u32 + 1);
            if step % 2 == 0 {
                teller.begin(told, *way, xid);
                plain.next();
            } else {
                teller.end(told, *way, xid);
                plain.end(told, Way::Plain, xid);
            }
            it.push(teller.frames.chunk()).unwrap();
        }
        if let Some((told, way)) = story.last() {
            let xid = 100 * story.len() as u32;
            teller.end(told, *way, xid);
            plain.end(told, Way::Plain, xid);
            it.push(teller.frames.chunk()).unwrap();
        }
        lines.append(&mut it.lines);
        let mut expected = Connection::new(ALL);
        expected.push(plain.frames.chunk()).unwrap();
        prop_assert_eq!(of_any_xid(&lines), of_any_xid(&expected.lines));
        prop_assert!(it.lost.is_empty() && it.unsealed.is_empty());
        prop_assert_eq!(it.streamed.memory_bytes(), 0);
    }
}
