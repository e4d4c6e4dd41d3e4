//! A live connection: frames in, batches out, until it breaks.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::confirmer::Shared;
use super::connection::Connection;
use super::error::StreamError;
use super::hold::{Hold, HoldError, Out, hold_of};
use super::source::{Source, StreamedDelivery, WireFormat};
use super::tap::{Tap, Tapped};
use crate::budget::MakingRoom;
use crate::event::{Batch, CatalogEntry, Chunk, Relation};
use crate::net::{DriverError, Feed, Format, Streaming};
use crate::session::{
    Assembler, AssemblerOptions, EarlyAssembler, EarlyStep, HandedOut, SessionError,
};
use crate::wire::{DecodeError, SqlState};
use crate::{Error, ErrorKind};

/// So many chunks may wait to be assembled while what is held makes room.
const REST_MAX: usize = 2;

/// A connection and what is made of its frames.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) connection: Connection,
    pub(super) assembler: Assembler,
    /// Makes batches of what has not committed, for those who take it.
    early: Option<EarlyAssembler>,
    /// What a full batch left of its frames, and what has come out of the hold since.
    rest: VecDeque<Out>,
    /// Memory for what is made of frames.
    room: MakingRoom,
    /// Where streamed transactions wait for their commit; none when nothing is streamed.
    hold: Option<Hold>,
    /// Keeps the frames for whoever records them.
    tap: Option<Tap>,
    /// A publication may be gone: what comes now may lack its changes.
    in_doubt: bool,
    /// Wakes us for idle progress that came too soon after the last.
    idle_at: Option<Pin<Box<Sleep>>>,
}

/// What a live connection has come to.
pub(super) enum Next {
    Batch(Batch),
    Idle,
    /// Ask whether the publications exist before going on.
    Doubt,
    /// Ask the catalogue about tables before their rows are handed out.
    Undescribed,
    Text,
    /// Streamed transactions cannot be held any more.
    Unstreamed(HoldError),
    Broken(Error),
}

/// What there is to take in.
enum Input {
    /// Frames to assemble.
    Frames(Chunk),
    /// What to show of a transaction that has not committed.
    Early(EarlyStep),
    /// As [`Feed::ChangeFollows`].
    ChangeFollows,
    /// As [`Feed::PublicationInDoubt`].
    PublicationInDoubt,
    /// Nothing more will come.
    Ended,
}

impl From<Out> for Input {
    fn from(out: Out) -> Self {
        match out {
            Out::Frames(chunk) => Self::Frames(chunk),
            Out::Early(step) => Self::Early(step),
        }
    }
}

/// When idle progress was handed out last, and how long to leave between.
#[derive(Clone, Copy)]
pub(super) struct Idle {
    pub(super) last: Option<Instant>,
    pub(super) gap: Duration,
}

/// What a connection has of its stream.
#[derive(Clone, Copy)]
pub(super) struct Shares<'a> {
    pub(super) shared: &'a Shared,
    /// Whether large transactions are sent while they run.
    pub(super) streaming: Streaming,
}

impl Live {
    pub(super) fn new(
        connection: Connection,
        source: &Source,
        handed: HandedOut,
        shares: Shares<'_>,
    ) -> Box<Self> {
        let Shares { shared, streaming } = shares;
        let hold = hold_of(source, shared, streaming, connection.prepared.as_ref());
        let tap = source.tapped.then(|| Tap::new(&connection, source, streaming));
        let options =
            AssemblerOptions { messages: source.messages.clone(), local_only: source.local_only };
        let versions = shared.history().at(connection.start);
        let lineage = Arc::clone(&connection.lineage);
        let room = MakingRoom::new(connection.budget.clone(), source.batch_bytes);
        let early = (source.streamed_delivery == StreamedDelivery::Early)
            .then(|| EarlyAssembler::new(Arc::clone(&lineage), options.clone()));
        let assembler = Assembler::new(lineage, handed, options).knowing(&versions);
        let assembler = assembler.bounded(room.bytes());
        let (rest, in_doubt, idle_at) = (VecDeque::new(), false, None);
        Box::new(Self { connection, assembler, early, rest, room, hold, tap, in_doubt, idle_at })
    }

    /// What was taken from the assembler is handed out; how far that reaches. The versions of
    /// tables that it brought are known before anybody can prove it.
    pub(super) fn hand_out(&mut self, shared: &Shared) -> HandedOut {
        let met = self.assembler.take_versions_met();
        if !met.is_empty() {
            let mut history = shared.history();
            met.into_iter().for_each(|met| history.note(met));
        }
        self.assembler.handed_out()
    }

    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source,
        idle: Idle,
    ) -> Poll<Next> {
        let (mut ended, mut full) = (false, false);
        while !(self.in_doubt || full) && self.wants_more(source) {
            if self.room.poll(cx).is_pending() {
                if let Err(error) = self.make_room(cx) {
                    return Poll::Ready(not_held(error));
                }
                break;
            }
            match self.poll_input(cx) {
                Poll::Ready(Ok(Input::Ended)) => {
                    ended = true;
                    break;
                }
                Poll::Ready(Ok(input)) => match self.take_in(input, source) {
                    Ok(is_full) => full = is_full,
                    Err(error) => return Poll::Ready(not_allowed(error)),
                },
                Poll::Ready(Err(error)) => return Poll::Ready(not_held(error)),
                Poll::Pending => break,
            }
        }
        if self.assembler.is_empty() {
            self.room.rest();
        }
        let early = || self.early.as_ref().and_then(EarlyAssembler::undecodable);
        let undecodable = || self.assembler.undecodable().or_else(early);
        if self.may_change_format(source) && undecodable().is_some() {
            return Poll::Ready(Next::Text);
        }
        if let Some(next) = self.batch() {
            return Poll::Ready(next);
        }
        if full && self.has_tapped() {
            let lineage = Arc::clone(&self.connection.lineage);
            let nothing = Batch::nothing(lineage, self.assembler.handed_out().end);
            return Poll::Ready(Next::Batch(nothing));
        }
        if std::mem::take(&mut self.in_doubt) {
            return Poll::Ready(Next::Doubt);
        }
        if ended {
            let ended = ready!(Pin::new(&mut self.connection.driver.0).poll(cx));
            return Poll::Ready(self.after(ended.unwrap_or(Err(DriverError::Closed)), source));
        }
        if self.assembler.has_progress() {
            let at = idle.last.map_or_else(Instant::now, |last| last + idle.gap);
            let sleep = self.idle_at.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            ready!(sleep.as_mut().poll(cx));
            self.idle_at = None;
            return Poll::Ready(Next::Idle);
        }
        // The loop above ended at an empty queue, at work on the hold or for want of memory, which
        // wake us.
        Poll::Pending
    }

    /// Let what is held go to the disk while there is no room to assemble anything.
    fn make_room(&mut self, cx: &mut Context<'_>) -> Result<(), HoldError> {
        let hold = self.hold.as_mut().filter(|_| self.rest.len() < REST_MAX);
        if let Some(Poll::Ready(out)) = hold.map(|hold| hold.poll(cx)) {
            self.rest.extend(out?);
        }
        Ok(())
    }

    /// What the events at hand make, if there are any.
    ///
    /// What has not committed goes first: its Commit may be among the rest.
    fn batch(&mut self) -> Option<Next> {
        if let Some(early) = self.early.as_mut().filter(|early| early.has_events()) {
            if !early.undescribed().is_empty() {
                return Some(Next::Undescribed);
            }
            let budget = &self.connection.budget;
            let end = self.assembler.handed_out().end;
            return early.take(end, |bytes| budget.charge(bytes)).map(Next::Batch);
        }
        if !self.assembler.has_events() {
            return None;
        }
        if !self.assembler.undescribed().is_empty() {
            return Some(Next::Undescribed);
        }
        let batch = self.take()?;
        self.idle_at = None;
        Some(Next::Batch(batch))
    }

    /// What there is to hand out, if only progress.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let room = &mut self.room;
        self.assembler.take(|bytes| room.settle(bytes))
    }

    /// Whether more input is to go into the next batch. One that would hold nothing but a change
    /// kept back is no batch yet, whatever its size.
    fn wants_more(&self, source: &Source) -> bool {
        let assembler = &self.assembler;
        !assembler.is_full()
            && self.early_bytes() < source.batch_bytes
            && (assembler.pending_bytes() < source.batch_bytes || !assembler.has_events())
    }

    /// Take `input` in; whether it is time to hand out what there is.
    fn take_in(&mut self, input: Input, source: &Source) -> Result<bool, DecodeError> {
        Ok(match input {
            Input::Frames(mut chunk) => {
                if let Some(rest) = self.assembler.push(chunk.clone())? {
                    chunk.bytes.truncate(chunk.bytes.len() - rest.bytes.len());
                    self.rest.push_front(Out::Frames(rest));
                }
                if let Some(tap) = &mut self.tap {
                    tap.push(&chunk);
                }
                self.tap.as_ref().is_some_and(|tap| tap.bytes() >= source.batch_bytes)
            }
            Input::Early(step) => {
                if let Some(early) = &mut self.early {
                    early.take_in(step, |commit_lsn| self.assembler.has_had(commit_lsn))?;
                }
                false
            }
            Input::ChangeFollows => {
                self.assembler.change_follows();
                self.assembler.has_events() || self.has_tapped() || self.early_bytes() > 0
            }
            Input::PublicationInDoubt => {
                self.in_doubt = true;
                false
            }
            Input::Ended => false,
        })
    }

    /// The tables that the catalogue is to be asked about before rows of theirs are handed out.
    pub(super) fn undescribed(&self) -> &[Arc<Relation>] {
        match self.early.as_ref().map(EarlyAssembler::undescribed) {
            Some(relations) if !relations.is_empty() => relations,
            _ => self.assembler.undescribed(),
        }
    }

    /// What the catalogue says of the tables that were asked about.
    pub(super) fn catalogued(&mut self, entries: Vec<CatalogEntry>) {
        if let Some(early) = self.early.as_mut().filter(|early| !early.undescribed().is_empty()) {
            return early.catalogued(entries);
        }
        if let Some(tap) = &mut self.tap {
            let asked = self.assembler.undescribed().iter().map(|relation| relation.oid);
            tap.answered(asked.zip(entries.iter().cloned()));
        }
        self.assembler.catalogued(entries);
    }

    /// The frames to record of what was handed out.
    pub(super) fn release_tapped(&mut self, out: &mut Vec<Tapped>) {
        if let Some(tap) = &mut self.tap {
            tap.release(out);
        }
    }

    /// What comes next: what a full batch left, then out of the hold as long as that has something
    /// to do, then off the wire.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<Input, HoldError>> {
        if let Some(out) = self.rest.pop_front() {
            return Poll::Ready(Ok(out.into()));
        }
        loop {
            if let Some(hold) = &mut self.hold
                && let Some(out) = ready!(hold.poll(cx))?
            {
                return Poll::Ready(Ok(out.into()));
            }
            let feed = ready!(self.connection.feed.poll_recv(cx));
            return Poll::Ready(Ok(match (feed, &mut self.hold) {
                (Some(Feed::Frames(chunk)), Some(hold)) => {
                    hold.push(chunk);
                    continue;
                }
                (Some(Feed::Frames(chunk)), None) => Input::Frames(chunk),
                (Some(Feed::ChangeFollows), _) => Input::ChangeFollows,
                (Some(Feed::PublicationInDoubt), _) => Input::PublicationInDoubt,
                (None, _) => Input::Ended,
            }));
        }
    }

    /// Bytes of frames of what has not committed and waits to be handed out.
    fn early_bytes(&self) -> usize {
        self.early.as_ref().map_or(0, EarlyAssembler::pending_bytes)
    }

    /// Whether there are frames to record.
    fn has_tapped(&self) -> bool {
        self.tap.as_ref().is_some_and(|tap| tap.bytes() > 0)
    }

    /// Whether values come in binary and might as well come in text.
    fn may_change_format(&self, source: &Source) -> bool {
        source.format == WireFormat::Auto && self.connection.format == Format::Binary
    }

    /// What the end of the wire task means.
    fn after(&self, ended: Result<(), DriverError>, source: &Source) -> Next {
        let server = match ended {
            Err(DriverError::Session(SessionError::Server(server))) => server,
            Err(DriverError::Session(error @ SessionError::Decode(_))) => {
                return Next::Broken(Error::permanent(ErrorKind::Protocol, error));
            }
            Err(error) => return Next::Broken(Error::transient(ErrorKind::Connect, error)),
            Ok(()) => {
                return Next::Broken(Error::transient(ErrorKind::Connect, DriverError::Closed));
            }
        };
        Next::Broken(match server.sqlstate {
            SqlState::UNDEFINED_FUNCTION if self.may_change_format(source) => return Next::Text,
            SqlState::UNDEFINED_OBJECT if server.message.contains("publication") => {
                let names = source.publications.clone();
                StreamError::PublicationMissing { names, server: Some(Box::new(server)) }.into()
            }
            _ if server.is_transient() => Error::transient(ErrorKind::Server, server),
            _ => Error::permanent(ErrorKind::Server, server),
        })
    }
}

/// What was streamed or prepared cannot be held.
fn not_held(error: HoldError) -> Next {
    match error {
        HoldError::Decode(error) => not_allowed(error),
        HoldError::Prepared(error) => Next::Broken(error.into()),
        error => Next::Unstreamed(error),
    }
}

/// The server sent what the protocol does not allow.
fn not_allowed(error: DecodeError) -> Next {
    Next::Broken(Error::permanent(ErrorKind::Protocol, SessionError::from(error)))
}
