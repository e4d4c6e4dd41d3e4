//! What kinds of values have a decoder here.
//!
//! A [`ValueType`] is found once per column, so that writing a value costs no look-up. Several
//! server types share one kind where their values look alike (text, varchar, char(n), name). A type
//! without a decoder keeps its object identifier in [`ValueType::Other`]: its text can still be
//! shown, its binary form cannot be read.

use std::fmt;
use std::sync::Arc;

use super::nested::Nested;
use crate::event::Oid;

/// How a column's values are read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueType {
    /// A single value.
    Scalar(Scalar),
    /// An array, of any number of dimensions, of such values.
    Array(Scalar),
    /// A range, a composite, or an array of what is no single value.
    Nested(Arc<Nested>),
    /// A type without a decoder: shown as its text.
    Other(Oid),
}

impl ValueType {
    /// Whether the type's binary output can be read. Where it cannot, the connection asks for text.
    pub fn has_binary_decoder(&self) -> bool {
        self.unknown().is_none()
    }

    /// How the elements of an array are read; `None` for what is no array.
    pub fn element(&self) -> Option<ValueType> {
        match self {
            Self::Array(element) => Some(Self::Scalar(*element)),
            Self::Nested(nested) => nested.element().cloned(),
            Self::Scalar(_) | Self::Other(_) => None,
        }
    }

    /// What stands between two elements of an array in text.
    pub(crate) fn delimiter(&self) -> u8 {
        match self {
            Self::Array(element) => element.delimiter(),
            Self::Nested(nested) => nested.delimiter(),
            Self::Scalar(_) | Self::Other(_) => b',',
        }
    }

    /// The type, or one inside it, that has no decoder.
    pub fn unknown(&self) -> Option<Oid> {
        match self {
            Self::Scalar(_) | Self::Array(_) => None,
            Self::Nested(nested) => nested.unknown(),
            Self::Other(oid) => Some(*oid),
        }
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
            Self::Nested(nested) => f.write_str(nested.name()),
            Self::Other(oid) => write!(f, "type {oid}"),
        }
    }
}

macro_rules! scalars {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A kind of single value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Scalar { $($(#[$doc])* $name,)+ }

        impl Scalar {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The server's name of the type, or of the first of those it stands for.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

scalars! {
    /// `boolean`.
    Bool = "bool",
    /// `smallint`.
    Int2 = "int2",
    /// `integer`.
    Int4 = "int4",
    /// `bigint`.
    Int8 = "int8",
    /// `oid`, `xid`, `cid`: numbers whose JSON is a string, as the server's is.
    Oid = "oid",
    /// `xid8`, a string likewise.
    Xid8 = "xid8",
    /// `real`.
    Float4 = "float4",
    /// `double precision`.
    Float8 = "float8",
    /// `numeric`.
    Numeric = "numeric",
    /// `text`, `varchar`, `char(n)`, `name`, `xml`, `refcursor`, `unknown`, enums, `citext`.
    Text = "text",
    /// `"char"`: one byte.
    Char = "\"char\"",
    /// `bytea`.
    Bytea = "bytea",
    /// `bit(n)`, `varbit`.
    Bits = "bit",
    /// `date`.
    Date = "date",
    /// `time without time zone`.
    Time = "time",
    /// `time with time zone`.
    TimeTz = "timetz",
    /// `timestamp without time zone`.
    Timestamp = "timestamp",
    /// `timestamp with time zone`.
    TimestampTz = "timestamptz",
    /// `interval`.
    Interval = "interval",
    /// `uuid`.
    Uuid = "uuid",
    /// `json`: the text as it was stored.
    Json = "json",
    /// `jsonb`.
    Jsonb = "jsonb",
    /// `jsonpath`, `ltree`, `lquery`, `ltxtquery`: text with a version before it in binary.
    VersionedText = "jsonpath",
    /// `hstore`: a JSON object.
    Hstore = "hstore",
    /// `inet`, `cidr`.
    Inet = "inet",
    /// `macaddr`, `macaddr8`.
    MacAddr = "macaddr",
    /// `pg_lsn`.
    Lsn = "pg_lsn",
    /// `tid`.
    Tid = "tid",
    /// `pg_snapshot`, `txid_snapshot`.
    Snapshot = "pg_snapshot",
    /// `int2vector`: a JSON array.
    Int2Vector = "int2vector",
    /// `oidvector`: a JSON array.
    OidVector = "oidvector",
    /// `point`.
    Point = "point",
    /// `line`.
    Line = "line",
    /// `lseg`.
    Lseg = "lseg",
    /// `box`.
    Box = "box",
    /// `path`.
    Path = "path",
    /// `polygon`.
    Polygon = "polygon",
    /// `circle`.
    Circle = "circle",
    /// `tsvector`.
    TsVector = "tsvector",
    /// `tsquery`.
    TsQuery = "tsquery",
    /// `vector` of pgvector.
    Vector = "vector",
    /// `halfvec` of pgvector.
    HalfVector = "halfvec",
    /// `sparsevec` of pgvector.
    SparseVector = "sparsevec",
    /// `geometry` and `geography` of PostGIS: their text, which is EWKB in hex.
    Geometry = "geometry",
}

impl Scalar {
    /// What stands between two elements of an array in text.
    pub(super) const fn delimiter(self) -> u8 {
        match self {
            // Only boxes hold commas of their own.
            Self::Box => b';',
            // As their maker chose.
            Self::Geometry => b':',
            _ => b',',
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
