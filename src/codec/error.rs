//! Why a change could not be put into a sink's format.

use crate::codec::value::ValueError;
use crate::lsn::Position;

/// A change that cannot be encoded. It names the change and the column, never the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the change at {} of {table}{} cannot be written: {fault}", place(.position), at(.column))]
pub struct EncodeError {
    /// Which change; of one that has not committed, where it lies in the log and its ordinal.
    pub position: Position,
    /// Its table, with the schema.
    pub table: String,
    /// The column; empty when it is none of them.
    pub column: String,
    /// What is wrong with it.
    #[source]
    pub fault: EncodeFault,
}

/// What is wrong with a column's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeFault {
    /// The value cannot be written.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The row's identity is not known: the server left the key column out as unchanged and logged
    /// no old row.
    #[error("a key column was neither sent nor logged")]
    KeyUnknown,
    /// NaN or an infinity where the format has decimal numbers only.
    #[error(
        "NaN and the infinities are no precise decimal: let decimals be written as string or double"
    )]
    NotADecimal,
    /// The format knows changes that have committed alone.
    #[error("it has not committed, and the format has no form for such: use the native JSON")]
    Uncommitted,
}

fn at(column: &str) -> String {
    match column {
        "" => String::new(),
        column => format!(", column {column:?},"),
    }
}

fn place(position: &Position) -> String {
    match position {
        Position::Logged { commit_lsn, index } => format!("{commit_lsn}:{index}"),
        Position::Read { point, chunk, index } => format!("{point}:{chunk}:{index}"),
    }
}
