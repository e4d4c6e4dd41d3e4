//! One column's value as JSON, equal to what the server's `to_jsonb` makes of it.
//!
//! Text and binary values give the same bytes, written straight into the caller's buffer without an
//! allocation per value. The text form is what the server sends under the pinned session settings:
//! TimeZone UTC, DateStyle ISO, IntervalStyle postgres, extra_float_digits 1, bytea_output hex.
//! A value that does not fit its type is a typed error and leaves the buffer as it was; one whose
//! type is not known, or has changed since it was asked for, is shown raw.
//!
//! This knows values only: names, keys and which columns to leave out belong to the event formats.

mod array;
mod binary;
mod definition;
mod error;
mod float;
mod hstore;
mod interval;
mod kind;
mod nested;
mod numeric;
mod output;
mod raw;
mod registry;
mod text;
mod time;
mod typed;

pub use definition::{Attribute, JsonForm, TypeDefinition, TypeKind};
pub use error::{Fault, Format, ValueError};
pub use kind::{Scalar, ValueType};
pub use nested::Nested;
pub use registry::TypeRegistry;
pub(crate) use time::civil_date;

use crate::codec::string::write_json_utf8;
use crate::event::Value;
use nested::Shape;

/// Appends `value`, of a column of type `value_type`, as JSON. NULL is `null`.
///
/// The text of a `json` column is kept byte for byte, except that a line break between its tokens
/// becomes a blank, so that what is written is always a single line. What came in binary and has
/// no decoder here, and a nested value that is not of the shape its type is known to have, is an
/// object with the type's identifier and the value as it came:
/// `{"oid":16400,"type":"public.pair","text":"(1,2)"}`, or with `"binary":"\\x…"`.
///
/// # Errors
///
/// When the value was not sent, or is not of the type; `out` is then as it was.
pub fn write_json(
    out: &mut Vec<u8>,
    value_type: &ValueType,
    value: Value<'_>,
) -> Result<(), ValueError> {
    if value.is_unchanged() {
        return Err(ValueError::Unchanged);
    }
    let start = out.len();
    let written = write_form(out, value_type, value);
    or_raw(out, start, (value_type, value), written)
}

/// Appends `value` as its type's output function writes it, whichever form it came in. NULL has no
/// text; what came in binary and cannot be read is the object that [`write_json`] makes of it.
///
/// # Errors
///
/// When the value was not sent, or is not of the type; `out` is then as it was.
pub fn write_output(
    out: &mut Vec<u8>,
    value_type: &ValueType,
    value: Value<'_>,
) -> Result<(), ValueError> {
    let start = out.len();
    let written = match value {
        Value::Unchanged => return Err(ValueError::Unchanged),
        Value::Null => Ok(()),
        Value::Text(text) => {
            out.extend_from_slice(text);
            Ok(())
        }
        Value::Binary(bytes) => output::write(out, value_type, bytes),
    };
    or_raw(out, start, (value_type, value), written)
}

/// What was written from `start` on, or `value` raw where its type is not known or not what it was.
fn or_raw(
    out: &mut Vec<u8>,
    start: usize,
    (value_type, value): (&ValueType, Value<'_>),
    written: Result<(), Fault>,
) -> Result<(), ValueError> {
    let Err(fault) = written else { return Ok(()) };
    out.truncate(start);
    let oid = match (value_type, value) {
        (ValueType::Nested(nested), _) => Some(nested.oid()),
        (ValueType::Other(oid), Value::Binary(_)) => Some(*oid),
        _ => None,
    };
    let shown = oid.map_or(Err(fault), |oid| raw::write(out, oid, value_type, value));
    shown.map_err(|fault| {
        out.truncate(start);
        ValueError::malformed(value_type, value, fault)
    })
}

/// Writes what there is of `value`. On an error `out` has part of it.
fn write_form(out: &mut Vec<u8>, value_type: &ValueType, value: Value<'_>) -> Result<(), Fault> {
    match value {
        Value::Null | Value::Unchanged => {
            out.extend_from_slice(b"null");
            Ok(())
        }
        Value::Text(bytes) => write_json_of_text(out, value_type, bytes),
        Value::Binary(bytes) => write_json_of_binary(out, value_type, bytes),
    }
}

fn write_json_of_text(out: &mut Vec<u8>, of: &ValueType, bytes: &[u8]) -> Result<(), Fault> {
    match of {
        ValueType::Scalar(scalar) => text::write(out, *scalar, bytes),
        ValueType::Array(element) => {
            array::write_text(out, &(*element).into(), element.delimiter(), bytes)
        }
        ValueType::Nested(nested) => match &nested.shape {
            Shape::Array { element, delimiter } => {
                array::write_text(out, element, *delimiter, bytes)
            }
            Shape::Composite(fields) => nested::write_text(out, fields, bytes),
            Shape::Range(_) | Shape::Multirange(_) => Ok(write_json_utf8(out, bytes)?),
        },
        ValueType::Other(_) => Ok(write_json_utf8(out, bytes)?),
    }
}

fn write_json_of_binary(out: &mut Vec<u8>, of: &ValueType, bytes: &[u8]) -> Result<(), Fault> {
    match of {
        ValueType::Scalar(scalar) => binary::write(out, *scalar, bytes),
        ValueType::Array(element) => array::write_binary(out, &(*element).into(), bytes),
        ValueType::Nested(nested) => match &nested.shape {
            Shape::Array { element, .. } => array::write_binary(out, element, bytes),
            Shape::Composite(fields) => nested::write_binary(out, fields, bytes),
            Shape::Range(_) | Shape::Multirange(_) => {
                output::quoted(out, |out| output::write(out, of, bytes))
            }
        },
        ValueType::Other(_) => Err(Fault::NoDecoder),
    }
}

#[cfg(test)]
mod tests;
