//! Why the PostgreSQL sink cannot go on.

use std::fmt;

use crate::codec::value::ValueError;
use crate::lsn::{Lsn, Position};
use crate::name::Timeline;
use crate::net::ConnectError;
use crate::sink::{SinkError, SinkErrorKind};
use crate::wire::{ServerError, SqlState};

/// Why changes could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresSinkError {
    /// The target could not be connected to.
    #[error("cannot connect to the target: {}", chain(.0))]
    Connect(ConnectError),
    /// The target refused something that is not a change.
    #[error("the target did not {action}: {said}")]
    Refused {
        /// What it was asked.
        action: &'static str,
        /// What it said.
        said: ServerError,
    },
    /// The connection broke.
    #[error("lost the connection to the target: {}", chain(.0))]
    Broken(tokio_postgres::Error),
    /// The target refused a change.
    #[error("{change}: {said}")]
    Change {
        /// Which one.
        change: Box<FailedChange>,
        /// What the target said.
        said: ServerError,
    },
    /// The target refused the end of a transaction: a deferred constraint.
    #[error("commit of the transaction at {commit_lsn}: {said}")]
    Commit {
        /// The transaction of the source.
        commit_lsn: Lsn,
        /// What the target said.
        said: ServerError,
    },
    /// The target refused several transactions together; they come again one by one.
    #[error("changes up to the commit at {through} are applied one by one, for together {why}")]
    Together {
        /// The commit of the last one.
        through: Lsn,
        /// What was wrong with them.
        why: Together,
    },
    /// An update or delete did not find the one row it is about.
    #[error(
        "{change}: the target has {found} such rows where the source had one: its rows were changed \
         by somebody else, or it was not loaded from the point the slot begins at"
    )]
    Rows {
        /// Which change.
        change: Box<FailedChange>,
        /// How many rows it found.
        found: u64,
    },
    /// The target lacks the table.
    #[error("{change}: the target has no such table; create it with the source's definition")]
    TableMissing {
        /// The first change of it.
        change: Box<FailedChange>,
    },
    /// What has the table's name is not a table.
    #[error("{change}: what the target has under this name is no table")]
    NoTable {
        /// The first change of it.
        change: Box<FailedChange>,
    },
    /// The target's table lacks a column.
    #[error("{change}: the target's table has no column {column}; add it with the source's type")]
    ColumnMissing {
        /// The first change that has it.
        change: Box<FailedChange>,
        /// The column.
        column: String,
    },
    /// The change does not say which row it is about.
    #[error("{change}: the source sent no value of its key column {column}")]
    KeyMissing {
        /// Which change.
        change: Box<FailedChange>,
        /// The column.
        column: String,
    },
    /// A value could not be read to be written as another type.
    #[error("{change}: column {column}: {fault}")]
    Value {
        /// Which change.
        change: Box<FailedChange>,
        /// The column.
        column: String,
        /// Why.
        fault: ValueError,
    },
    /// Another applier has taken over.
    #[error(
        "another applier has taken over {key}: the row in walcast.progress is not of this one any \
         more; run only one, or give them different sink names"
    )]
    Fenced {
        /// Which progress.
        key: String,
    },
    /// The target holds changes that this source never had.
    #[error(
        "the target holds changes up to {end} of timeline {}, which the source left before that: \
         load it anew from a snapshot", timeline.as_u32()
    )]
    Diverged {
        /// Where the target stands.
        end: Lsn,
        /// On which timeline.
        timeline: Timeline,
    },
    /// A right is missing.
    #[error("the target did not {action}: {said}; as its owner or a superuser: {fix}")]
    NotPermitted {
        /// What it was asked.
        action: &'static str,
        /// What it said.
        said: ServerError,
        /// What grants the right.
        fix: String,
    },
    /// The sink was used without being opened.
    #[error("the sink is not open")]
    NotOpen,
}

/// Why changes could not be applied together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Together {
    /// The target refused them.
    #[error("they were refused: {0}")]
    Said(ServerError),
    /// Some rows were not found.
    #[error("they found {0} rows only")]
    Found(u64),
    /// A value could not be read to be written as another type.
    #[error("they have a value that cannot be read")]
    Unreadable,
}

/// The change that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedChange {
    /// What it does: `insert into`, `update of`, `delete from`, `truncate of`.
    pub operation: &'static str,
    /// The source's table.
    pub table: String,
    /// The row, by its key's columns and values; empty where there is no key.
    pub key: String,
    /// The change's identity.
    pub position: Position,
    /// Where it lies in the source's log.
    pub lsn: Lsn,
}

impl fmt::Display for FailedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, table, key, position, lsn } = self;
        write!(f, "{operation} {table}")?;
        if !key.is_empty() {
            write!(f, " ({key})")?;
        }
        write!(f, " at {lsn}")?;
        match position {
            Position::Logged { commit_lsn, index } => {
                write!(f, ", change {index} of the transaction at {commit_lsn}")
            }
            Position::Read { .. } => Ok(()),
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// What the server said, if it said something.
pub(super) fn refusal(error: &tokio_postgres::Error) -> Option<ServerError> {
    let error = error.as_db_error()?;
    // Codes of extensions are of the same form; a server that sends none says nothing we know.
    let state = SqlState::new(error.code().code()).unwrap_or(SqlState::UNDEFINED_OBJECT);
    let mut server = ServerError::new(error.severity(), state, error.message());
    server.detail = error.detail().map(str::to_owned);
    server.hint = error.hint().map(str::to_owned);
    Some(server)
}

/// The target failed to do what has nothing to do with a single change.
pub(super) fn failed(action: &'static str, error: tokio_postgres::Error) -> SinkError {
    match refusal(&error) {
        None => SinkError::unavailable(PostgresSinkError::Broken(error)),
        Some(said) => {
            let kind = kind_of(&said);
            SinkError::new(kind, PostgresSinkError::Refused { action, said })
        }
    }
}

/// What to make of a refusal that is of no change.
pub(super) fn kind_of(said: &ServerError) -> SinkErrorKind {
    // A target that is a standby now will be a primary again: 25006.
    if said.is_transient() || said.sqlstate.as_str() == "25006" {
        SinkErrorKind::Unavailable
    } else {
        SinkErrorKind::Fatal
    }
}
