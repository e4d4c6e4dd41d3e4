//! A value's text, made from its binary form: what the type's output function writes.
//!
//! Where JSON is a string of that text this is nearly all there is to it; ranges and composites
//! hold the text of what is in them. The text is what the server sends under the pinned session
//! settings.

mod geometry;
mod nested;
mod network;
mod parts;
mod search;
mod simple;
mod vectors;

pub(super) use parts::Parts;

use super::binary::{self, fixed};
use super::error::Fault;
use super::kind::{Scalar, ValueType};
use super::nested::Shape;
use super::time;
use crate::codec::string::{NotUtf8, escape_from};

/// Writes what `write` writes as a JSON string.
pub(super) fn quoted(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    out.push(b'"');
    let start = out.len();
    write(out)?;
    if !out[start..].is_ascii() && std::str::from_utf8(&out[start..]).is_err() {
        return Err(NotUtf8.into());
    }
    escape_from(out, start);
    out.push(b'"');
    Ok(())
}

/// Writes the text of a binary value.
pub(super) fn write(out: &mut Vec<u8>, value_type: &ValueType, bytes: &[u8]) -> Result<(), Fault> {
    match value_type {
        ValueType::Scalar(scalar) => write_scalar(out, *scalar, bytes),
        ValueType::Array(element) => {
            nested::array(out, &ValueType::Scalar(*element), element.delimiter(), bytes)
        }
        ValueType::Nested(it) => match &it.shape {
            Shape::Array { element, delimiter } => nested::array(out, element, *delimiter, bytes),
            Shape::Range(bound) => nested::range(out, bound, bytes),
            Shape::Multirange(bound) => nested::multirange(out, bound, bytes),
            Shape::Composite(fields) => nested::composite(out, fields, bytes),
        },
        ValueType::Other(_) => Err(Fault::NoDecoder),
    }
}

/// Writes the text of a single binary value.
pub(super) fn write_scalar(out: &mut Vec<u8>, scalar: Scalar, bytes: &[u8]) -> Result<(), Fault> {
    match scalar {
        Scalar::Bool => out.push(if fixed(bytes)? == [0] { b'f' } else { b't' }),
        Scalar::Int2
        | Scalar::Int4
        | Scalar::Int8
        | Scalar::Oid
        | Scalar::Float4
        | Scalar::Float8
        | Scalar::Numeric
        | Scalar::Date
        | Scalar::Time
        | Scalar::TimeTz
        | Scalar::Interval
        | Scalar::Uuid => return as_in_json(out, scalar, bytes),
        Scalar::Timestamp => {
            let micros = i64::from_be_bytes(fixed(bytes)?);
            time::write_timestamp_output(out, micros, time::Zone::Without)?;
        }
        Scalar::TimestampTz => {
            let micros = i64::from_be_bytes(fixed(bytes)?);
            time::write_timestamp_output(out, micros, time::Zone::With)?;
        }
        Scalar::Xid8 => simple::number(out, u64::from_be_bytes(fixed(bytes)?)),
        Scalar::Text | Scalar::Json => out.extend_from_slice(bytes),
        Scalar::Jsonb | Scalar::VersionedText => out.extend_from_slice(simple::versioned(bytes)?),
        Scalar::Char => simple::char(out, fixed::<1>(bytes)?[0]),
        Scalar::Bytea => simple::bytea(out, bytes),
        Scalar::Bits => simple::bits(out, bytes)?,
        Scalar::Hstore => simple::hstore(out, bytes)?,
        Scalar::Inet => network::inet(out, bytes)?,
        Scalar::MacAddr => network::hardware(out, bytes)?,
        Scalar::Lsn => simple::lsn(out, u64::from_be_bytes(fixed(bytes)?)),
        Scalar::Tid => simple::tid(out, fixed(bytes)?),
        Scalar::Snapshot => simple::snapshot(out, bytes)?,
        Scalar::Int2Vector => nested::vector(out, Scalar::Int2, bytes)?,
        Scalar::OidVector => nested::vector(out, Scalar::Oid, bytes)?,
        Scalar::Point => geometry::point(out, fixed(bytes)?),
        Scalar::Line => geometry::line(out, fixed(bytes)?),
        Scalar::Lseg => geometry::lseg(out, bytes)?,
        Scalar::Box => geometry::points(out, bytes)?,
        Scalar::Path => geometry::path(out, bytes)?,
        Scalar::Polygon => geometry::polygon(out, bytes)?,
        Scalar::Circle => geometry::circle(out, fixed(bytes)?),
        Scalar::TsVector => search::ts_vector(out, bytes)?,
        Scalar::TsQuery => search::ts_query(out, bytes)?,
        Scalar::Vector => vectors::vector(out, bytes)?,
        Scalar::HalfVector => vectors::half_vector(out, bytes)?,
        Scalar::SparseVector => vectors::sparse_vector(out, bytes)?,
        Scalar::Geometry => simple::upper_hex(out, bytes),
    }
    Ok(())
}

/// Writes what JSON shows, without quotes.
fn as_in_json(out: &mut Vec<u8>, scalar: Scalar, bytes: &[u8]) -> Result<(), Fault> {
    let start = out.len();
    binary::write(out, scalar, bytes)?;
    if out.get(start) == Some(&b'"') {
        out.remove(start);
        out.pop();
    }
    Ok(())
}
