//! Frames as a server sent them: a walsender conversation over the Unix socket, with any options
//! that the plugin knows, whether walcast asks for them or not.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use walcast::Lsn;
use walcast::Timestamp;
use walcast::wire::copy_both::{ServerMessage, StandbyStatusUpdate, frame_bytes};

use super::story::LAST;
use crate::support::Primary;

/// As walcast has them: they decide what values look like in text.
const SETTINGS: &[(&str, &str)] = &[
    ("user", "postgres"),
    ("database", "postgres"),
    ("replication", "database"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("search_path", "pg_catalog, pg_temp"),
];

/// Everything that `slot` sends with these plugin options, whole CopyData messages as they came,
/// through the commit of the next last row.
pub(super) fn capture(primary: &Primary, slot: &str, options: &str) -> Vec<u8> {
    let mut walsender = Walsender::connect(primary);
    walsender.query(&format!("START_REPLICATION SLOT \"{slot}\" LOGICAL 0/0 ({options})"));
    assert_eq!(walsender.message()[0], b'W', "CopyBoth begins");
    let (mut frames, mut last_seen) = (Vec::new(), false);
    loop {
        let frame = walsender.message();
        assert_eq!(frame[0], b'd', "CopyData and nothing else: {frame:?}");
        frames.extend_from_slice(&frame);
        match ServerMessage::parse(&frame[5..]).unwrap() {
            ServerMessage::XLogData { payload, .. } => {
                last_seen |= payload.windows(LAST.len()).any(|part| part == LAST.as_bytes());
                if last_seen && payload[0] == b'C' {
                    return frames;
                }
            }
            ServerMessage::Keepalive { reply_requested, .. } => {
                if reply_requested {
                    walsender.reply();
                }
            }
        }
    }
}

struct Walsender {
    socket: UnixStream,
    input: BytesMut,
}

impl Walsender {
    fn connect(primary: &Primary) -> Walsender {
        let path = primary.socket_dir().join(format!(".s.PGSQL.{}", primary.port()));
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut walsender = Walsender { socket, input: BytesMut::new() };
        let mut startup = BytesMut::new();
        frontend::startup_message(SETTINGS.iter().copied(), &mut startup).unwrap();
        walsender.socket.write_all(&startup).unwrap();
        while walsender.message()[0] != b'Z' {}
        walsender
    }

    fn query(&mut self, command: &str) {
        let mut message = BytesMut::new();
        frontend::query(command, &mut message).unwrap();
        self.socket.write_all(&message).unwrap();
    }

    /// Nothing is confirmed, so that the slot can be read again.
    fn reply(&mut self) {
        let nothing = Lsn::new(0);
        let mut message = BytesMut::new();
        let sent_at = Timestamp::from_postgres_micros(0);
        StandbyStatusUpdate {
            write: nothing,
            flush: nothing,
            apply: nothing,
            sent_at,
            reply_requested: false,
        }
        .encode(&mut message);
        self.socket.write_all(&message).unwrap();
    }

    /// The next message of the server, whole.
    fn message(&mut self) -> BytesMut {
        loop {
            let length = frame_bytes(&self.input).unwrap();
            if let Some(length) = length.filter(|length| *length <= self.input.len()) {
                let message = self.input.split_to(length);
                if message[0] == b'E' {
                    panic!("the server refuses: {}", String::from_utf8_lossy(&message[5..]));
                }
                return message;
            }
            let mut piece = [0; 65536];
            let read = self.socket.read(&mut piece).unwrap();
            assert_ne!(read, 0, "the server hung up");
            self.input.extend_from_slice(&piece[..read]);
        }
    }
}
