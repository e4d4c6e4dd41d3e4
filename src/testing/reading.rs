//! What a server sent, read without one: from bytes off the wire to lines of JSON.
//!
//! A [`Reading`] puts the pure floors together as a stream does: session, streamed transactions,
//! assembler, encoder. Bytes may come in any pieces and batches be closed anywhere; the lines are
//! the same. It has no socket, no clock but the one it is told, and keeps in memory what a stream
//! puts on disk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::codec::value::TypeRegistry;
use crate::codec::{EncodeError, Encoder, EventFormat};
use crate::event::{Chunk, Lease};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::{ServerIdentity, SystemId, Timeline};
use crate::session::{
    Assembler, AssemblerOptions, HandedOut, Intervals, Now, Output, Progress, Session,
    SessionError, Step, Streamed, Unheld,
};
use crate::timestamp::Timestamp;
use crate::wire::DecodeError;

const INTERVALS: Intervals =
    Intervals { status: Duration::from_secs(10), silence: Duration::from_secs(3600) };

/// A stream of cluster 7, timeline 1, from the start of its log.
#[derive(Debug)]
pub struct Reading {
    session: Session,
    input: BytesMut,
    streamed: Streamed,
    /// Frames that the streamed transactions wanted out of memory, by transaction.
    elsewhere: HashMap<u32, VecDeque<Bytes>>,
    assembler: Assembler,
    encoder: Encoder,
    lines: Vec<u8>,
    elapsed: Duration,
}

/// Why a reading cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadingError {
    /// The conversation is over.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The server sent what the protocol does not allow.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A streamed transaction cannot be held.
    #[error(transparent)]
    Unheld(#[from] Unheld),
    /// An event cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl Reading {
    /// A stream that has just begun, and that keeps about `memory_max` bytes of streamed
    /// transactions before it puts them elsewhere.
    pub fn new(memory_max: usize) -> Self {
        let identity = ServerIdentity { system_id: SystemId::new(7), timeline: Timeline::new(1) };
        let start = Lsn::new(0);
        let mut reading = Self {
            session: Session::new(),
            input: BytesMut::new(),
            streamed: Streamed::new(memory_max),
            elsewhere: HashMap::new(),
            assembler: Assembler::new(
                Arc::new(Lineage::single(identity)),
                HandedOut { end: start, partial: None },
                AssemblerOptions::everything(),
            ),
            encoder: Encoder::new(EventFormat::Json, Arc::new(TypeRegistry::builtin())),
            lines: Vec::new(),
            elapsed: Duration::ZERO,
        };
        let progress = Progress { flush: start, apply: start };
        reading.session.start_replication("START_REPLICATION", INTERVALS, progress);
        reading.session.transmit().clear();
        reading.input.extend_from_slice(b"W\0\0\0\x07\0\0\0");
        reading
    }

    /// Take in bytes as they came off the wire.
    ///
    /// # Errors
    /// When they are not what the protocol allows. What was complete before is still handed out.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), ReadingError> {
        self.input.extend_from_slice(bytes);
        while let Some(output) = self.session.handle_input(self.now(), &mut self.input)? {
            if let Output::Frames(bytes) = output {
                self.streamed.push(Chunk { bytes, lease: Lease::free() });
                self.assemble()?;
            }
        }
        Ok(())
    }

    /// Close the batch, if there is one, and write its events.
    ///
    /// # Errors
    /// When a value cannot be written; the batch is lost then.
    pub fn hand_out(&mut self) -> Result<(), ReadingError> {
        if let Some(batch) = self.assembler.take(|_| Lease::free()) {
            self.encoder.encode(&batch, &mut self.lines)?;
        }
        Ok(())
    }

    /// Everything handed out so far, one event a line.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Let time pass; the bytes that are due to the server since it was asked last.
    ///
    /// # Errors
    /// When the server has been silent for too long.
    pub fn pass(&mut self, time: Duration) -> Result<Bytes, ReadingError> {
        self.elapsed += time;
        self.session.handle_time(self.now())?;
        Ok(self.session.transmit().split().freeze())
    }

    /// Bytes that are not a whole message yet.
    pub fn unread_bytes(&self) -> usize {
        self.input.len()
    }

    fn assemble(&mut self) -> Result<(), ReadingError> {
        while let Some(step) = self.streamed.poll(|_| Lease::free())? {
            match step {
                Step::Assemble(chunk) => drop(self.assembler.push(chunk)?),
                Step::Spill { xid, frames } => {
                    let kept = self.elsewhere.entry(xid).or_default();
                    kept.extend(frames.into_iter().map(|chunk| chunk.bytes));
                }
                Step::Recall { xid } => {
                    let next = self.elsewhere.get_mut(&xid).and_then(VecDeque::pop_front);
                    self.streamed.recalled(next.map(|bytes| (bytes.into(), Lease::free())))?;
                }
                Step::Forget { xid } => drop(self.elsewhere.remove(&xid)),
                Step::GiveUp(unheld) => return Err(unheld.into()),
                // About prepared transactions, which are not expected here.
                _ => {}
            }
        }
        Ok(())
    }

    fn now(&self) -> Now {
        Now { elapsed: self.elapsed, wall: Timestamp::from_postgres_micros(0) }
    }
}
