//! The conversation: what a server says means the same however it is cut, and whatever is asked in
//! between.
//!
//! The input is what the server sends. It is read as a stream, through session, streamed
//! transactions, assembler and encoder, once whole and once in pieces with batches closed and time
//! passing between them; and as the answer to a command.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use walcast::session::{Now, Output, Session, SessionError};
use walcast::testing::{Reading, ReadingError};
use walcast::wire::copy_both::frame_bytes;
use walcast::{Lsn, Timestamp};

use crate::steering::Steering;

/// Names of columns come back in every row of JSON: a longer input can be made to come to very
/// much of it.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// What a described column or a short message becomes in memory, for a byte on the wire.
const MEMORY_PER_BYTE: usize = 200;

/// The session gives a server up that is silent for an hour.
const SILENCE_MAX: Duration = Duration::from_secs(3000);

/// See the [module](self).
pub fn check(input: &[u8]) {
    if input.len() > INPUT_BYTES_MAX {
        return;
    }
    let mut whole = Reading::new(usize::MAX);
    let read = crate::bounded(input.len(), MEMORY_PER_BYTE, || whole.read(input));
    let read = read.and(whole.hand_out());
    if !describes_json(input) {
        events(whole.lines());
    }

    let mut steering = Steering::of(input);
    let mut pieces = Reading::new([100_000, 300_000, usize::MAX][steering.below(3)]);
    let pieced = in_pieces(&mut pieces, input, &mut steering);
    agree(read, whole.lines(), pieced, pieces.lines());
    answers(input, &mut steering);
}

/// Whether there may be columns of json, whose text is not parsed again.
fn describes_json(input: &[u8]) -> bool {
    input.windows(4).any(|bytes| {
        let number = u32::from_be_bytes(bytes.try_into().expect("windows of four"));
        crate::values::holds_json(number)
    })
}

/// Both come to the same. Where one ends in an error so does the other, but one may have handed
/// out more before it noticed.
pub(crate) fn agree(
    whole: Result<(), ReadingError>,
    whole_lines: &[u8],
    pieced: Result<(), ReadingError>,
    piece_lines: &[u8],
) {
    match (whole, pieced) {
        (Ok(()), Ok(())) => {
            let count = |lines| text(lines).lines().count();
            differ(whole_lines, piece_lines);
            assert_eq!(count(whole_lines), count(piece_lines), "lines whole and in pieces");
        }
        (whole, pieced) => {
            let unheld = matches!(pieced, Err(ReadingError::Unheld(_)));
            assert!(unheld || whole.is_err() == pieced.is_err(), "{whole:?} but {pieced:?}");
            differ(whole_lines, piece_lines);
        }
    }
}

/// The shorter one is the start of the longer one; shows the first line that is not.
fn differ(whole: &[u8], pieces: &[u8]) {
    for (at, (whole, pieces)) in text(whole).lines().zip(text(pieces).lines()).enumerate() {
        assert!(whole == pieces, "line {at} whole: {whole:.1000}\nand in pieces: {pieces:.1000}");
    }
}

fn text(lines: &[u8]) -> &str {
    std::str::from_utf8(lines).expect("lines of JSON are UTF-8")
}

/// Read `input` cut as `steering` says.
pub(crate) fn in_pieces(
    reading: &mut Reading,
    input: &[u8],
    steering: &mut Steering,
) -> Result<(), ReadingError> {
    let longest = 1 + steering.below(input.len().max(1));
    let (mut rest, mut written, mut waited) = (input, Lsn::new(0), Duration::ZERO);
    let mut result = Ok(());
    while !rest.is_empty() && result.is_ok() {
        let (piece, after) = rest.split_at(rest.len().min(1 + steering.below(longest)));
        rest = after;
        result = reading.read(piece);
        if steering.once_in(3) {
            result = result.and(reading.hand_out());
        }
        if waited < SILENCE_MAX && steering.once_in(4) {
            let time = Duration::from_millis(steering.below(20_000) as u64);
            waited += time;
            let sent = reading.pass(time).expect("an hour's silence is allowed");
            written = statuses(&sent, written);
        }
    }
    result.and(reading.hand_out())
}

/// Status updates never take back what they said, and nothing was ever confirmed.
fn statuses(sent: &Bytes, mut written: Lsn) -> Lsn {
    let mut rest = &sent[..];
    while let Ok(Some(length)) = frame_bytes(rest) {
        let (frame, after) = rest.split_at(length);
        rest = after;
        assert_eq!((length, frame[0], frame[5]), (39, b'd', b'r'));
        let position = |at: usize| {
            let bytes = frame[at..at + 8].try_into().expect("eight bytes");
            Lsn::new(u64::from_be_bytes(bytes))
        };
        assert!(position(6) >= written);
        written = position(6);
        assert_eq!((position(14), position(22)), (Lsn::new(0), Lsn::new(0)));
    }
    assert!(rest.is_empty());
    written
}

/// Each line is an event, and those of transactions rise. A changed table has the place of the
/// event that it is told before.
fn events(lines: &[u8]) {
    let mut before = (Lsn::new(0), 0);
    for line in text(lines).lines() {
        let event: Value = serde_json::from_str(line).expect("a line is one JSON value");
        if event["transactional"] == false {
            continue;
        }
        let commit = event["commit_lsn"].as_str().expect("it has a position");
        let at = (commit.parse().expect("an LSN"), event["seq"].as_u64().expect("a number"));
        assert!(at > before, "{at:?} after {before:?}");
        if event["op"] != "schema" {
            before = at;
        }
    }
}

/// The rows of a command's answer do not depend on how they come.
fn answers(input: &[u8], steering: &mut Steering) {
    let whole = crate::bounded(input.len(), MEMORY_PER_BYTE, || {
        answered(input, input.len().max(1), &mut Steering::of(&[]))
    });
    let longest = 1 + steering.below(input.len().max(1));
    assert_eq!(whole, answered(input, longest, steering));
}

fn answered(
    input: &[u8],
    longest: usize,
    steering: &mut Steering,
) -> (Vec<Output>, Option<SessionError>) {
    let mut session = Session::new();
    session.query("IDENTIFY_SYSTEM");
    let now = Now { elapsed: Duration::ZERO, wall: Timestamp::from_postgres_micros(0) };
    let (mut rest, mut unread, mut outputs) = (input, BytesMut::new(), Vec::new());
    while !rest.is_empty() {
        let length = if longest >= input.len() { rest.len() } else { 1 + steering.below(longest) };
        let (piece, after) = rest.split_at(rest.len().min(length));
        rest = after;
        unread.extend_from_slice(piece);
        loop {
            match session.handle_input(now, &mut unread) {
                Ok(Some(output)) => outputs.push(output),
                Ok(None) => break,
                Err(error) => return (outputs, Some(error)),
            }
        }
    }
    (outputs, None)
}
