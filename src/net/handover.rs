//! A session that is already open, handed to `tokio_postgres`.
//!
//! `tokio_postgres` begins every session itself, with fewer ways to authenticate and fewer TLS
//! modes than are needed here, and lets nobody pin startup parameters. So [`Handover`] stands
//! between: it swallows the one startup message and plays back what the server had said when the
//! session became ready. From then on it is the bare socket.
//!
//! ```text
//! Opening ──startup message swallowed──► Replaying ──played back──► Open
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;
use super::startup::Ready;

#[derive(Debug)]
pub(super) struct Handover {
    socket: Socket,
    /// The start of the startup message, until its length is known.
    length: Vec<u8>,
    /// How much of the startup message is still to be swallowed, once its length is known.
    swallow: Option<usize>,
    /// What is still to be played back.
    replay: BytesMut,
}

impl Handover {
    /// Stand in front of `socket`, whose server has said `ready`, and then `unread`.
    pub(super) fn new(socket: Socket, ready: &Ready, unread: &[u8]) -> Self {
        let mut replay = BytesMut::new();
        put_message(&mut replay, b'R', &0_i32.to_be_bytes());
        for (name, value) in ready.parameters.iter() {
            let body = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat();
            put_message(&mut replay, b'S', &body);
        }
        let (pid, secret) = (ready.cancel_key.pid, ready.cancel_key.secret);
        put_message(&mut replay, b'K', &[pid.to_be_bytes(), secret.to_be_bytes()].concat());
        put_message(&mut replay, b'Z', b"I");
        replay.extend_from_slice(unread);
        Self { socket, length: Vec::with_capacity(4), swallow: None, replay }
    }

    /// How many of `bytes` belong to the startup message.
    fn swallowed(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        let left = match self.swallow {
            Some(left) => left,
            None => {
                taken = bytes.len().min(4 - self.length.len());
                self.length.extend_from_slice(&bytes[..taken]);
                match <[u8; 4]>::try_from(self.length.as_slice()) {
                    // The length counts itself.
                    Ok(length) => (u32::from_be_bytes(length) as usize).saturating_sub(4),
                    Err(_) => return taken,
                }
            }
        };
        let more = (bytes.len() - taken).min(left);
        self.swallow = Some(left - more);
        taken + more
    }
}

fn put_message(buffer: &mut BytesMut, tag: u8, body: &[u8]) {
    buffer.put_u8(tag);
    buffer.put_u32(body.len() as u32 + 4);
    buffer.put_slice(body);
}

impl AsyncRead for Handover {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.replay.has_remaining() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let count = self.replay.remaining().min(buffer.remaining());
        buffer.put_slice(&self.replay[..count]);
        self.replay.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Handover {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.swallow != Some(0) && !bytes.is_empty() {
            return Poll::Ready(Ok(self.swallowed(bytes)));
        }
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
