//! Logical messages: what a program says in the log beside its rows.
//!
//! [`emit`] writes one through any SQL session. A stream that [asks for
//! them](crate::Source::messages) hands it out in its place between the changes. Nothing is kept of
//! it in any table: an outbox without a table to clean up.

use tokio_postgres::GenericClient;

use crate::lsn::Lsn;
use crate::net::SqlError;

/// Whether a message belongs to the transaction that it is emitted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Emit {
    /// It is handed out with the transaction, between its changes, if that commits.
    InTransaction,
    /// It is handed out by itself, as soon as it is in the log, whatever becomes of the
    /// transaction. It is safe from a crash of the server once anything after it has committed.
    AtOnce,
}

/// Write a logical message with `prefix` into the log through `client`, which may be a transaction;
/// where it lies.
///
/// ```no_run
/// # async fn example(client: &mut tokio_postgres::Client) -> walcast::Result<()> {
/// use walcast::message::{Emit, emit};
/// # let failed = |error| walcast::Error::permanent(walcast::ErrorKind::Server, error);
/// let order = client.transaction().await.map_err(failed)?;
/// emit(&order, "outbox", br#"{"ordered":7}"#, Emit::InTransaction).await?;
/// order.commit().await.map_err(failed)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the server says, as for any statement.
///
/// # Cancel safety
/// Dropping the future may or may not have emitted it.
pub async fn emit(
    client: &impl GenericClient,
    prefix: &str,
    content: &[u8],
    when: Emit,
) -> Result<Lsn, SqlError> {
    const ACTION: &str = "emit a logical message";
    let transactional = when == Emit::InTransaction;
    let query = "select pg_logical_emit_message($1, $2, $3::bytea)::text";
    let row = client.query_one(query, &[&transactional, &prefix, &content]).await;
    let row = row.map_err(|error| SqlError::new(ACTION, error))?;
    let at: Option<&str> = row.get(0);
    let at = at.and_then(|at| at.parse().ok());
    at.ok_or_else(|| SqlError::answer(ACTION, "the message's LSN"))
}
