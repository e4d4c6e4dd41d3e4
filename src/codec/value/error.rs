//! Why a value could not be written.
//!
//! Every error is a fact about one value: its type and what was wrong with its bytes. The bytes
//! themselves are never part of it, because they are somebody's data and errors end up in logs.
//! Which column and which change it was is for the caller to add.

use super::kind::ValueType;
use crate::codec::string::NotUtf8;
use crate::event::Value;

/// Why a value could not be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The server did not send the value: there is nothing to write, and it is not NULL.
    #[error("the value is unchanged and was not sent")]
    Unchanged,
    /// The bytes are not a value of the type.
    #[error("malformed {format} value of type {value_type}: {fault}")]
    Malformed {
        /// The type they should be of.
        value_type: ValueType,
        /// The form they came in.
        format: Format,
        /// What is wrong with them.
        fault: Fault,
    },
}

impl ValueError {
    pub(super) fn malformed(value_type: &ValueType, value: Value<'_>, fault: Fault) -> Self {
        let format = match value {
            Value::Binary(_) => Format::Binary,
            Value::Null | Value::Unchanged | Value::Text(_) => Format::Text,
        };
        Self::Malformed { value_type: value_type.clone(), format, fault }
    }
}

/// The form a value came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The type's text output.
    Text,
    /// The type's binary output.
    Binary,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Binary => "binary",
        })
    }
}

/// What is wrong with a malformed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Too few or too many bytes.
    #[error("wrong length")]
    Length,
    /// Text that is not UTF-8.
    #[error("not valid UTF-8")]
    Encoding,
    /// Not written the way the server writes the type.
    #[error("not in the server's output format")]
    Syntax,
    /// A number that the type does not have.
    #[error("out of range")]
    Range,
    /// A format version that is not known.
    #[error("unknown format version")]
    Version,
    /// Parts of a nested value that do not fit one another or their type.
    #[error("broken structure")]
    Structure,
    /// A part whose type has no decoder for this form here.
    #[error("no decoder for a part of it")]
    NoDecoder,
}

impl From<NotUtf8> for Fault {
    fn from(_: NotUtf8) -> Self {
        Self::Encoding
    }
}
