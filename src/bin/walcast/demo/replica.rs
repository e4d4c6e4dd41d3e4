//! A second PostgreSQL as a sink: every transaction is applied by key, in one transaction that also
//! stores how far it has come. So what arrives twice is applied once, whatever is killed when.
//!
//! Enough for the demo and no more: tables need a primary key as their replica identity, and every
//! update and delete has to find exactly one row, or the sink gives up rather than hide it.

use std::fmt::Write as _;

use tokio_postgres::SimpleQueryMessage;
use walcast::event::{Batch, Change, Event, Operation, Relation, ReplicaIdentity, Row, Value};
use walcast::net::{ConnectConfig, SqlClient, sql_connect};
use walcast::sink::{OpenContext, Resume, Sink, SinkError, SinkErrorKind};
use walcast::{Lsn, Position, quote_identifier, quote_literal};

/// What this sink keeps beside the shop's tables.
const PROGRESS: &str =
    "create table if not exists walcast_progress (slot text primary key, end_lsn pg_lsn not null)";
/// Statements are sent when there are this many bytes of them.
const SEND_BYTES: usize = 128 * 1024;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ReplicaSink {
    connect: ConnectConfig,
    open: Option<Open>,
}

/// A session that nobody else has beside us.
#[derive(Debug)]
struct Open {
    sql: SqlClient,
    slot: String,
    /// Whole transactions, not sent yet.
    whole: Statements,
    /// The transaction whose Commit has not come.
    part: Statements,
}

/// SQL text, and how many rows each of its statements has to touch, where that is known.
#[derive(Debug, Default)]
struct Statements {
    text: String,
    rows: Vec<Option<u64>>,
}

#[derive(Debug, thiserror::Error)]
enum ReplicaError {
    #[error("the sink is not open")]
    NotOpen,
    #[error("table {0} needs a primary key as its replica identity")]
    NoKey(String),
    #[error("a value of table {0} came in binary, which this sink does not read")]
    Binary(String),
    #[error("a statement touched {touched} rows instead of {wanted}: the target has other rows")]
    OtherRows { touched: u64, wanted: u64 },
}

impl ReplicaSink {
    /// A sink that applies to the database that `connect` leads to.
    pub(super) fn new(connect: ConnectConfig) -> Self {
        Self { connect, open: None }
    }

    fn opened(&mut self) -> Result<&mut Open, SinkError> {
        self.open.as_mut().ok_or_else(|| SinkError::fatal(ReplicaError::NotOpen))
    }
}

impl Sink for ReplicaSink {
    async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        self.open = None;
        let sql = sql_connect(&self.connect).await.map_err(SinkError::unavailable)?;
        sql.batch_execute("set search_path = public").await.map_err(SinkError::unavailable)?;
        let slot = context.slot.to_string();
        // The session of a killed predecessor holds the lock until its last COMMIT has landed or
        // not.
        let lock = "select pg_advisory_lock(hashtext($1::text))";
        sql.execute(lock, &[&slot]).await.map_err(SinkError::unavailable)?;
        sql.batch_execute(PROGRESS).await.map_err(SinkError::unavailable)?;
        let stored = sql
            .query_opt("select end_lsn::text from walcast_progress where slot = $1", &[&slot])
            .await
            .map_err(SinkError::unavailable)?;
        let at = match stored {
            Some(row) => row.get::<_, &str>(0).parse().map_err(SinkError::fatal)?,
            None => Lsn::new(0),
        };
        let (whole, part) = (Statements::default(), Statements::default());
        self.open = Some(Open { sql, slot, whole, part });
        Ok(Resume::After(at))
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        let open = self.opened()?;
        for event in batch.events() {
            open.take(event)?;
        }
        if open.whole.text.len() >= SEND_BYTES { open.send().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        self.opened()?.send().await
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        if let Some(open) = self.open.take() {
            open.sql.close().await;
        }
        Ok(())
    }
}

impl Open {
    fn take(&mut self, event: Event<'_>) -> Result<(), SinkError> {
        match event {
            Event::Begin(_) => {
                self.part = Statements::default();
                self.part.add(format_args!("begin"), None);
            }
            Event::Change(change) => self.part.change(change)?,
            Event::Truncate(truncate) => {
                let table = table(truncate.relation());
                let cascade = if truncate.cascade() { " cascade" } else { "" };
                self.part.add(format_args!("truncate {table}{cascade}"), None);
            }
            Event::Commit(transaction) => {
                if let Some(end) = transaction.end_lsn() {
                    let slot = quote_literal(&self.slot);
                    self.part.add(
                        format_args!(
                            "insert into walcast_progress values ({slot}, '{end}')
                             on conflict (slot) do update set end_lsn = excluded.end_lsn"
                        ),
                        Some(1),
                    );
                }
                self.part.add(format_args!("commit"), None);
                self.whole.append(&mut self.part);
            }
            _ => {}
        }
        Ok(())
    }

    /// Have what is whole applied. A part stays: it is proven with its Commit, and not before.
    async fn send(&mut self) -> Result<(), SinkError> {
        let Statements { text, rows } = std::mem::take(&mut self.whole);
        if text.is_empty() {
            return Ok(());
        }
        let answers = self.sql.simple_query(&text).await.map_err(refused)?;
        let touched = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        for (touched, wanted) in touched.zip(rows) {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != touched) {
                return Err(SinkError::fatal(ReplicaError::OtherRows { touched, wanted }));
            }
        }
        Ok(())
    }
}

impl Statements {
    fn add(&mut self, statement: std::fmt::Arguments<'_>, rows: Option<u64>) {
        // Writing to a text cannot fail; so below.
        let _ = writeln!(self.text, "{statement};");
        self.rows.push(rows);
    }

    fn append(&mut self, other: &mut Self) {
        self.text.push_str(&other.text);
        self.rows.append(&mut other.rows);
        other.text.clear();
    }

    fn change(&mut self, change: Change<'_>) -> Result<(), SinkError> {
        let relation = change.relation();
        let table = table(relation);
        let rejected =
            |error: ReplicaError| SinkError::new(SinkErrorKind::Rejected(position(change)), error);
        let (new, old) = (change.new_row(), change.old_row());
        if change.operation() == Operation::Insert {
            let Some(new) = new else { return Ok(()) };
            let columns: Vec<_> =
                new.iter().map(|(column, _)| quote_identifier(&column.name)).collect();
            let values = new.iter().map(|(_, value)| literal(relation, value));
            let values = values.collect::<Result<Vec<_>, _>>().map_err(rejected)?;
            let (columns, values) = (columns.join(", "), values.join(", "));
            let statement = format_args!(
                "insert into {table} ({columns}) overriding system value values ({values})"
            );
            self.add(statement, Some(1));
            return Ok(());
        }
        let identified = old.map(|old| old.row()).or(new);
        let condition = identified.map(|row| key_of(relation, row)).transpose();
        let Some(condition) = condition.map_err(rejected)? else { return Ok(()) };
        match new {
            None => self.add(format_args!("delete from {table} where {condition}"), Some(1)),
            Some(new) => {
                // What the server left out is not touched.
                let sent = new.iter().filter(|(_, value)| !value.is_unchanged());
                let set = sent.map(|(column, value)| {
                    Ok(format!(
                        "{} = {}",
                        quote_identifier(&column.name),
                        literal(relation, value)?
                    ))
                });
                let set = set.collect::<Result<Vec<_>, _>>().map_err(rejected)?.join(", ");
                self.add(format_args!("update {table} set {set} where {condition}"), Some(1));
            }
        }
        Ok(())
    }
}

fn position(change: Change<'_>) -> Position {
    change.position()
}

fn table(relation: &Relation) -> String {
    format!("{}.{}", quote_identifier(&relation.schema), quote_identifier(&relation.name))
}

/// What identifies `row`.
fn key_of(relation: &Relation, row: Row<'_>) -> Result<String, ReplicaError> {
    let by_key =
        matches!(relation.replica_identity, ReplicaIdentity::Default | ReplicaIdentity::Index);
    let key = row.iter().filter(|(column, _)| column.in_identity);
    let parts = key.map(|(column, value)| match value {
        Value::Null | Value::Unchanged => Err(ReplicaError::NoKey(relation.to_string())),
        value => Ok(format!("{} = {}", quote_identifier(&column.name), literal(relation, value)?)),
    });
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    if !by_key || parts.is_empty() {
        return Err(ReplicaError::NoKey(relation.to_string()));
    }
    Ok(parts.join(" and "))
}

fn literal(relation: &Relation, value: Value<'_>) -> Result<String, ReplicaError> {
    match value {
        Value::Text(text) => Ok(quote_literal(&String::from_utf8_lossy(text)).to_string()),
        Value::Null => Ok("null".to_owned()),
        Value::Unchanged => Ok("default".to_owned()),
        Value::Binary(_) => Err(ReplicaError::Binary(relation.to_string())),
    }
}

/// What the target will not take now it will not take later, unless it is busy or gone.
fn refused(error: tokio_postgres::Error) -> SinkError {
    let class = error.code().map(|code| code.code().get(..2).unwrap_or_default().to_owned());
    match class.as_deref() {
        None | Some("08" | "40" | "53" | "55" | "57") => SinkError::unavailable(error),
        Some(_) => SinkError::fatal(error),
    }
}
