//! SQL connections, to the same servers under the same rules as the replication connection.
//!
//! The session is begun by this crate and then handed to `tokio_postgres`, so that hosts, TLS,
//! authentication and pinned settings cannot differ between the two kinds of connection. What is
//! asked over it is for others to know.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

use super::config::ConnectConfig;
use super::connect::{self, Opened};
use super::endpoint::Endpoint;
use super::error::{ConnectError, Stage};
use super::handover::Handover;
use super::startup::{CancelKey, Purpose, ServerParameters};

/// How long a closed connection may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Connect for SQL.
///
/// Hosts, TLS, credentials and pinned settings are those of
/// [`connect_replication`](super::connect_replication): text output does not depend on role or
/// database, no timeout of the server ends a long statement, and `synchronous_commit` is `local`,
/// so that a pipeline that is its own synchronous standby never waits for itself. To go where the
/// replication connection went, connect with [`ConnectConfig::at`].
///
/// # Cancel safety
///
/// Dropping the future closes whatever it had opened; nothing else is lost.
pub async fn sql_connect(config: &ConnectConfig) -> Result<SqlClient, ConnectError> {
    let Opened { dialogue, ready } = connect::open(config, Purpose::Sql).await?;
    let endpoint = dialogue.at;
    let handshake = dialogue.socket.handshake();
    let handover = Handover::new(dialogue.socket, &ready, &dialogue.inbox);
    let mut handed = tokio_postgres::Config::new();
    // The server has heard who we are: this user name is never sent.
    handed.user(config.user()).ssl_mode(tokio_postgres::config::SslMode::Disable);
    let (client, connection) = handed
        .connect_raw(handover, NoTls)
        .await
        .map_err(|source| ConnectError::SqlClient { at: endpoint.clone(), source })?;
    let (ended, end) = watch::channel(None);
    let task = tokio::spawn(async move {
        let outcome = connection.await;
        ended.send_replace(Some(outcome.map_err(Arc::new)));
    });
    Ok(SqlClient {
        client,
        task: ConnectionTask(task),
        end,
        endpoint,
        handshake,
        parameters: ready.parameters,
        cancel_key: ready.cancel_key,
        config: config.clone(),
    })
}

/// How an SQL connection ended: closed by us, or the error that broke it.
pub type SqlEnd = Result<(), Arc<tokio_postgres::Error>>;

/// A [`tokio_postgres::Client`] with its connection's task, which ends with it.
pub struct SqlClient {
    client: tokio_postgres::Client,
    task: ConnectionTask,
    end: watch::Receiver<Option<SqlEnd>>,
    endpoint: Endpoint,
    handshake: Option<Duration>,
    parameters: ServerParameters,
    cancel_key: CancelKey,
    config: ConnectConfig,
}

/// Aborts the connection's task when dropped.
struct ConnectionTask(JoinHandle<()>);

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SqlClient {
    /// The server that it is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How long the TCP handshake took, where that is known.
    pub(crate) fn handshake(&self) -> Option<Duration> {
        self.handshake
    }

    /// What the server said of itself.
    pub fn parameters(&self) -> &ServerParameters {
        &self.parameters
    }

    /// The server process.
    pub fn pid(&self) -> i32 {
        self.cancel_key.pid
    }

    /// Wait until the connection has ended, and say how: a server that shuts down ends it with
    /// SQLSTATE 57P01. Waits as long as the connection lives.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is taken, and any number of callers may wait.
    pub async fn closed(&self) -> SqlEnd {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(Ok(())),
            // The task is gone without a word: it was aborted.
            Err(_) => Ok(()),
        }
    }

    /// Ask the server to end the command in progress. That it was heard does not mean that it was
    /// in time. Bounded by `connect_timeout`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may or may not have asked.
    pub async fn cancel(&self) -> Result<(), ConnectError> {
        cancel(&self.config, &self.endpoint, self.cancel_key).await
    }

    /// Say goodbye to the server and wait until it is sent, two seconds at most. A dropped client
    /// just closes the socket.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    pub async fn close(self) {
        let Self { client, mut task, .. } = self;
        drop(client);
        // Whether it could be said makes no difference any more.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, &mut task.0).await;
    }
}

impl Deref for SqlClient {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        &self.client
    }
}

impl DerefMut for SqlClient {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        &mut self.client
    }
}

impl std::fmt::Debug for SqlClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlClient")
            .field("endpoint", &self.endpoint)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

/// Ask the server at `endpoint` to end the command that the session of `key` runs. Bounded by
/// `connect_timeout`.
///
/// # Cancel safety
///
/// Dropping the future may or may not have asked.
pub async fn cancel(
    config: &ConnectConfig,
    endpoint: &Endpoint,
    key: CancelKey,
) -> Result<(), ConnectError> {
    let mut socket = connect::open_socket(config, endpoint, key.over_tls).await?;
    let mut request = bytes::BytesMut::new();
    postgres_protocol::message::frontend::cancel_request(key.pid, key.secret, &mut request);
    let after = config.attempt_timeout();
    let asked = async {
        socket.write_all(&request).await?;
        socket.flush().await?;
        // The server closes the connection once it has passed the request on, and says nothing.
        let mut nothing = [0; 1];
        match socket.read(&mut nothing).await {
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(()),
        }
    };
    match tokio::time::timeout(after, asked).await {
        Ok(asked) => asked.map_err(|error| ConnectError::broken(endpoint, Stage::Startup, error)),
        Err(_) => Err(ConnectError::Timeout { at: endpoint.clone(), stage: Stage::Startup, after }),
    }
}
