//! One column's value as JSON, equal to what the server's `to_jsonb` makes of it.
//!
//! Text and binary values give the same bytes, written straight into the caller's buffer without an
//! allocation per value. The text form is what the server sends under the pinned session settings:
//! TimeZone UTC, DateStyle ISO, IntervalStyle postgres, extra_float_digits 1, bytea_output hex.
//! A value that does not fit its type is a typed error and leaves the buffer as it was.
//!
//! This knows values only: names, keys and which columns to leave out belong to the event formats.

mod array;
mod binary;
mod definition;
mod error;
mod float;
mod interval;
mod kind;
mod numeric;
mod output;
mod registry;
mod text;
mod time;

pub use definition::{Attribute, JsonForm, TypeDefinition, TypeKind};
pub use error::{Fault, Format, ValueError};
pub use kind::{Scalar, ValueType};
pub(crate) use output::write_output;
pub use registry::TypeRegistry;
pub(crate) use time::civil_date;

use crate::codec::string::write_json_utf8;
use crate::event::Value;

/// Appends `value`, of a column of type `value_type`, as JSON. NULL is `null`.
///
/// The text of a `json` column is kept byte for byte, except that a line break between its tokens
/// becomes a blank, so that what is written is always a single line.
///
/// # Errors
///
/// When the value was not sent, cannot be read, or is not of the type; `out` is then as it was.
pub fn write_json(
    out: &mut Vec<u8>,
    value_type: ValueType,
    value: Value<'_>,
) -> Result<(), ValueError> {
    let start = out.len();
    let (format, written) = match value {
        Value::Null => {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        Value::Unchanged => return Err(ValueError::Unchanged),
        Value::Text(bytes) => (Format::Text, write_text(out, value_type, bytes)),
        Value::Binary(bytes) => (
            Format::Binary,
            match value_type {
                ValueType::Scalar(scalar) => binary::write(out, scalar, bytes),
                ValueType::Array(element) => array::write_binary(out, element, bytes),
                ValueType::Other(type_oid) => return Err(ValueError::NoDecoder { type_oid }),
            },
        ),
    };
    written.map_err(|fault| {
        out.truncate(start);
        ValueError::Malformed { value_type, format, fault }
    })
}

fn write_text(out: &mut Vec<u8>, value_type: ValueType, bytes: &[u8]) -> Result<(), Fault> {
    match value_type {
        ValueType::Scalar(scalar) => text::write(out, scalar, bytes),
        ValueType::Array(element) => array::write_text(out, element, bytes),
        ValueType::Other(_) => Ok(write_json_utf8(out, bytes)?),
    }
}

#[cfg(test)]
mod tests;
