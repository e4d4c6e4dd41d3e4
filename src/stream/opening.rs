//! A connection that is being opened, and where it goes on.
//!
//! The opening runs as a task of its own, so that it goes on while nobody polls the stream, and is
//! given up with whoever waits for it. Only the first one is tried again here, and only for what is
//! known to pass; later ones are the stream's own affair.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::connection::{Attempt, Connection};
use super::early::EarlyConsumer;
use super::error::StreamError;
use crate::budget::Budget;
use crate::event::RelationVersions;
use crate::lsn::Lsn;
use crate::name::ServerIdentity;
use crate::{ErrorKind, Result};

/// The first wait before connecting again.
pub(super) const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// How long a server that is starting may take before the first connection.
const STARTUP_WAIT: Duration = Duration::from_secs(60);

/// Where a stream goes on, and what it may use.
#[derive(Debug)]
pub(crate) struct StreamStartPoint {
    /// What was confirmed before.
    pub(crate) confirmed: Option<Lsn>,
    /// What a quorum had made durable, where that may be less than what was confirmed.
    pub(crate) applied: Option<Lsn>,
    /// Of which server, and up to where something was delivered.
    pub(crate) reached: Option<(ServerIdentity, Lsn)>,
    /// The versions of tables in force at what was confirmed.
    pub(crate) versions: RelationVersions,
    /// The bound on bytes in flight.
    pub(crate) budget: Budget,
    /// Where the wire task runs.
    pub(crate) runtime: Handle,
    /// Who leaves out at its commit what was given early.
    pub(crate) early: EarlyConsumer,
}

/// The first connection: what is in the way is told at once, but for a server that is starting and
/// a slot whose last user may be on its way out.
pub(super) async fn first_connection(runtime: &Handle, attempt: Attempt) -> Result<Connection> {
    let begin = Instant::now();
    let mut backoff = Backoff::new(BACKOFF_FIRST, Duration::from_secs(1));
    loop {
        let opening = AbortOnDrop(runtime.spawn(attempt.clone().open()));
        let error = match opening.join().await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let starting = error
            .downcast_ref::<crate::net::ConnectError>()
            .is_some_and(|error| matches!(error, crate::net::ConnectError::NotAccepting { .. }));
        let patience = match error.kind() {
            ErrorKind::SlotInUse if error.is_transient() => attempt.source.slot_wait,
            _ if starting => STARTUP_WAIT,
            _ => return Err(error),
        };
        let wait = backoff.next();
        if begin.elapsed() + wait > patience {
            return Err(error);
        }
        if backoff.tries() == 1 {
            tracing::warn!(%error, ?patience, "waiting");
        }
        tokio::time::sleep(wait).await;
    }
}

/// A connection being opened, given up when dropped.
#[derive(Debug)]
pub(super) struct AbortOnDrop(pub(super) JoinHandle<Result<Connection>>);

impl AbortOnDrop {
    async fn join(mut self) -> Result<Connection> {
        let joined = (&mut self.0).await;
        joined.unwrap_or_else(|_| Err(StreamError::TaskEnded.into()))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
