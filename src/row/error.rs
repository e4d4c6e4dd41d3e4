//! Why a row could not be had as asked.

use std::error::Error as StdError;
use std::fmt;

use postgres_types::Type;

use crate::codec::TranscodeError;
use crate::codec::value::ValueError;
use crate::error::{Error, ErrorKind};
use crate::event::{Column, Relation};

/// A row, or a column of it, that is not what was asked for. It names table, column, the column's
/// type and the Rust type, never the value.
pub struct RowError(Box<Inner>);

struct Inner {
    table: String,
    column: Option<(String, Option<String>)>,
    rust_type: &'static str,
    fault: RowFault,
}

/// What is in the way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowFault {
    /// The table has no such column.
    #[error("there is no such column")]
    NoSuchColumn,
    /// The server did not send the value, because the change left it as it was. Ask for a
    /// [`Column`](crate::row::Column) where that may be.
    #[error("it is unchanged and was not sent; `Column<T>` tells this from NULL")]
    Unchanged,
    /// The old row has the columns of the replica identity alone.
    #[error("the server logged only the replica identity's columns of the old row")]
    NotLogged,
    /// It is NULL, and the Rust type has no place for that.
    #[error("it is NULL; `Option<T>` has a place for that")]
    Null,
    /// The Rust type does not read this type.
    #[error("the Rust type does not read values of this type")]
    WrongType,
    /// The type is not built in, and nobody said what it is.
    #[error("what type this is, is not known here; `Row::get_as` takes it")]
    UnknownType,
    /// The value came as text that could not be made into what the Rust type reads.
    #[error(transparent)]
    Transcode(#[from] TranscodeError),
    /// The value could not be shown as the Rust type wants it.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The Rust type refused the value.
    #[error(transparent)]
    Refused(Box<dyn StdError + Send + Sync>),
    /// The value or the row is not of the form that the Rust type has.
    #[error("{0}")]
    Form(Box<str>),
}

impl RowError {
    pub(super) fn of_column(
        relation: &Relation,
        column: &Column,
        rust_type: &'static str,
        fault: RowFault,
    ) -> Self {
        let type_name = match (&column.type_name, Type::from_oid(column.type_oid.as_u32())) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(known)) => Some(known.to_string()),
            (None, None) => Some(format!("type {}", column.type_oid)),
        };
        let column = Some((column.name.clone(), type_name));
        Self(Box::new(Inner { table: relation.to_string(), column, rust_type, fault }))
    }

    /// There is no column `name`.
    pub(super) fn no_such_column(
        relation: &Relation,
        name: String,
        rust_type: &'static str,
    ) -> Self {
        let (column, fault) = (Some((name, None)), RowFault::NoSuchColumn);
        Self(Box::new(Inner { table: relation.to_string(), column, rust_type, fault }))
    }

    pub(super) fn of_row(relation: &Relation, rust_type: &'static str, fault: RowFault) -> Self {
        Self(Box::new(Inner { table: relation.to_string(), column: None, rust_type, fault }))
    }

    /// The table, with its schema.
    pub fn table(&self) -> &str {
        &self.0.table
    }

    /// The column; `None` when the row as a whole does not fit.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_ref().map(|(name, _)| name.as_str())
    }

    /// The column's type, as PostgreSQL calls it.
    pub fn postgres_type(&self) -> Option<&str> {
        self.0.column.as_ref().and_then(|(_, type_name)| type_name.as_deref())
    }

    /// The Rust type that was asked for.
    pub fn rust_type(&self) -> &'static str {
        self.0.rust_type
    }

    /// What is in the way.
    pub fn fault(&self) -> &RowFault {
        &self.0.fault
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { table, column, rust_type, fault } = &*self.0;
        match column {
            Some((name, Some(of_type))) => write!(f, "column {name:?} ({of_type}) of {table}")?,
            Some((name, None)) => write!(f, "column {name:?} of {table}")?,
            None => write!(f, "a row of {table}")?,
        }
        write!(f, " as {rust_type}: {fault}")
    }
}

impl fmt::Debug for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowError({self})")
    }
}

impl StdError for RowError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.fault.source()
    }
}

impl From<RowError> for Error {
    fn from(error: RowError) -> Self {
        Error::permanent(ErrorKind::Value, error)
    }
}
