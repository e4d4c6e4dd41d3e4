//! What the server says of our slot, over a connection of its own.

use std::time::Duration;

use super::lag::ServerPosition;
use crate::lsn::Lsn;
use crate::name::SlotName;
use crate::net::{ConnectConfig, SqlClient, SqlError, sql_connect};
use crate::slot::{SlotStatus, slot_status};
use crate::{Error, ErrorKind, Result};

/// How long the server may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks a server, keeping the connection.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    client: Option<SqlClient>,
}

/// What it said.
#[derive(Debug, Clone)]
pub(crate) struct Probed {
    pub(crate) slot: Option<SlotStatus>,
    pub(crate) position: ServerPosition,
    pub(crate) in_recovery: bool,
}

/// The probe took too long.
#[derive(Debug, thiserror::Error)]
#[error("the server did not answer within {} s", .0.as_secs())]
struct TooLate(Duration);

impl Probe {
    /// Ask about `slot`.
    pub(crate) async fn ask(&mut self, config: &ConnectConfig, slot: &SlotName) -> Result<Probed> {
        let asked = tokio::time::timeout(PROBE_TIMEOUT, self.look(config, slot)).await;
        let asked = asked
            .unwrap_or_else(|_| Err(Error::transient(ErrorKind::Connect, TooLate(PROBE_TIMEOUT))));
        if asked.is_err() {
            self.client = None;
        }
        asked
    }

    async fn look(&mut self, config: &ConnectConfig, slot: &SlotName) -> Result<Probed> {
        let client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            _ => sql_connect(config).await?,
        };
        let client = self.client.insert(client);
        let status = slot_status(client, slot).await?;
        let row = client
            .query_one(
                "select pg_is_in_recovery(), (select sent_lsn::text from pg_stat_replication
                   where pid = $1 and state = 'streaming')",
                &[&status.as_ref().and_then(|status| status.active_pid)],
            )
            .await
            .map_err(|error| SqlError::new("read pg_stat_replication", error))?;
        let sent: Option<&str> = row.get(1);
        let end = status.as_ref().and_then(|status| status.server_lsn);
        // A walsender that has not been given the processor since the last commit still calls
        // itself caught up: only one that has read up to the end is.
        let sent = sent.and_then(|sent| sent.parse::<Lsn>().ok());
        let caught_up_at = sent.filter(|sent| end.is_some_and(|end| *sent >= end));
        let position = ServerPosition { end, caught_up_at };
        Ok(Probed { position, in_recovery: row.get(0), slot: status })
    }
}
