//! What a failed SQL statement means.

use crate::wire::{ServerError, SqlState};
use crate::{Error, ErrorKind};

/// An SQL statement of ours failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {action}: {reason}")]
pub struct SqlError {
    action: &'static str,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error(transparent)]
    Server(ServerError),
    #[error("{0}")]
    Client(tokio_postgres::Error),
    #[error("the server's answer lacks {0}")]
    Answer(&'static str),
}

impl SqlError {
    /// `action` failed because of `source`.
    pub fn new(action: &'static str, source: tokio_postgres::Error) -> Self {
        let reason = match source.as_db_error() {
            Some(error) => {
                let state = SqlState::new(error.code().code());
                let state = state.unwrap_or(SqlState::UNDEFINED_OBJECT);
                let mut server = ServerError::new(error.severity(), state, error.message());
                server.detail = error.detail().map(str::to_owned);
                server.hint = error.hint().map(str::to_owned);
                Reason::Server(server)
            }
            None => Reason::Client(source),
        };
        Self { action, reason }
    }

    /// `action` was answered without `what`.
    pub fn answer(action: &'static str, what: &'static str) -> Self {
        Self { action, reason: Reason::Answer(what) }
    }

    /// What the server said, if it refused.
    pub fn server_error(&self) -> Option<&ServerError> {
        match &self.reason {
            Reason::Server(error) => Some(error),
            Reason::Client(_) | Reason::Answer(_) => None,
        }
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        match &error.reason {
            Reason::Server(server) if server.is_transient() => {
                Error::transient(ErrorKind::Server, error)
            }
            Reason::Server(server) => {
                let kind = match server.sqlstate {
                    SqlState::INSUFFICIENT_PRIVILEGE => ErrorKind::Permission,
                    _ => ErrorKind::Server,
                };
                Error::permanent(kind, error)
            }
            Reason::Client(_) => Error::transient(ErrorKind::Connect, error),
            Reason::Answer(_) => Error::permanent(ErrorKind::Protocol, error),
        }
    }
}

/// Whether a connection ended because its server shuts down.
pub(crate) fn is_shutdown(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "57P01" | "57P02" | "57P03"))
}
