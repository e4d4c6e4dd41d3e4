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
    let start = out.len();
    write(ty, text, out).inspect_err(|_| out.truncate(start))
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
        _ => match single(ty, text, out) {
            Some(written) => Ok(written?),
            None => Err(TranscodeError::NoTranscoder { type_name: ty.to_string() }),
        },
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

/// A value of a type that is made of no others; `None` when there is no way.
fn single(ty: &Type, text: &[u8], out: &mut Vec<u8>) -> Option<Result<(), Fault>> {
    Some(match *ty {
        Type::BOOL => simple::boolean(text, out),
        Type::INT2 => number::integer::<i16, 2>(text, i16::to_be_bytes, out),
        Type::INT4 => number::integer::<i32, 4>(text, i32::to_be_bytes, out),
        Type::INT8 => number::integer::<i64, 8>(text, i64::to_be_bytes, out),
        Type::OID | Type::XID | Type::CID => number::integer::<u32, 4>(text, u32::to_be_bytes, out),
        Type::XID8 => number::integer::<u64, 8>(text, u64::to_be_bytes, out),
        Type::FLOAT4 => number::float4(text, out),
        Type::FLOAT8 => number::float8(text, out),
        Type::NUMERIC => number::numeric(text, out),
        Type::MONEY => return number::money(text, out),
        Type::CHAR => simple::char(text, out),
        Type::BYTEA => simple::bytea(text, out),
        Type::UUID => simple::uuid(text, out),
        Type::JSONB | Type::JSONPATH => simple::versioned(text, out),
        Type::BIT | Type::VARBIT => simple::bits(text, out),
        Type::TID => simple::tid(text, out),
        Type::PG_LSN => simple::lsn(text, out),
        Type::PG_SNAPSHOT | Type::TXID_SNAPSHOT => simple::snapshot(text, out),
        Type::DATE => time::date(text, out),
        Type::TIME => time::time(text, out),
        Type::TIMETZ => time::time_tz(text, out),
        Type::TIMESTAMP => time::timestamp(text, time::Zone::Without, out),
        Type::TIMESTAMPTZ => time::timestamp(text, time::Zone::With, out),
        Type::INTERVAL => time::interval(text, out),
        Type::INET => network::inet(text, network::Kind::Inet, out),
        Type::CIDR => network::inet(text, network::Kind::Cidr, out),
        Type::MACADDR => network::hardware::<6>(text, out),
        Type::MACADDR8 => network::hardware::<8>(text, out),
        Type::POINT => geometry::floats::<2>(text, out),
        Type::LINE => geometry::floats::<3>(text, out),
        Type::LSEG | Type::BOX => geometry::floats::<4>(text, out),
        Type::CIRCLE => geometry::floats::<3>(text, out),
        Type::PATH => geometry::path(text, out),
        Type::POLYGON => geometry::polygon(text, out),
        Type::TS_VECTOR => search::ts_vector(text, out),
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
        | Type::REGCOLLATION => return number::nameless(text, out),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
