//! One message out, one message in: how the conversation before replication is held.
//!
//! Frames messages over a [`Socket`] and bounds their size; notices are logged and passed over.
//! What to say and what the answers mean is for `auth` and `startup`. How long to wait is for
//! `connect`, which puts a deadline around everything here.

use std::io;

use bytes::BytesMut;
use postgres_protocol::message::backend::{Header, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::endpoint::Endpoint;
use super::error::{ConnectError, Stage};
use super::socket::Socket;

/// The longest message that a server has a reason to send before replication begins.
const MESSAGE_BYTES_MAX: i32 = 64 * 1024;

pub(super) struct Dialogue {
    pub(super) socket: Socket,
    pub(super) at: Endpoint,
    /// What has come and is not read yet.
    pub(super) inbox: BytesMut,
}

impl Dialogue {
    pub(super) fn new(socket: Socket, at: Endpoint) -> Self {
        Self { socket, at, inbox: BytesMut::with_capacity(8 * 1024) }
    }

    /// Write a message that `encode` puts into the buffer.
    pub(super) async fn send(
        &mut self,
        encode: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), ConnectError> {
        let mut message = BytesMut::new();
        let written = match encode(&mut message) {
            Ok(()) => self.write(&message).await,
            Err(error) => Err(error),
        };
        written.map_err(|error| self.broken(error))
    }

    /// Wait for the next message that is not a notice.
    pub(super) async fn receive(&mut self) -> Result<Message, ConnectError> {
        loop {
            match self.buffered()? {
                Some(Message::NoticeResponse(body)) => {
                    log_notice(&self.at, &body);
                }
                Some(message) => return Ok(message),
                None => {
                    let read = self.socket.read_buf(&mut self.inbox).await;
                    if read.map_err(|error| self.broken(error))? == 0 {
                        return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    /// The error for a message that has no place here.
    pub(super) fn unexpected(&self, what: &'static str) -> ConnectError {
        self.violation(io::Error::new(io::ErrorKind::InvalidData, what))
    }

    pub(super) fn violation(&self, source: io::Error) -> ConnectError {
        ConnectError::Protocol { at: self.at.clone(), source }
    }

    async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        self.socket.write_all(message).await?;
        self.socket.flush().await
    }

    fn buffered(&mut self) -> Result<Option<Message>, ConnectError> {
        let header = Header::parse(&self.inbox).map_err(|error| self.violation(error))?;
        match header {
            Some(header) if header.len() > MESSAGE_BYTES_MAX => {
                Err(self.unexpected("a message is too long for this part of the conversation"))
            }
            _ => Message::parse(&mut self.inbox).map_err(|error| self.violation(error)),
        }
    }

    fn broken(&self, error: io::Error) -> ConnectError {
        ConnectError::broken(&self.at, Stage::Startup, error)
    }
}

fn log_notice(at: &Endpoint, body: &postgres_protocol::message::backend::NoticeResponseBody) {
    let notice = crate::wire::ServerError::from(body);
    tracing::debug!(server = %at, "{notice}");
}
