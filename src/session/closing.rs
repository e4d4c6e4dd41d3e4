//! When a batch is closed, and what stays behind for the next.
//!
//! The last change of an open transaction waits for the next one or for the Commit, so that a batch
//! always knows which change is the last of its transaction. What a batch is made of beside its
//! frames can be many times as large as they are: a NULL takes one byte on the wire. So a batch is
//! full when either is enough, and a chunk may be cut where it is.

use std::sync::Arc;

use super::assembler::Assembler;
use super::open::Open;
use crate::event::{Arena, Batch, Head, HeadKind, Lease, to_u32};

impl Assembler {
    /// Another change is on its way: the next [`take`](Self::take) keeps none back, so that a large
    /// one need not share the memory with it.
    pub fn change_follows(&mut self) {
        if let Some(open) = &mut self.open {
            open.last = None;
        }
    }

    /// Whether there is an event that [`take`](Self::take) would hand out.
    pub fn has_events(&self) -> bool {
        self.held_from() > 0
    }

    /// Whether it is time to [`take`](Self::take), so as not to exceed the bound on what is made
    /// beside the frames.
    pub fn is_full(&self) -> bool {
        self.arena.used_bytes() >= self.arena_bytes_max && self.has_events()
    }

    /// Whether nothing has come since the last batch, and nothing waits.
    pub fn is_empty(&self) -> bool {
        self.arena.heads.is_empty()
    }

    /// Where the events begin that wait for what follows.
    fn held_from(&self) -> usize {
        let Some(open) = &self.open else { return self.arena.heads.len() };
        let heads = &self.arena.heads[..self.arena.heads.len() - usize::from(open.last.is_some())];
        let comes_before =
            |head: &&Head| matches!(head.kind, HeadKind::Begin | HeadKind::SchemaChange { .. });
        heads.len() - heads.iter().rev().take_while(comes_before).count()
    }

    /// Close the batch: everything pushed so far, but for the last change of an open transaction
    /// (and its Begin, or the change of shape that it needs, when nothing lies between).
    ///
    /// That change waits for the next one or for the Commit, so that a batch always knows which
    /// change is the last of its transaction. `lend` accounts for the memory the batch takes beside
    /// its chunks. `None` when there is nothing to hand out.
    pub fn take(&mut self, lend: impl FnOnce(usize) -> Lease) -> Option<Batch> {
        let held = self.held_from();
        if held == 0 {
            self.arena.end = self.arena.end.max(self.idle_end);
        }
        self.pushed_bytes = 0;
        let mut next = Arena::new(Arc::clone(&self.arena.lineage), self.arena.end);
        next.heads.reserve(self.arena.heads.len());
        next.fields.reserve(self.arena.fields.len());
        if let Some(open) = self.open.as_mut() {
            next.transactions.push(open.head.clone());
            self.arena.move_tail_to(held, &mut next);
            open.transaction = 0;
            open.last = open.last.map(|_| to_u32(next.heads.len() - 1));
        }
        let mut full = std::mem::replace(&mut self.arena, next);
        full.trim();
        if full.heads.is_empty() {
            if full.end == self.handed.end {
                return None;
            }
            self.handed.end = full.end;
            full.lease = lend(full.bytes());
            return Some(Batch::new(full));
        }
        self.relations.leave_unanswered();
        self.doubts.clear();
        self.handed.end = full.end;
        let handed_of = |open: &Open| open.index - u64::from(open.last.is_some());
        self.handed.partial = self.open.as_ref().map(|open| (open.commit_lsn, handed_of(open)));
        full.lease = lend(full.bytes());
        Some(Batch::new(full))
    }
}
