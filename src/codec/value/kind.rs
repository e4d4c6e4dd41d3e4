//! What kinds of values have a decoder here.
//!
//! A [`ValueType`] is found once per column and is `Copy`, so that writing a value costs no
//! look-up. Several server types share one kind where their values look alike (text, varchar,
//! char(n), name). A type without a decoder keeps its object identifier in [`ValueType::Other`]:
//! its text can still be shown, its binary form cannot be read.

use std::fmt;

use crate::event::Oid;

/// How a column's values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueType {
    /// A single value.
    Scalar(Scalar),
    /// An array, of any number of dimensions, of such values.
    Array(Scalar),
    /// A type without a decoder: shown as its text.
    Other(Oid),
}

impl ValueType {
    /// Whether the type's binary output can be read. Where it cannot, the connection asks for text.
    pub const fn has_binary_decoder(self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl From<Scalar> for ValueType {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => f.write_str(scalar.name()),
            Self::Array(element) => write!(f, "{}[]", element.name()),
            Self::Other(oid) => write!(f, "type {oid}"),
        }
    }
}

/// A kind of single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scalar {
    /// `boolean`.
    Bool,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `oid`: a number whose JSON is a string, as the server's is.
    Oid,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `numeric`.
    Numeric,
    /// `text`, `varchar`, `char(n)`, `name`, `unknown`.
    Text,
    /// `"char"`: one byte.
    Char,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
    /// `time without time zone`.
    Time,
    /// `time with time zone`.
    TimeTz,
    /// `timestamp without time zone`.
    Timestamp,
    /// `timestamp with time zone`.
    TimestampTz,
    /// `interval`.
    Interval,
    /// `uuid`.
    Uuid,
    /// `json`: the text as it was stored.
    Json,
    /// `jsonb`.
    Jsonb,
}

impl Scalar {
    /// The server's name of the type, or of the first of those it stands for.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Oid => "oid",
            Self::Float4 => "float4",
            Self::Float8 => "float8",
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Char => "\"char\"",
            Self::Bytea => "bytea",
            Self::Date => "date",
            Self::Time => "time",
            Self::TimeTz => "timetz",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::Interval => "interval",
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::Jsonb => "jsonb",
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
