//! One column's value: a number, a boolean, or the text of its output function in quotes.
//!
//! What is not in quotes goes by the column's own type: a domain over a number is a string.

use crate::codec::string::write_json_utf8;
use crate::codec::value::{Fault, Format, Scalar, ValueError, ValueType, write_json, write_output};
use crate::codec::with_scratch;
use crate::event::{Oid, Value};

/// How values of a column are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are; those that JSON has no number for are null.
    Number,
    /// `true` and `false`.
    Boolean,
    /// Hexadecimal digits in quotes.
    Bytes,
    /// Their text in quotes.
    Text,
}

impl Form {
    /// The form of a column of the type `oid`.
    pub(super) fn of(oid: Oid) -> Self {
        match oid.as_u32() {
            // int2, int4, int8, oid, float4, float8, numeric
            21 | 23 | 20 | 26 | 700 | 701 | 1700 => Self::Number,
            16 => Self::Boolean,
            17 => Self::Bytes,
            _ => Self::Text,
        }
    }
}

/// Appends `value`.
pub(super) fn write(
    out: &mut Vec<u8>,
    form: Form,
    value_type: &ValueType,
    value: Value<'_>,
) -> Result<(), ValueError> {
    let start = out.len();
    match (form, value) {
        (_, Value::Null) | (Form::Boolean, _) => write_json(out, value_type, value),
        (Form::Number, _) => {
            write_json(out, value_type, value)?;
            if out[start] == b'"' {
                number_of_string(out, start);
            }
            Ok(())
        }
        (Form::Bytes, _) => {
            write_json(out, value_type, value)?;
            // `"\\x` before the digits.
            out.drain(start + 1..start + 4);
            Ok(())
        }
        (Form::Text, Value::Text(text)) => quoted(out, value_type, Format::Text, text),
        (Form::Text, _) if json_is_output(value_type) => write_json(out, value_type, value),
        (Form::Text, _) => with_scratch(|text| {
            write_output(text, value_type, value)?;
            quoted(out, value_type, Format::Binary, text)
        }),
    }
}

/// An `oid` is a number here; NaN and the infinities are nothing.
fn number_of_string(out: &mut Vec<u8>, start: usize) {
    if out[start + 1].is_ascii_digit() {
        out.pop();
        out.remove(start);
    } else {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

fn quoted(
    out: &mut Vec<u8>,
    value_type: &ValueType,
    format: Format,
    text: &[u8],
) -> Result<(), ValueError> {
    let fault = Fault::Encoding;
    let value_type = value_type.clone();
    write_json_utf8(out, text).map_err(|_| ValueError::Malformed { value_type, format, fault })
}

/// Whether the JSON of such a value is the text of its output function in quotes.
fn json_is_output(value_type: &ValueType) -> bool {
    use Scalar::{Bytea, Char, Date, Interval, Oid, Text, Time, TimeTz, Uuid};
    match value_type {
        // An oid in a domain is text; its JSON is a string already.
        ValueType::Scalar(kind) => {
            matches!(kind, Text | Char | Bytea | Date | Time | TimeTz | Interval | Uuid | Oid)
        }
        _ => false,
    }
}
