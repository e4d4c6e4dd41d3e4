//! The wire task: the one owner of a replication socket while it streams.
//!
//! A [`Driver`] moves bytes between the socket and its [`Session`] and hands frames on. It reads
//! only when the budget has room and the queue has a place, but it writes, keeps time and takes in
//! progress always: whatever the sinks do, a status update leaves in time. It is a plain future
//! that any executor may run; frames that are queued when it ends stay readable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::budget::Budget;
use crate::event::{Chunk, Lease};
use crate::lsn::Lsn;
use crate::net::read_buffer::ReadBuffer;
use crate::net::tcp::Gulps;
use crate::session::{
    Backlog, Beginning, GATHER, GATHER_BYTES, LINGER, Now, Output, PAUSE, Pace, Progress,
    RECEIVE_BUFFER_BYTES, Read, Session, SessionError, Turn,
};
use crate::wire::SqlState;

/// Read buffers are this large, or a smaller share of a small budget.
const BUFFER_BYTES_MAX: usize = 256 * 1024;
const BUFFER_BYTES_MIN: usize = 16 * 1024;
/// A budget is at least this many read buffers.
const BUFFERS_PER_BUDGET: usize = 64;
/// What is made of a run of small transactions weighs up to three times as much as the run.
const RESERVE_PER_RUN: usize = 3;
/// How many runs of frames may wait to be decoded.
pub(crate) const QUEUED_RUNS: usize = 8;
/// How long a small receive buffer may go unread before it needs more room.
const STANDSTILL: Duration = Duration::from_millis(200);
/// How long the server may take to end the stream that we end.
const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

/// A socket that streams can be read from.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Socket for S {}

/// What the wire task hands on.
#[derive(Debug)]
pub(crate) enum Feed {
    /// A run of whole frames.
    Frames(Chunk),
    /// A frame larger than a read buffer is on its way: a change that is wanted, and not a Commit.
    ChangeFollows,
    /// Where it is in its log, the server does not find a publication, and goes on without it.
    PublicationInDoubt,
}

/// What is asked of a running driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Go on.
    Stream,
    /// Send a last status update and end the stream in order.
    Finish,
    /// Let go at once: the server's own shutdown waits for us.
    Close,
}

/// Why a wire task ended, when not by request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    /// The conversation is over.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The socket failed.
    #[error("the replication connection broke: {0}")]
    Socket(#[from] std::io::Error),
    /// The server closed the connection without a word.
    #[error("the server closed the replication connection")]
    Closed,
}

/// What others may read of a wire task at any time.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    received: AtomicU64,
    server_end: AtomicU64,
    bytes: AtomicU64,
}

impl Gauges {
    /// The end of what was received.
    pub(crate) fn received(&self) -> Option<Lsn> {
        Lsn::new(self.received.load(Ordering::Relaxed)).valid()
    }

    /// How far the server has read its log.
    pub(crate) fn server_end(&self) -> Option<Lsn> {
        Lsn::new(self.server_end.load(Ordering::Relaxed)).valid()
    }

    /// Bytes read since the start.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What a driver is made of.
pub(crate) struct Wiring {
    /// The conversation, in CopyBoth.
    pub(crate) session: Session,
    /// When the clock began that the session knows.
    pub(crate) start: Instant,
    /// What was read and not taken yet.
    pub(crate) input: BytesMut,
    /// The bound on what may be read.
    pub(crate) budget: Budget,
    /// Present where the link allows reading in gulps.
    pub(crate) gulps: Option<Gulps>,
    /// Whether a backlog may be read otherwise than the rest.
    pub(crate) catch_up: bool,
    /// Prefixes of the logical messages that are wanted.
    pub(crate) messages: Vec<String>,
    /// Where frames go.
    pub(crate) feed: mpsc::Sender<Feed>,
    /// What may be reported as done.
    pub(crate) progress: watch::Receiver<Progress>,
    /// What is asked of us.
    pub(crate) request: watch::Receiver<Request>,
    /// What others may look at.
    pub(crate) gauges: Arc<Gauges>,
}

/// The wire task. See the [module](self).
pub(crate) struct Driver<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    session: Session,
    start: Instant,
    pace: Pace,
    gulps: Option<Gulps>,
    turn: Turn,
    /// When a pause or a gathering is over.
    turn_until: Instant,
    receive_buffer: ReceiveBuffer,
    /// Bytes read and not looked at.
    gathered: usize,
    buffer: ReadBuffer,
    /// What waits for a place in the queue.
    pending: Option<Feed>,
    budget: Budget,
    /// Left of the budget for what is made of the runs that are queued.
    reserve: usize,
    messages: Vec<String>,
    feed: mpsc::Sender<Feed>,
    progress: watch::Receiver<Progress>,
    request: watch::Receiver<Request>,
    /// Set once the end was asked for.
    finish_by: Option<Instant>,
    finished: bool,
    gauges: Arc<Gauges>,
}

/// How large the kernel's receive buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReceiveBuffer {
    /// As the kernel finds right, or as much as it gives.
    Kernels,
    /// Small since the first gulp, and unread since then, if it is.
    Small { unread_since: Option<Instant> },
}

/// What the driver woke up for.
enum Wake {
    Read(std::io::Result<usize>),
    Nothing,
    Place,
    Memory(Lease),
    Written(std::io::Result<usize>),
    /// Something was asked of us; `false` when nobody is left to ask.
    Asked(bool),
    Progress,
    Time,
}

impl<S: Socket> Driver<S> {
    pub(crate) fn new(socket: S, wiring: Wiring) -> Self {
        let backlog = match &wiring.gulps {
            _ if !wiring.catch_up => Backlog::AtOnce,
            Some(_) => Backlog::Gulp,
            None => Backlog::Gather,
        };
        let (reader, writer) = tokio::io::split(socket);
        let start = wiring.start;
        let limit = wiring.budget.limit();
        let capacity = (limit / BUFFERS_PER_BUDGET).clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX);
        Self {
            reader,
            writer,
            session: wiring.session,
            start,
            pace: Pace::new(start.elapsed(), backlog),
            gulps: wiring.gulps,
            turn: Turn::Read,
            turn_until: start,
            receive_buffer: ReceiveBuffer::Kernels,
            gathered: 0,
            buffer: ReadBuffer::new(wiring.input, capacity),
            pending: None,
            budget: wiring.budget,
            reserve: RESERVE_PER_RUN * QUEUED_RUNS * capacity,
            messages: wiring.messages,
            feed: wiring.feed,
            progress: wiring.progress,
            request: wiring.request,
            finish_by: None,
            finished: false,
            gauges: wiring.gauges,
        }
    }

    /// Stream until asked to end, or until the connection does.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; what was not handed on is lost to this connection
    /// and comes again on the next.
    pub(crate) async fn run(mut self) -> Result<(), DriverError> {
        loop {
            self.take_frames()?;
            self.session.handle_time(self.now())?;
            if self.finished || self.feed.is_closed() {
                self.say_goodbye().await;
                return Ok(());
            }
            if self.finish_by.is_some_and(|by| Instant::now() >= by) {
                return Ok(());
            }
            let space = self.buffer.space();
            match self.wake().await {
                Wake::Read(read) => self.on_read(read?, space)?,
                Wake::Nothing => {
                    let turn = self.pace.on_drained(self.start.elapsed(), self.session.lag());
                    self.begin_turn(turn);
                }
                Wake::Memory(lease) => self.buffer.renew(lease),
                Wake::Written(written) => {
                    written?;
                }
                Wake::Asked(alive) => {
                    let request = *self.request.borrow_and_update();
                    self.on_request(if alive { request } else { Request::Close });
                }
                Wake::Progress => {
                    let progress = *self.progress.borrow_and_update();
                    self.session.on_progress(progress);
                }
                Wake::Time if Instant::now() >= self.turn_until => match self.turn {
                    Turn::Pause => self.turn = Turn::Drain,
                    Turn::Gather => self.look(false)?,
                    Turn::Linger => {
                        let turn = self.pace.on_drained(self.start.elapsed(), self.session.lag());
                        self.begin_turn(turn);
                    }
                    Turn::Read | Turn::Drain => {}
                },
                Wake::Time => {}
                Wake::Place => {}
            }
        }
    }

    /// Wait for whatever comes first.
    async fn wake(&mut self) -> Wake {
        let finishing = self.finish_by.is_some();
        let stalled = self.pending.is_some() || self.feed.is_closed();
        let may_read = finishing || (!stalled && self.turn != Turn::Pause);
        let wanted = if finishing { self.buffer.reuse() } else { self.buffer.wanted() };
        if !may_read || wanted > 0 {
            self.session.heard(self.now());
        }
        self.watch_standstill(stalled || (may_read && wanted > 0));
        let deadline = self.next_deadline();
        let has_output = !self.session.transmit().is_empty();
        tokio::select! {
            biased;
            changed = self.request.changed(), if !finishing => Wake::Asked(changed.is_ok()),
            Ok(()) = self.progress.changed() => Wake::Progress,
            written = self.writer.write_buf(self.session.transmit()), if has_output => {
                Wake::Written(written)
            }
            place = self.feed.reserve(), if self.pending.is_some() => {
                if let (Ok(place), Some(pending)) = (place, self.pending.take()) {
                    place.send(pending);
                }
                Wake::Place
            }
            lease = self.budget.lend_beside(self.reserve, wanted), if may_read && wanted > 0 => {
                Wake::Memory(lease)
            }
            read = self.reader.read_buf(&mut self.buffer.bytes), if may_read && wanted == 0 => {
                Wake::Read(read)
            }
            () = std::future::ready(()), if may_read && wanted == 0 && self.turn == Turn::Drain => {
                Wake::Nothing
            }
            () = tokio::time::sleep_until(deadline) => Wake::Time,
        }
    }

    fn next_deadline(&self) -> Instant {
        let status = self.session.next_time().map_or(Duration::from_secs(3600), |at| at);
        let mut deadline = self.start + status;
        if matches!(self.turn, Turn::Pause | Turn::Gather | Turn::Linger) {
            deadline = deadline.min(self.turn_until);
        }
        if let ReceiveBuffer::Small { unread_since: Some(since) } = self.receive_buffer {
            deadline = deadline.min(since + STANDSTILL);
        }
        self.finish_by.map_or(deadline, |by| deadline.min(by))
    }

    /// Note whether reading stands still, and end the gulps where it goes on: it is the sinks then
    /// that bound the speed.
    fn watch_standstill(&mut self, still: bool) {
        let ReceiveBuffer::Small { unread_since } = &mut self.receive_buffer else { return };
        if !still {
            *unread_since = None;
            return;
        }
        let since = *unread_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= STANDSTILL {
            if let Some(gulps) = self.gulps.take() {
                gulps.relieve();
                gulps.set(false);
            }
            self.receive_buffer = ReceiveBuffer::Kernels;
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Stream => {}
            Request::Finish => {
                let progress = *self.progress.borrow_and_update();
                self.session.on_progress(progress);
                self.session.finish(self.now());
                self.pending = None;
                self.turn = Turn::Read;
                self.finish_by = Some(Instant::now() + FINISH_TIMEOUT);
            }
            Request::Close => self.finish_by = Some(Instant::now()),
        }
    }

    fn on_read(&mut self, bytes: usize, space: usize) -> Result<(), DriverError> {
        self.gauges.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.gathered += bytes;
        if bytes > 0 {
            self.session.heard(self.now());
        }
        let enough = bytes == 0 || self.gathered >= GATHER_BYTES || self.buffer.wanted() > 0;
        if enough || self.turn != Turn::Gather {
            self.look(bytes == space)?;
        }
        if bytes == 0 { Err(DriverError::Closed) } else { Ok(()) }
    }

    /// Take what was read, and see how to go on.
    fn look(&mut self, filled: bool) -> Result<(), DriverError> {
        let read = Read { bytes: std::mem::take(&mut self.gathered), filled };
        self.take_frames()?;
        let turn = self.pace.on_read(self.start.elapsed(), read, self.session.lag());
        self.begin_turn(turn);
        Ok(())
    }

    fn begin_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Pause => self.turn_until = Instant::now() + PAUSE,
            Turn::Gather => self.turn_until = Instant::now() + GATHER,
            Turn::Linger => self.turn_until = Instant::now() + LINGER,
            Turn::Read | Turn::Drain => {}
        }
        if (self.turn == Turn::Read) != (turn == Turn::Read) {
            tracing::debug!(?turn, lag = ?self.session.lag(), "pace");
            if let Some(gulps) = &self.gulps {
                if self.pace.is_gulping() && self.receive_buffer == ReceiveBuffer::Kernels {
                    gulps.limit(RECEIVE_BUFFER_BYTES);
                    self.receive_buffer = ReceiveBuffer::Small { unread_since: None };
                }
                gulps.set(self.pace.is_gulping());
            }
        }
        self.turn = turn;
    }

    /// Let the session take what was read, until it needs more or the queue has no place.
    fn take_frames(&mut self) -> Result<(), DriverError> {
        self.buffer.drop_skipped();
        while self.pending.is_none() && (self.turn != Turn::Gather || self.gathered == 0) {
            let now = self.now();
            let Some(output) = self.session.handle_input(now, &mut self.buffer.bytes)? else {
                break;
            };
            self.buffer.was_cut();
            match output {
                Output::Frames(bytes) => {
                    let lease = self.buffer.lease.clone().unwrap_or_default();
                    self.hand_on(Feed::Frames(Chunk { bytes, lease }));
                }
                Output::Notice(notice) => {
                    tracing::info!(%notice, "the server says");
                    if notice.sqlstate == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE {
                        self.hand_on(Feed::PublicationInDoubt);
                    }
                }
                Output::Finished => self.finished = true,
                Output::Started | Output::Answer(_) => {}
            }
        }
        let gauge = |gauge: &AtomicU64, lsn: Option<Lsn>| {
            if let Some(lsn) = lsn {
                gauge.store(lsn.as_u64(), Ordering::Relaxed);
            }
        };
        gauge(&self.gauges.received, self.session.received());
        gauge(&self.gauges.server_end, self.session.server_end());
        if self.pending.is_none() { self.meet_oversize() } else { Ok(()) }
    }

    /// Look at a frame at the front that does not fit a read buffer.
    fn meet_oversize(&mut self) -> Result<(), DriverError> {
        if let Some(front) = self.buffer.unmet().map_err(SessionError::from)? {
            match self.session.beginning(front, &self.messages) {
                Beginning::Open => return Ok(()),
                Beginning::Unwanted(mut frame) => {
                    self.buffer.skip_front().map_err(SessionError::from)?;
                    let now = self.now();
                    if let Some(Output::Frames(bytes)) =
                        self.session.handle_input(now, &mut frame)?
                    {
                        self.hand_on(Feed::Frames(Chunk { bytes, lease: Lease::free() }));
                    }
                    return Ok(());
                }
                Beginning::Wanted => {}
            }
        }
        if self.buffer.meets_oversize().map_err(SessionError::from)? {
            self.hand_on(Feed::ChangeFollows);
        }
        Ok(())
    }

    fn hand_on(&mut self, feed: Feed) {
        if self.finish_by.is_none() {
            self.pending = match self.feed.try_send(feed) {
                Err(mpsc::error::TrySendError::Full(feed)) => Some(feed),
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
            };
        }
    }

    async fn say_goodbye(&mut self) {
        self.session.terminate();
        let goodbye = async {
            self.writer.write_all_buf(self.session.transmit()).await?;
            self.writer.shutdown().await
        };
        // The stream is over either way; a server that does not listen learns it from the socket.
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }

    fn now(&self) -> Now {
        Now { elapsed: self.start.elapsed(), wall: SystemTime::now().into() }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
