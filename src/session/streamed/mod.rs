//! Streamed transactions: held until they commit, then handed on like any other.
//!
//! [`Streamed`] stands before the [`Assembler`](super::Assembler). What is in no stream block goes
//! through as it came. What is in one is copied out of the read buffer and held, whole frames in
//! the order they were sent, by top-level transaction. At Stream Commit the transaction comes out
//! in the form of protocol 1: Begin, its changes without those of rolled back subtransactions,
//! Commit. So changes are counted, left out and handed out in one place, and have the same
//! positions however they travelled. What exceeds the bound on memory is asked to be put elsewhere
//! and asked for again; where that is, is not known here. Nothing outlives the connection, but for
//! transactions that are prepared: those are asked to be made durable, in the same form, and asked
//! for at Commit Prepared ([`two_phase`]).
//!
//! ```text
//!                Stream Start                        Stream Commit
//!   Outside ────────────────► Inside       Outside ────────────────► Delivering
//!      ▲     Stream Stop        │ hold        ▲                         │ recalled, rewritten
//!      └────────────────────────┘             └─────────────────────────┘
//!               Begin Prepare                     Prepare, Stream Prepare
//!   Outside ────────────────► Preparing    ───────────────────────────► Sealing ──► Outside
//!   Outside ── Commit Prepared ──► Delivering
//! ```

mod described;
mod held;
mod rewrite;
mod step;
mod two_phase;

use std::collections::{HashMap, VecDeque};

use crate::event::{Chunk, Lease};
use crate::wire::DecodeError;
use crate::wire::copy_both::{COPY_DATA, FRAME_HEADER_BYTES, ServerMessage, frame_bytes};
use crate::wire::pgoutput::Message;
use crate::wire::streaming::{StreamMessage, streamed_xid};
use described::Described;
use held::{BLOCK_BYTES, Commit, Delivery, Held};
pub use step::{EarlyStep, Step, Unheld};
pub use two_phase::{Kept, PreparedTransaction};
use two_phase::{Sealing, TwoPhase};

/// What stands between the wire and the [`Assembler`](super::Assembler): holds each streamed
/// transaction until its Stream Commit.
#[derive(Debug)]
pub struct Streamed {
    place: Place,
    held: HashMap<u32, Held>,
    delivery: Option<Delivery>,
    /// What was pushed and not taken in, and how far it was.
    input: Option<(Chunk, usize)>,
    /// What goes out before anything else is taken in.
    ready: VecDeque<Step>,
    /// The most bytes held in memory.
    memory_max: usize,
    /// Whether others wait for memory: then next to nothing is held in it.
    is_short: bool,
    described: Described,
    /// Prepared transactions, where they are asked for.
    two_phase: Option<TwoPhase>,
    /// One that is being made durable.
    sealing: Option<Sealing>,
    stray_aborts: u64,
    /// Whether blocks are shown as they come.
    shows_early: bool,
}

/// Where the next frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    /// In a block of this transaction.
    Inside(u32),
    /// Between Begin Prepare and Prepare.
    Preparing,
}

/// What a run of frames in a stream block ends at.
enum Until {
    Input,
    Stop,
}

impl Streamed {
    /// Nothing held yet, and never more in memory than about `memory_max` bytes.
    pub fn new(memory_max: usize) -> Self {
        Self {
            place: Place::Outside,
            held: HashMap::new(),
            delivery: None,
            input: None,
            ready: VecDeque::new(),
            memory_max,
            is_short: false,
            described: Described::default(),
            two_phase: None,
            sealing: None,
            stray_aborts: 0,
            shows_early: false,
        }
    }

    /// Show what is held as it comes too, by [`Step::Early`].
    pub fn show_early(&mut self) {
        self.shows_early = true;
    }

    /// Expect transactions to be sent when they are prepared; these `kept` ones were before.
    pub fn expect_prepared(&mut self, kept: Kept) {
        self.described.lasts = true;
        self.two_phase = Some(TwoPhase::new(kept));
    }

    /// While others wait for memory, all that is held is asked to be put elsewhere, but for a
    /// block.
    pub fn memory_is_short(&mut self, is_short: bool) {
        self.is_short = is_short;
    }

    /// Take in a run of CopyData messages, once [`poll`](Self::poll) has nothing more to do.
    pub fn push(&mut self, chunk: Chunk) {
        debug_assert!(self.input.is_none(), "what was pushed before is taken in first");
        self.input = Some((chunk, 0));
    }

    /// The next thing to do; `None` when more input is needed. `lend` accounts for memory that is
    /// held.
    pub fn poll(
        &mut self,
        mut lend: impl FnMut(usize) -> Lease,
    ) -> Result<Option<Step>, DecodeError> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Ok(Some(step));
            }
            if let Some(sealing) = &mut self.sealing {
                if let Some(xid) = sealing.waits() {
                    return Ok(Some(Step::Recall { xid }));
                }
                sealing.advance(&mut self.ready)?;
                if let Some(sealed) = self.sealing.take_if(|sealing| sealing.is_over()) {
                    self.is_kept(sealed.head());
                }
                continue;
            }
            if let Some(delivery) = &mut self.delivery {
                if let Some(step) = delivery.waits() {
                    return Ok(Some(step));
                }
                delivery.advance(&mut self.ready)?;
                self.learn()?;
                self.end_delivery();
                continue;
            }
            if let Some(step) = self.overflow() {
                return Ok(Some(step));
            }
            let Some((chunk, at)) = self.input.take() else { return Ok(None) };
            if let Some(step) = self.take_in(chunk, at, &mut lend)? {
                return Ok(Some(step));
            }
        }
    }

    /// The answer to [`Step::Recall`] and [`Step::Restore`]: whole frames in order and the memory
    /// they take, or `None` when there are no more.
    pub fn recalled(&mut self, frames: Option<(Vec<u8>, Lease)>) -> Result<(), DecodeError> {
        match (&mut self.sealing, &mut self.delivery) {
            (Some(sealing), _) => sealing.recalled(frames, &mut self.ready),
            (None, Some(delivery)) => {
                delivery.recalled(frames, &mut self.ready)?;
                self.learn()
            }
            (None, None) => Ok(()),
        }
    }

    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> usize {
        let preparing = self.two_phase.as_ref().map_or(0, TwoPhase::memory_bytes);
        self.held.values().map(Held::memory_bytes).sum::<usize>() + preparing
    }

    /// How many streamed transactions are held.
    pub fn held_transactions(&self) -> usize {
        self.held.len()
    }

    /// Stream Abort messages of transactions of which nothing was streamed.
    pub fn stray_aborts(&self) -> u64 {
        self.stray_aborts
    }

    /// Move on in `chunk`: to the end of a run of frames of one kind, or over one message about a
    /// stream.
    fn take_in(
        &mut self,
        chunk: Chunk,
        at: usize,
        lend: &mut impl FnMut(usize) -> Lease,
    ) -> Result<Option<Step>, DecodeError> {
        if self.place != Place::Outside {
            let (end, until) = match self.place {
                Place::Inside(xid) => {
                    let (end, until) = self.hold(xid, &chunk.bytes[at..], lend)?;
                    let frames = || {
                        let (bytes, lease) = (chunk.bytes.slice(at..at + end), chunk.lease.clone());
                        Chunk { bytes, lease }
                    };
                    self.show(|| EarlyStep::Show { xid, frames: frames() });
                    (end, until)
                }
                _ => self.prepare(&chunk.bytes[at..], lend)?,
            };
            match until {
                Until::Input => {}
                Until::Stop => {
                    self.place = Place::Outside;
                    self.input = Some((chunk, at + end));
                }
            }
            return Ok(None);
        }
        let bytes = &chunk.bytes;
        let (mut end, mut control) = (at, None);
        while end < bytes.len() && control.is_none() {
            let (length, message) = frame(&bytes[end..])?;
            match message {
                ServerMessage::XLogData { payload, .. } => match payload.first() {
                    Some(b'S' | b'E' | b'c' | b'A') => control = Some((length, payload)),
                    Some(b'b' | b'P' | b'K' | b'r' | b'p') if self.two_phase.is_some() => {
                        control = Some((length, payload));
                    }
                    Some(b'R' | b'Y') if !self.held.is_empty() || self.described.lasts => {
                        self.described.outside(payload, &bytes[end..end + length]);
                        end += length;
                    }
                    _ => end += length,
                },
                ServerMessage::Keepalive { .. } => end += length,
            }
        }
        if let Some((length, payload)) = control.filter(|_| end == at) {
            self.control(payload)?;
            self.input = (end + length < bytes.len()).then_some((chunk, end + length));
            return Ok(None);
        }
        if at == end {
            return Ok(None);
        }
        let lease = chunk.lease.clone();
        let run = Chunk { bytes: bytes.slice(at..end), lease };
        self.input = control.is_some().then_some((chunk, end));
        Ok(Some(Step::Assemble(run)))
    }

    /// Hold the frames of transaction `xid` at the start of `bytes`; where they end, and why.
    ///
    /// A keepalive among them counts for nothing, and an Origin is said once, at the commit.
    fn hold(
        &mut self,
        xid: u32,
        bytes: &[u8],
        lend: &mut impl FnMut(usize) -> Lease,
    ) -> Result<(usize, Until), DecodeError> {
        let not_held = DecodeError::OutOfPlace { message: "a block", place: "of nothing streamed" };
        let held = self.held.get_mut(&xid).ok_or(not_held)?;
        let (mut from, mut at) = (0, 0);
        while at < bytes.len() {
            let (length, message) = frame(&bytes[at..])?;
            let payload = match message {
                ServerMessage::XLogData { payload, .. } => payload,
                ServerMessage::Keepalive { .. } => &[],
            };
            match payload.first() {
                None | Some(b'E' | b'O') => {
                    held.append(&bytes[from..at], lend);
                    from = at + length;
                }
                Some(tag) => match (tag, streamed_xid(payload)?) {
                    (b'R', _) => held.describes(payload, self.described.tick()),
                    (b'M', Some(of)) if of == xid => held.has_messages(),
                    _ => {}
                },
            }
            match payload.first() {
                Some(b'E') => {
                    Message::parse(payload, 0, &mut Vec::new())?;
                    return Ok((at + length, Until::Stop));
                }
                Some(b'O') => held.origin(&bytes[at..at + length]),
                _ => {}
            }
            at += length;
        }
        held.append(&bytes[from..], lend);
        Ok((at, Until::Input))
    }

    /// A message about a stream, outside of blocks.
    fn control(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        let message = match Message::parse(payload, 0, &mut Vec::new())? {
            Message::Stream(message) => message,
            Message::Prepared(message) => return self.prepared(message),
            _ => return Ok(()),
        };
        let misplaced = |message, place| Err(DecodeError::OutOfPlace { message, place });
        match message {
            StreamMessage::Start { xid, first: true } => {
                if self.held.insert(xid, Held::default()).is_some() {
                    return misplaced("the first Stream Start", "of what is streamed already");
                }
                self.place = Place::Inside(xid);
            }
            StreamMessage::Start { xid, first: false } => {
                if !self.held.contains_key(&xid) {
                    return misplaced("a Stream Start that is not the first", "of its transaction");
                }
                self.place = Place::Inside(xid);
            }
            StreamMessage::Stop => return misplaced("Stream Stop", "outside a block"),
            StreamMessage::Commit { xid, commit_lsn, end_lsn, commit_time } => {
                let Some(held) = self.held.remove(&xid) else {
                    return misplaced("Stream Commit", "of nothing streamed");
                };
                let commit = Commit { xid, commit_lsn, end_lsn, commit_time };
                self.delivery = Some(Delivery::new(held, commit));
            }
            StreamMessage::Abort { xid, subxid, .. } => self.abort(xid, subxid),
        }
        Ok(())
    }

    /// Tell those who take what has not committed.
    fn show(&mut self, step: impl FnOnce() -> EarlyStep) {
        if self.shows_early {
            self.ready.push_back(Step::Early(step()));
        }
    }

    fn abort(&mut self, xid: u32, subxid: u32) {
        self.show(|| EarlyStep::Aborted { xid, subxid });
        if xid == subxid {
            match self.held.remove(&xid) {
                Some(held) if held.is_spilled() => self.ready.push_back(Step::Forget { xid }),
                Some(_) => {}
                None => self.stray_aborts += 1,
            }
            self.forget_descriptions();
        } else {
            match self.held.get_mut(&xid).map(|held| held.abort(subxid)) {
                Some(Ok(())) => {}
                Some(Err(unheld)) => self.ready.push_back(Step::GiveUp(unheld)),
                None => self.stray_aborts += 1,
            }
        }
    }

    /// What to put elsewhere while too much is held.
    fn overflow(&mut self) -> Option<Step> {
        let bytes = self.memory_bytes();
        let is_over = bytes > self.memory_max;
        let makes_room = self.is_short && bytes > BLOCK_BYTES;
        if !is_over && !makes_room {
            return None;
        }
        let largest = self.held.iter_mut().max_by_key(|(_, held)| held.block_bytes());
        let (xid, frames) = largest.map(|(xid, held)| (*xid, held.spill()))?;
        match frames.is_empty() {
            true => is_over.then_some(Step::GiveUp(Unheld::Memory)),
            false => Some(Step::Spill { xid, frames }),
        }
    }

    /// A transaction that is wholly out has become the connection's past: what it described holds,
    /// but for tables that were described anew since.
    fn end_delivery(&mut self) {
        let Some(delivery) = self.delivery.take_if(|delivery| delivery.is_over()) else { return };
        if let Some(bytes) = self.described.later_than(delivery.descriptions()) {
            let lease = Lease::free();
            self.ready.push_back(Step::Assemble(Chunk { bytes, lease }));
        }
        let xid = delivery.xid();
        if delivery.is_spilled() {
            self.ready.push_back(Step::Forget { xid });
        }
        self.show(|| match delivery.committed() {
            Some(commit_lsn) => EarlyStep::Committed { xid, commit_lsn },
            None => EarlyStep::Aborted { xid, subxid: xid },
        });
        self.forget_descriptions();
    }

    /// What a streamed transaction has described as it comes out holds for the connection.
    fn learn(&mut self) -> Result<(), DecodeError> {
        let Some(delivery) = &self.delivery else { return Ok(()) };
        if !self.described.lasts || !delivery.describes_lastingly() {
            return Ok(());
        }
        for step in &self.ready {
            if let Step::Assemble(chunk) = step {
                self.described.delivered(&chunk.bytes, delivery.descriptions())?;
            }
        }
        Ok(())
    }

    fn forget_descriptions(&mut self) {
        if self.held.is_empty() {
            self.described.nothing_is_held();
        }
    }
}

/// The CopyData message at the start of `bytes`, and how long it is.
#[inline]
fn frame(bytes: &[u8]) -> Result<(usize, ServerMessage<'_>), DecodeError> {
    let length = frame_bytes(bytes)?.filter(|length| *length <= bytes.len());
    match length.filter(|_| bytes[0] == COPY_DATA) {
        Some(length) => Ok((length, ServerMessage::parse(&bytes[FRAME_HEADER_BYTES..length])?)),
        None => Err(DecodeError::OutOfPlace {
            message: "a message",
            place: "that is not whole CopyData, among CopyData",
        }),
    }
}

/// Lets `look` at the output of the plugin in `frames`: each message, and the frame around it.
fn each_frame(
    frames: &[u8],
    mut look: impl FnMut(&[u8], &[u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut at = 0;
    while at < frames.len() {
        let (length, message) = frame(&frames[at..])?;
        if let ServerMessage::XLogData { payload, .. } = message {
            look(payload, &frames[at..at + length])?;
        }
        at += length;
    }
    Ok(())
}

#[cfg(test)]
mod early_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod two_phase_tests;
