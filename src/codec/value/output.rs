//! One column's value as the text that its type's output function gives, under the pinned session
//! settings. What came as text is that already; what came in binary is made into it.
//!
//! For formats that show values as the server's tools do. JSON has the same text for most types,
//! between quotes; what it writes otherwise is written here.

use super::array::Shape;
use super::error::{Fault, Format, ValueError};
use super::kind::{Scalar, ValueType};
use super::{binary, time};
use crate::event::{Value, with_scratch};

/// Appends the text of `value`, of a column of type `value_type`. NULL has none.
///
/// # Errors
/// When the value was not sent, cannot be read, or is not of the type; `out` is then as it was.
pub(crate) fn write_output(
    out: &mut Vec<u8>,
    value_type: ValueType,
    value: Value<'_>,
) -> Result<(), ValueError> {
    let start = out.len();
    let bytes = match value {
        Value::Null => return Ok(()),
        Value::Unchanged => return Err(ValueError::Unchanged),
        Value::Text(text) => {
            out.extend_from_slice(text);
            return Ok(());
        }
        Value::Binary(bytes) => bytes,
    };
    let written = match value_type {
        ValueType::Scalar(kind) => scalar(out, kind, bytes),
        ValueType::Array(element) => array(out, element, bytes),
        ValueType::Other(type_oid) => return Err(ValueError::NoDecoder { type_oid }),
    };
    written.map_err(|fault| {
        out.truncate(start);
        ValueError::Malformed { value_type, format: Format::Binary, fault }
    })
}

fn scalar(out: &mut Vec<u8>, kind: Scalar, bytes: &[u8]) -> Result<(), Fault> {
    match kind {
        Scalar::Bool => match bytes {
            [0] => out.push(b'f'),
            [1] => out.push(b't'),
            [_] => return Err(Fault::Range),
            _ => return Err(Fault::Length),
        },
        Scalar::Text | Scalar::Json => out.extend_from_slice(bytes),
        Scalar::Jsonb => match bytes.split_first() {
            Some((1, json)) => out.extend_from_slice(json),
            Some(_) => return Err(Fault::Version),
            None => return Err(Fault::Length),
        },
        Scalar::Timestamp | Scalar::TimestampTz => {
            let zone = match kind {
                Scalar::TimestampTz => time::Zone::With,
                _ => time::Zone::Without,
            };
            let micros = i64::from_be_bytes(binary::fixed(bytes)?);
            let start = out.len();
            time::write_timestamp(out, micros, zone)?;
            from_iso(out, start);
        }
        _ => {
            let start = out.len();
            binary::write(out, kind, bytes)?;
            unquote(out, start);
        }
    }
    Ok(())
}

/// Makes `"2026-11-10T22:22:05+00:00 BC"`, from `start` on, into `2026-11-10 22:22:05+00 BC`.
fn from_iso(out: &mut Vec<u8>, start: usize) {
    unquote(out, start);
    if let Some(at) = memchr::memchr(b'T', &out[start..]) {
        out[start + at] = b' ';
    }
    if let Some(at) = memchr::memmem::find(&out[start..], b"+00:00") {
        out.drain(start + at + 3..start + at + 6);
    }
}

/// Makes a JSON string that this crate wrote, from `start` on, into the text it stands for.
fn unquote(out: &mut Vec<u8>, start: usize) {
    if out.get(start) != Some(&b'"') {
        return;
    }
    out.pop();
    let (mut read, mut write) = (start + 1, start);
    while read < out.len() {
        let mut byte = out[read];
        read += 1;
        if byte == b'\\' {
            byte = out[read];
            read += 1;
            byte = match byte {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'b' => 0x08,
                b'f' => 0x0c,
                b'u' => {
                    let digit = |at: usize| char::from(out[at]).to_digit(16).unwrap_or(0) as u8;
                    let byte = digit(read + 2) << 4 | digit(read + 3);
                    read += 4;
                    byte
                }
                other => other,
            };
        }
        out[write] = byte;
        write += 1;
    }
    out.truncate(write);
}

/// `{1,NULL,"a \"b\""}`, with `[2:3]=` in front where a lower bound is not 1.
fn array(out: &mut Vec<u8>, element: Scalar, bytes: &[u8]) -> Result<(), Fault> {
    let (shape, mut elements) = Shape::read(element, bytes)?;
    if shape.is_empty() {
        out.extend_from_slice(b"{}");
    } else {
        if shape.lower_bounds().any(|bound| bound != 1) {
            for (length, bound) in shape.lengths().iter().zip(shape.lower_bounds()) {
                let mut number = itoa::Buffer::new();
                out.push(b'[');
                out.extend_from_slice(number.format(bound).as_bytes());
                out.push(b':');
                let upper = i64::from(bound) + *length as i64 - 1;
                out.extend_from_slice(number.format(upper).as_bytes());
                out.push(b']');
            }
            out.push(b'=');
        }
        let one = |out: &mut Vec<u8>, bytes: Option<&[u8]>| match bytes {
            None => {
                out.extend_from_slice(b"NULL");
                Ok(())
            }
            Some(bytes) => with_scratch(|text| {
                scalar(text, element, bytes)?;
                write_element(out, text);
                Ok(())
            }),
        };
        elements.write_nested(out, shape.lengths(), (b'{', b'}'), &one)?;
    }
    elements.end()
}

fn write_element(out: &mut Vec<u8>, text: &[u8]) {
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | 9..=13);
    if !text.is_empty() && !text.eq_ignore_ascii_case(b"null") && !text.iter().any(is_special) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}
