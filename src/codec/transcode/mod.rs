//! The text output of a value as the bytes of its binary output.
//!
//! Rust types read binary only (`FromSql`), and a connection may send text: what came as text is
//! first made into what the server would have sent in binary, byte for byte. The type says how:
//! every built-in type whose text tells all is known here, and arrays, ranges, enums, domains and
//! composites of known types follow from their kind, those a database defines included. A type
//! whose text does not tell its binary form is refused, never guessed:
//!
//! - `regclass` and its likes show names, where their binary form is a number;
//! - `tsquery` leaves out the parentheses that its binary form has;
//! - `money` is read where its text can mean one amount only, as in the locales `C` and `en_US`;
//! - what a database defines beyond the kinds above has a text form that only its maker knows, but
//!   for `citext`, `hstore`, `ltree`, and the types of pgvector and PostGIS.
//!
//! The text is what the server sends under the pinned session settings; see
//! [`value`](super::value).

mod geometry;
mod nested;
mod network;
mod number;
mod search;
mod simple;
mod time;
mod vectors;

use postgres_types::{Kind, Type};

use crate::codec::value::Fault;

/// Why text could not be made into binary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranscodeError {
    /// The type's text does not say what its binary form is.
    #[error("the text of type {type_name} does not tell its binary form")]
    NoTranscoder {
        /// The type, or the one inside it.
        type_name: String,
    },
    /// The text is not a value of the type.
    #[error("malformed text value: {0}")]
    Malformed(#[from] Fault),
}

/// Append to `out` the binary form of `text`, a value of type `ty`.
///
/// ```
/// use postgres_types::Type;
/// let mut out = Vec::new();
/// walcast::codec::transcode(&Type::INT4, b"-2", &mut out)?;
/// assert_eq!(out, (-2_i32).to_be_bytes());
/// # Ok::<_, walcast::codec::TranscodeError>(())
/// ```
///
/// # Errors
/// When the text does not tell the binary form, or is not a value of the type; `out` is then as it
/// was.
pub fn transcode(ty: &Type, text: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    Transcoder::of(ty).transcode(text, out)
}

/// [`transcode`] for many values of one type: what the type asks for is found out once.
#[derive(Clone, Copy)]
pub(crate) struct Transcoder<'t> {
    ty: &'t Type,
    single: Option<Single>,
}

impl<'t> Transcoder<'t> {
    pub(crate) fn of(ty: &'t Type) -> Self {
        let single = if is_single(ty) { single(ty) } else { None };
        Self { ty, single }
    }

    /// As [`transcode`].
    pub(crate) fn transcode(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        let start = out.len();
        let written = match self.single {
            Some(single) => written(self.ty, single(text, out)),
            None => write(self.ty, text, out),
        };
        written.inspect_err(|_| out.truncate(start))
    }
}

/// Whether a value of this type is made of no others, and its text is not its binary form.
fn is_single(ty: &Type) -> bool {
    let is_builtin = || Type::from_oid(ty.oid()).is_some();
    let is_vector = matches!(*ty, Type::INT2_VECTOR | Type::OID_VECTOR);
    matches!(ty.kind(), Kind::Simple) && !text_is_binary(ty) && !is_vector && is_builtin()
}

/// What came of writing a value of type `ty`; `None` when its text does not tell its binary form.
fn written(ty: &Type, written: Option<Result<(), Fault>>) -> Result<(), TranscodeError> {
    match written {
        Some(written) => Ok(written?),
        None => Err(TranscodeError::NoTranscoder { type_name: ty.to_string() }),
    }
}

/// Whether the text of values of this type is their binary form too.
pub fn text_is_binary(ty: &Type) -> bool {
    match ty.kind() {
        Kind::Simple => {
            matches!(
                *ty,
                Type::TEXT
                    | Type::VARCHAR
                    | Type::BPCHAR
                    | Type::NAME
                    | Type::UNKNOWN
                    | Type::JSON
                    | Type::XML
                    | Type::REFCURSOR
                    | Type::PG_NODE_TREE
            ) || is_labelled_text(ty)
        }
        Kind::Enum(_) => true,
        Kind::Domain(base) => text_is_binary(base),
        _ => false,
    }
}

/// `citext` is text with another comparison.
fn is_labelled_text(ty: &Type) -> bool {
    Type::from_oid(ty.oid()).is_none() && ty.name() == "citext"
}

/// The types of PostGIS that are rows of points.
fn is_geometry(ty: &Type) -> bool {
    Type::from_oid(ty.oid()).is_none() && matches!(ty.name(), "geometry" | "geography")
}

fn write(ty: &Type, text: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    if text_is_binary(ty) {
        std::str::from_utf8(text).map_err(|_| Fault::Encoding)?;
        out.extend_from_slice(text);
        return Ok(());
    }
    match (ty, ty.kind()) {
        (_, Kind::Simple) if Type::from_oid(ty.oid()).is_none() => extension(ty, text, out),
        (&Type::INT2_VECTOR, _) => Ok(nested::vector(&Type::INT2, text, out)?),
        (&Type::OID_VECTOR, _) => Ok(nested::vector(&Type::OID, text, out)?),
        (_, Kind::Array(element)) => nested::array(element, text, out),
        (_, Kind::Range(element)) => nested::range(element, text, out),
        (_, Kind::Multirange(element)) => nested::multirange(element, text, out),
        (_, Kind::Composite(fields)) => nested::composite(fields, text, out),
        (_, Kind::Domain(base)) => write(base, text, out),
        _ => written(ty, single(ty).and_then(|single| single(text, out))),
    }
}

/// What extensions add has no identifier of its own: its name tells it.
fn extension(ty: &Type, text: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    match ty.name() {
        "hstore" => Ok(nested::hstore(text, out)?),
        "ltree" | "lquery" | "ltxtquery" => Ok(simple::versioned(text, out)?),
        "vector" => Ok(vectors::vector(text, out)?),
        "halfvec" => Ok(vectors::half_vector(text, out)?),
        "sparsevec" => Ok(vectors::sparse_vector(text, out)?),
        _ if is_geometry(ty) => Ok(simple::hex_pairs(text, out)?),
        _ => Err(TranscodeError::NoTranscoder { type_name: ty.to_string() }),
    }
}

/// Writes a value; `None` when its text does not tell its binary form.
type Single = fn(&[u8], &mut Vec<u8>) -> Option<Result<(), Fault>>;

/// A [`Single`] of what can write each text of its type.
macro_rules! always {
    ($write:expr) => {
        |text, out| Some($write(text, out))
    };
}

macro_rules! integer {
    ($number:ty) => {
        |text, out| Some(number::integer(text, <$number>::to_be_bytes, out))
    };
}

/// How to write a value of a type that is made of no others; `None` when there is no way.
fn single(ty: &Type) -> Option<Single> {
    let single: Single = match *ty {
        Type::BOOL => always!(simple::boolean),
        Type::INT2 => integer!(i16),
        Type::INT4 => integer!(i32),
        Type::INT8 => integer!(i64),
        Type::OID | Type::XID | Type::CID => integer!(u32),
        Type::XID8 => integer!(u64),
        Type::FLOAT4 => always!(number::float4),
        Type::FLOAT8 => always!(number::float8),
        Type::NUMERIC => always!(number::numeric),
        Type::MONEY => number::money,
        Type::CHAR => always!(simple::char),
        Type::BYTEA => always!(simple::bytea),
        Type::UUID => always!(simple::uuid),
        Type::JSONB | Type::JSONPATH => always!(simple::versioned),
        Type::BIT | Type::VARBIT => always!(simple::bits),
        Type::TID => always!(simple::tid),
        Type::PG_LSN => always!(simple::lsn),
        Type::PG_SNAPSHOT | Type::TXID_SNAPSHOT => always!(simple::snapshot),
        Type::DATE => always!(time::date),
        Type::TIME => always!(time::time),
        Type::TIMETZ => always!(time::time_tz),
        Type::TIMESTAMP => always!(time::timestamp),
        Type::TIMESTAMPTZ => always!(time::timestamp_tz),
        Type::INTERVAL => always!(time::interval),
        Type::INET => always!(network::inet),
        Type::CIDR => always!(network::cidr),
        Type::MACADDR => always!(network::hardware::<6>),
        Type::MACADDR8 => always!(network::hardware::<8>),
        Type::POINT => always!(geometry::floats::<2>),
        Type::LINE => always!(geometry::floats::<3>),
        Type::LSEG | Type::BOX => always!(geometry::floats::<4>),
        Type::CIRCLE => always!(geometry::floats::<3>),
        Type::PATH => always!(geometry::path),
        Type::POLYGON => always!(geometry::polygon),
        Type::TS_VECTOR => always!(search::ts_vector),
        Type::REGPROC
        | Type::REGPROCEDURE
        | Type::REGOPER
        | Type::REGOPERATOR
        | Type::REGCLASS
        | Type::REGTYPE
        | Type::REGROLE
        | Type::REGNAMESPACE
        | Type::REGCONFIG
        | Type::REGDICTIONARY
        | Type::REGCOLLATION => number::nameless,
        _ => return None,
    };
    Some(single)
}

#[cfg(test)]
mod tests;
