//! Which description of a table is the later one.
//!
//! A streamed or prepared transaction brings its descriptions with it; when it is delivered, they
//! come after others that were sent meanwhile. [`Described`] keeps those, so that the latest can be
//! said again. Where prepared transactions are kept, it keeps what holds for the connection for as
//! long as that lasts: a prepared transaction does not repeat what was described before it.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::each_frame;
use crate::wire::DecodeError;
use crate::wire::pgoutput::Message;

/// What was described outside of stream blocks. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Described {
    clock: u64,
    tables: HashMap<[u8; 4], (u64, Bytes)>,
    /// Types that are not built in; known where descriptions last.
    types: HashMap<[u8; 4], Bytes>,
    /// Whether descriptions are kept although no transaction is held.
    pub(super) lasts: bool,
}

impl Described {
    /// A place in the order of descriptions.
    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A Relation or Type message came; `frame` holds it whole.
    pub(super) fn outside(&mut self, payload: &[u8], frame: &[u8]) {
        // One that is too short is for the assembler to refuse.
        let Some(oid) = described_oid(payload) else { return };
        let frame = || Bytes::copy_from_slice(frame);
        match payload.first() {
            Some(b'R') => {
                let at = self.tick();
                self.tables.insert(oid, (at, frame()));
            }
            Some(_) if self.lasts => _ = self.types.insert(oid, frame()),
            _ => {}
        }
    }

    /// `frames` of a streamed transaction were delivered, which described its tables at these
    /// places: they hold for the connection now.
    pub(super) fn delivered(
        &mut self,
        frames: &[u8],
        places: &HashMap<[u8; 4], u64>,
    ) -> Result<(), DecodeError> {
        each_frame(frames, |payload, frame| {
            match (payload.first(), described_oid(payload)) {
                (Some(b'R'), Some(oid)) => {
                    let at = places.get(&oid).copied().unwrap_or_default();
                    if self.tables.get(&oid).is_none_or(|(later, _)| *later <= at) {
                        self.tables.insert(oid, (at, Bytes::copy_from_slice(frame)));
                    }
                }
                (Some(b'Y'), Some(oid)) => {
                    self.types.entry(oid).or_insert_with(|| Bytes::copy_from_slice(frame));
                }
                _ => {}
            }
            Ok(())
        })
    }

    /// The frames that describe a table as it is now, and the types of its columns; empty when
    /// nothing did.
    pub(super) fn of_table(&self, oid: [u8; 4]) -> Result<Vec<u8>, DecodeError> {
        let mut frames = Vec::new();
        if let Some((_, table)) = self.tables.get(&oid) {
            each_frame(table, |payload, _| {
                if let Message::Relation(relation) = Message::parse(payload, 0, &mut Vec::new())? {
                    for column in relation.columns() {
                        let oid = column.type_oid.as_u32().to_be_bytes();
                        frames.extend_from_slice(self.types.get(&oid).map_or(&[], |it| it));
                    }
                }
                Ok(())
            })?;
            frames.extend_from_slice(table);
        }
        Ok(frames)
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

    /// No transaction is held.
    pub(super) fn nothing_is_held(&mut self) {
        if !self.lasts {
            self.tables.clear();
        }
    }
}

/// What a Relation or Type message of protocol 1 describes.
pub(super) fn described_oid(payload: &[u8]) -> Option<[u8; 4]> {
    payload.get(1..).and_then(|rest| rest.first_chunk::<4>()).copied()
}
