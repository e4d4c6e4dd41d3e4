//! Batches without a server: a table, transactions on it, cut where the test wants.
//!
//! A [`Feed`] owns an [`Assembler`] and a [`Frames`] and plays one table, `public.t (id int4
//! primary key, note text)`. For anything else write to [`frames`](Feed::frames) directly.

use std::sync::Arc;

use super::frames::Frames;
use crate::event::{Batch, Column, Lease, Oid, Relation, ReplicaIdentity, Value};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::{ServerIdentity, SystemId, Timeline};
use crate::session::{Assembler, AssemblerOptions, EarlyAssembler, EarlyStep, HandedOut};

/// A small source of batches.
#[derive(Debug)]
pub struct Feed {
    /// What the next [`batch`](Self::batch) is made of.
    pub frames: Frames,
    assembler: Assembler,
    early: EarlyAssembler,
    lineage: Arc<Lineage>,
    relation: Relation,
    described: Described,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Described {
    No,
    Yes,
}

impl Feed {
    /// A feed of cluster 7, timeline 1, for a consumer that stands at `end`.
    pub fn after(end: Lsn) -> Self {
        let identity = ServerIdentity { system_id: SystemId::new(7), timeline: Timeline::new(1) };
        let lineage = Arc::new(Lineage::single(identity));
        Self {
            frames: Frames::new(),
            assembler: Assembler::new(
                Arc::clone(&lineage),
                HandedOut { end, partial: None },
                AssemblerOptions::everything(),
            ),
            early: EarlyAssembler::new(Arc::clone(&lineage), AssemblerOptions::everything()),
            lineage,
            relation: table(),
            described: Described::No,
        }
    }

    /// The lineage of its positions.
    pub fn lineage(&self) -> &Arc<Lineage> {
        &self.lineage
    }

    /// Append the start of a transaction, one insert for each note, with ids counted from 1. It is
    /// open until [`commit`](Self::commit).
    pub fn open(&mut self, commit: u64, notes: &[&str]) -> &mut Self {
        self.frames.begin(commit);
        self.rows(commit, 1, notes)
    }

    /// Append inserts to the open transaction, with ids counted from `first`.
    pub fn rows(&mut self, lsn: u64, first: usize, notes: &[&str]) -> &mut Self {
        if self.described == Described::No {
            self.frames.relation(&self.relation);
            self.described = Described::Yes;
        }
        for (at, note) in notes.iter().enumerate() {
            let id = (first + at).to_string();
            let row = [Value::Text(id.as_bytes()), Value::Text(note.as_bytes())];
            self.frames.insert(lsn, self.relation.oid, &row);
        }
        self
    }

    /// Append the Commit; the transaction's end LSN is `commit` + 8.
    pub fn commit(&mut self, commit: u64) -> &mut Self {
        self.frames.commit(commit);
        self
    }

    /// Append a whole transaction.
    pub fn transaction(&mut self, commit: u64, notes: &[&str]) -> &mut Self {
        self.open(commit, notes).commit(commit)
    }

    /// Append idle progress.
    pub fn idle(&mut self, end: u64) -> &mut Self {
        self.frames.keepalive(end);
        self
    }

    /// A batch of what has not committed: an insert by `subxid` of the streamed transaction `xid`
    /// for each note, with ids counted from 1.
    ///
    /// # Panics
    /// When there is no note.
    pub fn early(&mut self, xid: u32, subxid: u32, notes: &[&str]) -> Batch {
        let mut frames = Frames::new();
        frames.within(subxid).relation(&self.relation);
        for (at, note) in notes.iter().enumerate() {
            let id = (1 + at).to_string();
            let row = [Value::Text(id.as_bytes()), Value::Text(note.as_bytes())];
            frames.insert(1, self.relation.oid, &row);
        }
        self.show(EarlyStep::Show { xid, frames: frames.chunk() })
    }

    /// A batch that makes void what was given of `subxid`, or of all of the transaction.
    ///
    /// # Panics
    /// When nothing was given of it.
    pub fn abort(&mut self, xid: u32, subxid: u32) -> Batch {
        self.show(EarlyStep::Aborted { xid, subxid })
    }

    fn show(&mut self, step: EarlyStep) -> Batch {
        self.early.take_in(step, |_| false).expect("the script keeps to the protocol");
        let end = self.assembler.handed_out().end;
        self.early.take(end, |_| Lease::free()).expect("the script hands something out")
    }

    /// What was appended, as a batch.
    ///
    /// # Panics
    /// When the frames make none, or are not what the protocol allows.
    pub fn batch(&mut self) -> Batch {
        self.assembler.push(self.frames.chunk()).expect("the script keeps to the protocol");
        self.assembler.take(|_| Lease::free()).expect("the script hands something out")
    }
}

/// `public.t (id int4 primary key, note text)`.
fn table() -> Relation {
    let column = |name: &str, type_oid, in_identity| Column {
        name: name.to_owned(),
        type_oid: Oid::new(type_oid),
        type_name: None,
        type_modifier: -1,
        in_identity,
    };
    Relation {
        oid: Oid::new(9),
        schema: "public".to_owned(),
        name: "t".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: vec![column("id", 23, true), column("note", 25, false)],
        catalog: None,
    }
}
