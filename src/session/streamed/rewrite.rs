//! Frames of a stream block as protocol 1 has them.

use std::collections::HashSet;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame;
use super::held::Commit;
use crate::lsn::Lsn;
use crate::wire::copy_both::{
    COPY_DATA, FRAME_HEADER_BYTES, ServerMessage, XLOG_DATA_HEADER_BYTES,
};
use crate::wire::{DecodeError, streaming::streamed_xid};

/// Where the message begins that a frame of output carries.
const PAYLOAD_AT: usize = FRAME_HEADER_BYTES + XLOG_DATA_HEADER_BYTES;
const XID_BYTES: usize = 4;

/// Take transaction ids out of `frames`, and the changes of `aborted` subtransactions. Whether any
/// change is left: a description of a table or type is none, and outlives every subtransaction.
pub(super) fn strip(frames: &mut Vec<u8>, aborted: &HashSet<u32>) -> Result<bool, DecodeError> {
    let (mut from, mut to, mut changes) = (0, 0, false);
    while from < frames.len() {
        let (length, message) = frame(&frames[from..])?;
        let (describes, xid) = match message {
            ServerMessage::XLogData { payload, .. } => {
                (matches!(payload.first(), Some(b'R' | b'Y')), streamed_xid(payload)?)
            }
            ServerMessage::Keepalive { .. } => (false, None),
        };
        let lives = |xid| describes || aborted.is_empty() || !aborted.contains(&xid);
        if xid.is_some_and(lives) {
            changes |= !describes;
            // The length a frame tells leaves its tag out.
            let told = u32::try_from(length - 1 - XID_BYTES).unwrap_or(u32::MAX);
            frames.copy_within(from..=from + PAYLOAD_AT, to);
            frames[to + 1..to + FRAME_HEADER_BYTES].copy_from_slice(&told.to_be_bytes());
            let rest = from + PAYLOAD_AT + 1 + XID_BYTES..from + length;
            frames.copy_within(rest, to + PAYLOAD_AT + 1);
            to += length - XID_BYTES;
        }
        from += length;
    }
    frames.truncate(to);
    Ok(changes)
}

/// Take the changes of `aborted` subtransactions out of `frames`, and nothing else.
pub(super) fn drop_aborted(frames: &mut Vec<u8>, aborted: &HashSet<u32>) {
    let (mut from, mut to) = (0, 0);
    while from < frames.len() {
        let Ok((length, message)) = frame(&frames[from..]) else { break };
        let lives = match message {
            ServerMessage::XLogData { payload, .. } => {
                matches!(payload.first(), Some(b'R' | b'Y'))
                    || !matches!(streamed_xid(payload), Ok(Some(xid)) if aborted.contains(&xid))
            }
            ServerMessage::Keepalive { .. } => true,
        };
        if lives {
            frames.copy_within(from..from + length, to);
            to += length;
        }
        from += length;
    }
    // What could not be read is for the delivery to refuse.
    frames.copy_within(from.., to);
    frames.truncate(to + frames.len() - from);
}

impl Commit {
    /// The Begin that protocol 1 would have sent, and what it says of the origin.
    pub(super) fn begin(&self, origin: Option<&Bytes>) -> Bytes {
        let mut payload = vec![b'B'];
        payload.put_u64(self.commit_lsn.as_u64());
        payload.put_i64(self.commit_time.as_postgres_micros());
        payload.put_u32(self.xid);
        let mut frames = output(self.commit_lsn, &payload);
        frames.extend_from_slice(origin.map_or(&[], |origin| origin));
        frames.freeze()
    }

    /// The Commit that protocol 1 would have sent.
    pub(super) fn commit(&self) -> Bytes {
        let mut payload = vec![b'C', 0];
        payload.put_u64(self.commit_lsn.as_u64());
        payload.put_u64(self.end_lsn.as_u64());
        payload.put_i64(self.commit_time.as_postgres_micros());
        output(self.commit_lsn, &payload).freeze()
    }

    /// What protocol 1 says of a transaction without changes: that the log was read past it.
    pub(super) fn nothing(&self) -> Bytes {
        log_read_to(self.end_lsn)
    }
}

/// What protocol 1 says where nothing is to be handed on: that the log was read up to `end`.
pub(super) fn log_read_to(end: Lsn) -> Bytes {
    let mut body = vec![b'k'];
    body.put_u64(end.as_u64());
    body.put_i64(0);
    body.put_u8(0);
    copy_data(&[&body]).freeze()
}

fn output(lsn: Lsn, payload: &[u8]) -> BytesMut {
    let mut header = vec![b'w'];
    header.put_u64(lsn.as_u64());
    header.put_u64(lsn.as_u64());
    header.put_i64(0);
    copy_data(&[&header, payload])
}

/// Messages of a few dozen bytes.
fn copy_data(parts: &[&[u8]]) -> BytesMut {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = BytesMut::with_capacity(FRAME_HEADER_BYTES + length);
    bytes.put_u8(COPY_DATA);
    bytes.put_u32(u32::try_from(length + 4).unwrap_or(u32::MAX));
    parts.iter().for_each(|part| bytes.put_slice(part));
    bytes
}
