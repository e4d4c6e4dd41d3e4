//! A walsender session, ready for its first replication command.

use bytes::BytesMut;

use super::config::ConnectConfig;
use super::connect::{self, Opened};
use super::endpoint::Endpoint;
use super::error::ConnectError;
use super::socket::Socket;
use super::startup::{CancelKey, Purpose, ServerParameters};

/// A walsender session: authenticated, bound to a database, idle.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReplicationSocket {
    /// The connection.
    pub stream: Socket,
    /// What has been read from it and not been looked at; usually nothing.
    pub unread: BytesMut,
    /// What the server said of itself.
    pub parameters: ServerParameters,
    /// The server process, and what it takes to cancel its command.
    pub cancel_key: CancelKey,
    /// The server that it is connected to.
    pub endpoint: Endpoint,
}

/// Connect to a walsender of the database (`replication=database`).
///
/// Tries the hosts in order (or shuffled), each address for at most `connect_timeout`, and sets up
/// TLS and authenticates as the settings say. The session's settings are pinned: text output is
/// ISO, UTC, UTF-8 and shortest exact floats, and no timeout of the server ends a long command.
///
/// # Cancel safety
///
/// Dropping the future closes whatever it had opened; nothing else is lost.
pub async fn connect_replication(
    config: &ConnectConfig,
) -> Result<ReplicationSocket, ConnectError> {
    let Opened { dialogue, ready } = connect::open(config, Purpose::Replication).await?;
    Ok(ReplicationSocket {
        stream: dialogue.socket,
        unread: dialogue.inbox,
        parameters: ready.parameters,
        cancel_key: ready.cancel_key,
        endpoint: dialogue.at,
    })
}
