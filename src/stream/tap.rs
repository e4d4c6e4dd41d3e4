//! What a stream assembles, kept as it came, for whoever records it.
//!
//! A [`Tap`] gathers the frames of one connection as they go into its assembler: in the form of
//! protocol 1, streamed transactions after their commit. They are let go of with the batch that
//! they make, so that whoever has written them has written everything up to the batch's end; what
//! was dropped before it was handed out, because the connection broke or its values have to be
//! asked for in text, is dropped here too.

use bytes::Bytes;

use super::ReplicationStream;
use super::connection::Connection;
use super::source::Source;
use crate::event::{CatalogEntry, Chunk, Lease, Oid};
use crate::journal::{Opening, ValueFormat};
use crate::net::{Format, Streaming};

/// Frames of at most this size are copied: they would hold a whole read buffer.
const COPIED_BYTES_MAX: usize = 4096;

impl ReplicationStream {
    /// The frames of what was handed out since the last call, if the source is
    /// [tapped](Source::tapped): to be written before any of it is confirmed.
    pub(crate) fn take_tapped(&mut self) -> Vec<Tapped> {
        std::mem::take(&mut self.tapped)
    }
}

/// The next thing to write.
#[derive(Debug)]
pub(crate) enum Tapped {
    /// A connection begins.
    Opened(Box<Opening>),
    /// Its frames.
    Frames(Chunk),
    /// What the catalogue said of a table that they have described.
    Answer(Oid, Box<CatalogEntry>),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Tap {
    /// Said before the first frames.
    opening: Option<Box<Opening>>,
    waiting: Vec<Tapped>,
    bytes: usize,
}

impl Tap {
    pub(super) fn new(connection: &Connection, source: &Source, streaming: Streaming) -> Self {
        let streaming = match streaming {
            Streaming::Auto | Streaming::Off => "off",
            Streaming::On => "on",
            Streaming::Parallel => "parallel",
        };
        let names = source.publications.iter();
        let opening = Opening {
            lineage: connection.lineage.as_ref().clone(),
            database: source.connect.database().to_owned(),
            slot: source.slot.as_str().to_owned(),
            publications: names.map(|name| name.as_str().to_owned()).collect(),
            format: match connection.format {
                Format::Binary => ValueFormat::Binary,
                Format::Text => ValueFormat::Text,
            },
            streaming: streaming.to_owned(),
            local_only: source.local_only,
            messages: source.messages.clone(),
            start: connection.start,
            continued: None,
        };
        Self { opening: Some(Box::new(opening)), waiting: Vec::new(), bytes: 0 }
    }

    /// These go into the assembler.
    pub(super) fn push(&mut self, chunk: &Chunk) {
        self.bytes += chunk.bytes.len();
        self.waiting.push(Tapped::Frames(match chunk.bytes.len() {
            0..=COPIED_BYTES_MAX => {
                Chunk { bytes: Bytes::copy_from_slice(&chunk.bytes), lease: Lease::free() }
            }
            _ => chunk.clone(),
        }));
    }

    /// This is what the catalogue says of tables that the frames so far have described.
    pub(super) fn answered(&mut self, answers: impl Iterator<Item = (Oid, CatalogEntry)>) {
        self.waiting.extend(answers.map(|(table, entry)| Tapped::Answer(table, Box::new(entry))));
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything that waits.
    pub(super) fn release(&mut self, out: &mut Vec<Tapped>) {
        self.bytes = 0;
        if !self.waiting.is_empty() {
            out.extend(self.opening.take().map(Tapped::Opened));
        }
        out.append(&mut self.waiting);
    }
}
