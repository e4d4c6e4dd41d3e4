//! The messages inside CopyData during CopyBoth.
//!
//! The server sends XLogData and primary keepalives, walcast answers with standby status updates:
//! [the streaming replication
//! protocol](https://www.postgresql.org/docs/current/protocol-replication.html). This file also
//! knows how a backend message is framed, so that a run of them can be walked without copying.

use bytes::{BufMut, BytesMut};

use super::{DecodeError, Reader};
use crate::lsn::Lsn;
use crate::timestamp::Timestamp;

/// Bytes of a backend message before its body: the tag and the length.
pub const FRAME_HEADER_BYTES: usize = 5;

/// The longest message a server builds: `MaxAllocSize`, plus the headers around it.
pub const FRAME_BYTES_MAX: usize = 0x3FFF_FFFF + 64;

/// The tag of CopyData.
pub const COPY_DATA: u8 = b'd';

/// Bytes of XLogData before its payload, the tag included.
pub const XLOG_DATA_HEADER_BYTES: usize = 25;

/// How long the backend message at the start of `bytes` is, tag and length included; `None` while
/// its header is incomplete.
#[inline]
pub fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
    let length = i32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    match usize::try_from(length) {
        Ok(length) if (4..FRAME_BYTES_MAX).contains(&length) => Ok(Some(length + 1)),
        _ => Err(DecodeError::Length {
            field: "message length",
            offset: 1,
            value: i64::from(length),
        }),
    }
}

/// What the server sends inside CopyData.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// A piece of the plugin's output.
    XLogData {
        /// Where in the log it comes from. pgoutput says 0/0 for messages without a place.
        start: Lsn,
        /// The server's end of log when it sent this; logical walsenders repeat `start`.
        end: Lsn,
        /// When it was sent.
        sent_at: Timestamp,
        /// The plugin's message.
        payload: &'a [u8],
    },
    /// A sign of life.
    Keepalive {
        /// Everything that commits before here has been sent.
        end: Lsn,
        /// When it was sent.
        sent_at: Timestamp,
        /// Whether a status update should go out at once.
        reply_requested: bool,
    },
}

impl<'a> ServerMessage<'a> {
    /// Read the body of a CopyData message.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        match reader.u8("CopyData tag")? {
            b'w' => Ok(Self::XLogData {
                start: reader.lsn("XLogData start")?,
                end: reader.lsn("XLogData end")?,
                sent_at: reader.timestamp("XLogData send time")?,
                payload: reader.rest(),
            }),
            b'k' => {
                let message = Self::Keepalive {
                    end: reader.lsn("keepalive end")?,
                    sent_at: reader.timestamp("keepalive send time")?,
                    reply_requested: reader.u8("keepalive reply flag")? != 0,
                };
                reader.finish("keepalive")?;
                Ok(message)
            }
            tag => Err(DecodeError::UnknownTag { field: "CopyData message", tag }),
        }
    }
}

/// What walcast reports to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandbyStatusUpdate {
    /// The end of what was received.
    pub write: Lsn,
    /// The end of what is durable: the slot follows this.
    pub flush: Lsn,
    /// The end of what a quorum of sinks has made durable.
    pub apply: Lsn,
    /// When this was sent, by our clock.
    pub sent_at: Timestamp,
    /// Whether the server should answer with a keepalive.
    pub reply_requested: bool,
}

impl StandbyStatusUpdate {
    /// Append the CopyData message to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(COPY_DATA);
        out.put_i32(4 + 1 + 3 * 8 + 8 + 1);
        out.put_u8(b'r');
        out.put_u64(self.write.as_u64());
        out.put_u64(self.flush.as_u64());
        out.put_u64(self.apply.as_u64());
        out.put_i64(self.sent_at.as_postgres_micros());
        out.put_u8(u8::from(self.reply_requested));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepalive_and_xlog_data_are_read() {
        let mut body = vec![b'k'];
        body.extend(7u64.to_be_bytes());
        body.extend(9i64.to_be_bytes());
        body.push(1);
        assert_eq!(
            ServerMessage::parse(&body),
            Ok(ServerMessage::Keepalive {
                end: Lsn::new(7),
                sent_at: Timestamp::from_postgres_micros(9),
                reply_requested: true
            })
        );
        for cut in 0..body.len() {
            assert!(ServerMessage::parse(&body[..cut]).is_err());
        }
        body.push(0);
        assert!(matches!(ServerMessage::parse(&body), Err(DecodeError::Trailing { .. })));
    }

    #[test]
    fn a_frame_length_is_checked_before_it_is_believed() {
        assert_eq!(frame_bytes(b"d\0\0\0"), Ok(None));
        assert_eq!(frame_bytes(b"d\0\0\0\x05x"), Ok(Some(6)));
        for length in [-1i32, 0, 3, i32::MAX] {
            let mut bytes = vec![b'd'];
            bytes.extend(length.to_be_bytes());
            assert!(frame_bytes(&bytes).is_err(), "{length}");
        }
    }

    #[test]
    fn a_status_update_has_the_documented_shape() {
        let mut out = BytesMut::new();
        StandbyStatusUpdate {
            write: Lsn::new(3),
            flush: Lsn::new(2),
            apply: Lsn::new(1),
            sent_at: Timestamp::from_postgres_micros(0),
            reply_requested: false,
        }
        .encode(&mut out);
        assert_eq!(frame_bytes(&out), Ok(Some(out.len())));
        assert_eq!(out[5], b'r');
        assert_eq!(out.len(), 39);
    }
}
