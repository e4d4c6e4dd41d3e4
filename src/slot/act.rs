//! What can be done to a slot: make it, drop it, move it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::blockers;
use crate::Result;
use crate::lsn::Lsn;
use crate::name::SlotName;
use crate::net::{CommandError, SlotKind, SqlClient, SqlError, Walsender};
use crate::stream::StreamError;
use crate::wire::SqlState;

/// How long to wait between two looks at a slot that is being let go.
const PAUSE: Duration = Duration::from_millis(20);

/// Make a logical slot for `pgoutput` and say where it begins.
///
/// The server waits for every transaction that runs, `limit` at most; `sql` is asked which.
///
/// # Errors
/// [`StreamError::SlotWaits`] past the limit; no slot is left behind then.
///
/// # Cancel safety
/// Dropping the future may or may not have made the slot; drop the walsender too.
pub async fn create_slot(
    sql: &SqlClient,
    walsender: &mut Walsender,
    slot: &SlotName,
    kind: SlotKind,
    limit: Duration,
) -> Result<Lsn> {
    match walsender.create_slot(slot, kind, limit).await {
        Ok(made) => {
            tracing::info!(%slot, point = %made.consistent_point, "slot made");
            Ok(made.consistent_point)
        }
        Err(CommandError::Timeout { .. }) => {
            // Cancelled, the server takes the half-made slot back by itself.
            walsender.cancel().await?;
            let blockers = blockers(sql).await?;
            let blockers: Vec<String> = blockers.iter().map(ToString::to_string).collect();
            Err(StreamError::SlotWaits {
                slot: slot.clone(),
                seconds: limit.as_secs(),
                blockers: blockers.join("; "),
            }
            .into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Drop `slot`, which nobody may use.
///
/// # Cancel safety
/// Dropping the future may or may not have dropped the slot.
pub async fn drop_slot(client: &Client, slot: &SlotName) -> Result<(), SqlError> {
    client
        .execute("select pg_drop_replication_slot($1::text::name)", &[&slot.as_str()])
        .await
        .map(drop)
        .map_err(|error| SqlError::new("drop the slot", error))
}

/// End whoever uses `slot`, as often as someone comes back within `limit`, and drop it.
///
/// # Errors
/// [`StreamError::SlotActive`] when it was taken again and again until the limit.
///
/// # Cancel safety
/// Dropping the future may or may not have ended sessions and dropped the slot.
pub async fn drop_slot_in_use(client: &Client, slot: &SlotName, limit: Duration) -> Result<()> {
    let begin = Instant::now();
    loop {
        let ended = client
            .query_opt(
                "select active_pid, pg_terminate_backend(active_pid) from pg_replication_slots
                 where slot_name = $1 and active_pid is not null",
                &[&slot.as_str()],
            )
            .await
            .map_err(|error| SqlError::new("end the session that uses the slot", error))?;
        let error = match drop_slot(client, slot).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error.server_error().map(|error| error.sqlstate) {
            // A temporary slot goes with the session.
            Some(SqlState::UNDEFINED_OBJECT) if ended.is_some() => return Ok(()),
            Some(SqlState::OBJECT_IN_USE) if begin.elapsed() < limit => {}
            Some(SqlState::OBJECT_IN_USE) => {
                let pid = ended.map(|row| row.get(0));
                return Err(StreamError::SlotActive { slot: slot.clone(), pid }.into());
            }
            _ => return Err(error.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Move `slot` forward to `upto` without reading what lies between, which is lost to it. Returns
/// where it stands then.
///
/// # Cancel safety
/// Dropping the future may or may not have moved the slot.
pub async fn advance_slot(client: &Client, slot: &SlotName, upto: Lsn) -> Result<Lsn, SqlError> {
    const ACTION: &str = "advance the slot";
    let row = client
        .query_one(
            "select end_lsn::text from pg_replication_slot_advance($1::text::name, $2::text::pg_lsn)",
            &[&slot.as_str(), &upto.to_string()],
        )
        .await
        .map_err(|error| SqlError::new(ACTION, error))?;
    let text: &str = row.get(0);
    text.parse().map_err(|_| SqlError::answer(ACTION, "an LSN"))
}
