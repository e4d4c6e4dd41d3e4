//! Which description of a table is the later one.
//!
//! A streamed transaction describes its tables for itself; when it is delivered, its descriptions
//! come after others that were sent while it ran. [`Described`] keeps those, so that the latest can
//! be said again.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

/// Tables described outside of stream blocks while a streamed transaction is held.
#[derive(Debug, Default)]
pub(super) struct Described {
    clock: u64,
    tables: HashMap<[u8; 4], (u64, Bytes)>,
}

impl Described {
    /// A place in the order of descriptions.
    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A Relation message came; `frame` holds it whole.
    pub(super) fn outside(&mut self, payload: &[u8], frame: &[u8]) {
        // One that is too short is for the assembler to refuse.
        if let Some(oid) = payload.get(1..).and_then(|rest| rest.first_chunk::<4>()) {
            let at = self.tick();
            self.tables.insert(*oid, (at, Bytes::copy_from_slice(frame)));
        }
    }

    /// The frames of tables that were described after the places in `tables`.
    pub(super) fn later_than(&self, tables: &HashMap<[u8; 4], u64>) -> Option<Bytes> {
        let mut frames = BytesMut::new();
        for (oid, at) in tables {
            if let Some((_, frame)) = self.tables.get(oid).filter(|(later, _)| later > at) {
                frames.extend_from_slice(frame);
            }
        }
        (!frames.is_empty()).then(|| frames.freeze())
    }

    pub(super) fn clear(&mut self) {
        self.tables.clear();
    }
}
