//! The conversation with a walsender, as state machines without I/O, clock or task.
//!
//! A [`Session`] begins where authentication ends. Bytes go in with the time they came at, outputs
//! and bytes to send come out; whoever owns the socket moves them. It runs one command at a time,
//! then the CopyBoth phase, in which it watches positions and answers for liveness while handing
//! the frames on untouched. What they mean is for the [`Assembler`].
//!
//! ```text
//!         query                          start_replication
//!  ┌────────────────► Querying    Idle ────────────────────► Starting
//! Idle                   │         ▲                            │ CopyBothResponse
//!  ▲      ReadyForQuery  │         │ ReadyForQuery              ▼
//!  └─────────────────────┘         │            finish      Streaming
//!                                  └── Finishing ◄──────────────┘
//!                                   (frames on their way are dropped)
//!  any state ── ErrorResponse, CopyDone of the server, silence ──► an error; the session is over
//! ```

mod assembler;
mod catalogued;
mod closing;
mod early;
mod open;
mod pace;
mod relations;
mod rows;
mod status;
mod streamed;
mod unwanted;

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::lsn::Lsn;
use crate::timestamp::Timestamp;
use crate::wire::copy_both::{COPY_DATA, FRAME_HEADER_BYTES, ServerMessage, frame_bytes};
use crate::wire::{DecodeError, Reader, ServerError};

pub use assembler::{Assembler, AssemblerOptions, HandedOut};
pub use early::EarlyAssembler;
pub use pace::{
    Backlog, GATHER, GATHER_BYTES, LINGER, PAUSE, Pace, RECEIVE_BUFFER_BYTES, ROUND_TRIP_MAX, Read,
    Turn,
};
pub use relations::VersionsMet;
pub use status::{Feedback, Intervals, Now, Progress};
pub use streamed::{EarlyStep, Kept, PreparedTransaction, Step, Streamed, Unheld};
pub use unwanted::Beginning;

/// The most bytes of rows that the answer to one command may have.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One conversation, from the first ReadyForQuery on.
#[derive(Debug)]
pub struct Session {
    state: State,
    transmit: BytesMut,
}

#[derive(Debug)]
enum State {
    Idle,
    Querying(Answer),
    Starting { intervals: Intervals, progress: Progress },
    Streaming(Streaming),
    Finishing { received: Lsn },
}

/// The rows of a command's answer: text, or `None` for NULL.
pub type Rows = Vec<Vec<Option<String>>>;

#[derive(Debug, Default)]
struct Answer {
    rows: Rows,
    bytes: usize,
    error: Option<ServerError>,
}

/// What is known of the stream while it runs.
#[derive(Debug)]
struct Streaming {
    feedback: Feedback,
    /// When the open transaction committed, by the server's clock.
    open_since: Option<Timestamp>,
    lag: Option<Duration>,
    server_end: Lsn,
    /// Between Stream Start and Stream Stop.
    in_block: bool,
}

/// What input amounted to.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// A command is answered.
    Answer(Result<Rows, ServerError>),
    /// CopyBoth has begun.
    Started,
    /// A run of whole CopyData messages.
    Frames(Bytes),
    /// The server has something to say that is no error.
    Notice(ServerError),
    /// CopyBoth has ended because we asked for it.
    Finished,
}

/// Why a conversation is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The server reported an error.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server sent what the protocol does not allow.
    #[error("the server sent something unexpected: {0}")]
    Decode(#[from] DecodeError),
    /// The server ended the stream by itself, as it does when it shuts down.
    #[error("the server ended the replication stream")]
    Ended,
    /// The server has said nothing for the silence timeout.
    #[error("the server has been silent for {} s", .0.as_secs())]
    Silent(Duration),
}

impl Session {
    /// A session whose server has just said ReadyForQuery.
    pub fn new() -> Self {
        Self { state: State::Idle, transmit: BytesMut::new() }
    }

    /// Send a command. One at a time: the answer comes as [`Output::Answer`].
    pub fn query(&mut self, command: &str) {
        self.put_query(command);
        self.state = State::Querying(Answer::default());
    }

    /// Send `command`, a START_REPLICATION, for a stream that goes on from `progress`.
    pub fn start_replication(&mut self, command: &str, intervals: Intervals, progress: Progress) {
        self.put_query(command);
        self.state = State::Starting { intervals, progress };
    }

    /// More is confirmed.
    pub fn on_progress(&mut self, progress: Progress) {
        if let State::Streaming(streaming) = &mut self.state {
            streaming.feedback.on_progress(progress);
        }
    }

    /// End the stream: a last status update, then CopyDone. [`Output::Finished`] follows.
    pub fn finish(&mut self, now: Now) {
        if let State::Streaming(streaming) = &mut self.state {
            streaming.feedback.update(now).encode(&mut self.transmit);
            self.transmit.put_slice(b"c\0\0\0\x04");
            self.state = State::Finishing { received: streaming.feedback.received() };
        }
    }

    /// Say goodbye. The server closes the connection.
    pub fn terminate(&mut self) {
        self.transmit.put_slice(b"X\0\0\0\x04");
    }

    /// Take what `input` holds, one output at a time; `None` when more bytes are needed.
    pub fn handle_input(
        &mut self,
        now: Now,
        input: &mut BytesMut,
    ) -> Result<Option<Output>, SessionError> {
        if let State::Streaming(streaming) = &mut self.state {
            let run = streaming.scan(now, input)?;
            if run > 0 {
                return Ok(Some(Output::Frames(input.split_to(run).freeze())));
            }
        }
        while let Some(length) = frame_bytes(input)?.filter(|length| *length <= input.len()) {
            let mut message = input.split_to(length).freeze();
            let tag = message[0];
            message.advance(FRAME_HEADER_BYTES);
            if let Some(output) = self.message(now, tag, &message)? {
                return Ok(Some(output));
            }
        }
        Ok(None)
    }

    /// Let time pass: a status update may become due, or the server be given up.
    pub fn handle_time(&mut self, now: Now) -> Result<(), SessionError> {
        if let State::Streaming(streaming) = &mut self.state {
            if let Some(update) = streaming.feedback.poll(now) {
                update.encode(&mut self.transmit);
            }
            if streaming.feedback.is_silent(now) {
                return Err(SessionError::Silent(streaming.feedback.silence()));
            }
        }
        Ok(())
    }

    /// Bytes came, if only a part of a message; or we are not reading, and the server's silence
    /// says nothing.
    pub fn heard(&mut self, now: Now) {
        if let State::Streaming(streaming) = &mut self.state {
            streaming.feedback.heard(now);
        }
    }

    /// What the frame at the front of the input, of which `frame` has come, is going to be, where
    /// messages with these prefixes are wanted.
    pub fn beginning(&self, frame: &[u8], wanted: &[String]) -> Beginning {
        match &self.state {
            State::Streaming(streaming) => unwanted::judge(frame, wanted, streaming.in_block),
            _ => Beginning::Wanted,
        }
    }

    /// When to call [`handle_time`](Self::handle_time) again, on the clock of [`Now::elapsed`].
    pub fn next_time(&self) -> Option<Duration> {
        match &self.state {
            State::Streaming(streaming) => Some(streaming.feedback.next_look()),
            _ => None,
        }
    }

    /// The bytes to send; what is sent is to be advanced over.
    pub fn transmit(&mut self) -> &mut BytesMut {
        &mut self.transmit
    }

    /// The end of what was received.
    pub fn received(&self) -> Option<Lsn> {
        match &self.state {
            State::Streaming(streaming) => Some(streaming.feedback.received()),
            State::Finishing { received } => Some(*received),
            _ => None,
        }
    }

    /// How far the server has read its log, by its keepalives.
    pub fn server_end(&self) -> Option<Lsn> {
        match &self.state {
            State::Streaming(streaming) => streaming.server_end.valid(),
            _ => None,
        }
    }

    /// How long after its commit the last transaction was sent, by the server's clock; the longest
    /// there is while one is sent that has not committed.
    pub fn lag(&self) -> Option<Duration> {
        match &self.state {
            State::Streaming(streaming) => streaming.lag,
            _ => None,
        }
    }

    fn put_query(&mut self, command: &str) {
        self.transmit.put_u8(b'Q');
        // A command is text of ours and names of at most 63 bytes.
        self.transmit.put_u32(u32::try_from(command.len() + 5).unwrap_or(u32::MAX));
        self.transmit.put_slice(command.as_bytes());
        self.transmit.put_u8(0);
    }

    fn message(&mut self, now: Now, tag: u8, body: &Bytes) -> Result<Option<Output>, SessionError> {
        match (tag, &mut self.state) {
            (b'N', _) => Ok(Some(Output::Notice(ServerError::parse(body)))),
            (b'S' | b'A' | b'K', _) => Ok(None),
            (b'E', State::Querying(answer)) => {
                answer.error = Some(ServerError::parse(body));
                Ok(None)
            }
            (b'E', _) => Err(ServerError::parse(body).into()),
            (b'D', State::Querying(answer)) => answer.row(body).map(|()| None),
            (b'T' | b'C' | b'I', State::Querying(_)) => Ok(None),
            (b'Z', State::Querying(answer)) => {
                let Answer { rows, error, .. } = std::mem::take(answer);
                self.state = State::Idle;
                Ok(Some(Output::Answer(error.map_or(Ok(rows), Err))))
            }
            (b'W', &mut State::Starting { intervals, progress }) => {
                let mut feedback = Feedback::new(now, intervals, progress);
                feedback.update(now).encode(&mut self.transmit);
                self.state = State::Streaming(Streaming {
                    feedback,
                    open_since: None,
                    lag: None,
                    server_end: Lsn::new(0),
                    in_block: false,
                });
                Ok(Some(Output::Started))
            }
            (b'c' | b'C', State::Streaming(_)) => Err(SessionError::Ended),
            (COPY_DATA | b'c' | b'C' | b'T' | b'D', State::Finishing { .. }) => Ok(None),
            (b'Z', State::Finishing { .. }) => {
                self.state = State::Idle;
                Ok(Some(Output::Finished))
            }
            (tag, _) => Err(DecodeError::UnknownTag { field: "backend message", tag }.into()),
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Streaming {
    /// Walk the whole CopyData messages at the start of `input`; how many bytes they take.
    fn scan(&mut self, now: Now, input: &[u8]) -> Result<usize, SessionError> {
        let mut at = 0;
        while input.get(at) == Some(&COPY_DATA) {
            let Some(length) = frame_bytes(&input[at..])?.filter(|n| *n <= input.len() - at) else {
                break;
            };
            match ServerMessage::parse(&input[at + FRAME_HEADER_BYTES..at + length])? {
                ServerMessage::XLogData { start, sent_at, payload, .. } => {
                    self.feedback.on_received(start);
                    self.watch_lag(sent_at, payload);
                }
                ServerMessage::Keepalive { end, reply_requested, .. } => {
                    self.server_end = self.server_end.max(end);
                    self.feedback.on_keepalive(end, reply_requested);
                }
            }
            at += length;
        }
        if at > 0 {
            self.feedback.heard(now);
        }
        Ok(at)
    }

    /// Note how late the stream is, between Begin and Commit: outside, nothing is late. What comes
    /// of a streamed transaction before its Stream Commit is as late as can be.
    #[inline]
    fn watch_lag(&mut self, sent_at: Timestamp, payload: &[u8]) {
        match payload.first() {
            Some(b'B') => {
                let mut reader = Reader::new(&payload[1..]);
                let committed = reader.lsn("").and_then(|_| reader.timestamp(""));
                self.open_since = committed.ok();
            }
            // Nobody waits for a block of a transaction that is still open.
            Some(b'S') => {
                self.lag = Some(Duration::MAX);
                self.in_block = true;
            }
            Some(b'E') => self.in_block = false,
            Some(b'c') => {
                const TIME_AT: usize = 1 + 4 + 1 + 8 + 8;
                let time =
                    payload.get(TIME_AT..).and_then(|time| Reader::new(time).timestamp("").ok());
                self.lag = time.map(|committed| sent_at.since(committed)).or(self.lag);
            }
            Some(b'K') => {
                const TIME_AT: usize = 1 + 1 + 8 + 8;
                let time =
                    payload.get(TIME_AT..).and_then(|time| Reader::new(time).timestamp("").ok());
                self.lag = time.map(|committed| sent_at.since(committed)).or(self.lag);
            }
            Some(b'C') => {
                self.lag = self.open_since.take().map(|committed| sent_at.since(committed));
            }
            _ => {
                if let Some(committed) = self.open_since {
                    self.lag = Some(sent_at.since(committed));
                }
            }
        }
    }
}

impl Answer {
    fn row(&mut self, body: &[u8]) -> Result<(), SessionError> {
        let mut reader = Reader::new(body);
        let offset = self.bytes;
        self.bytes += body.len();
        if self.bytes > ANSWER_BYTES_MAX {
            let value = i64::try_from(self.bytes).unwrap_or(i64::MAX);
            return Err(DecodeError::Length { field: "answer", offset, value }.into());
        }
        let count = reader.u16("DataRow column count")?;
        let mut row = Vec::new();
        for _ in 0..count {
            let offset = reader.offset();
            row.push(match reader.i32("DataRow column length")? {
                -1 => None,
                length => {
                    let field = "DataRow column";
                    let length = usize::try_from(length).map_err(|_| DecodeError::Length {
                        field,
                        offset,
                        value: i64::from(length),
                    })?;
                    let text = std::str::from_utf8(reader.take(field, length)?)
                        .map_err(|_| DecodeError::NotUtf8 { field, offset })?;
                    Some(text.to_owned())
                }
            });
        }
        self.rows.push(row);
        Ok(())
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
