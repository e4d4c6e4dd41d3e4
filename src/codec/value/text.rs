//! Text output of single values, as JSON.
//!
//! Where the server's text is already right (numbers, json) it is checked and copied; where JSON
//! wants another form (booleans, timestamps) it is rewritten on the way. The checks keep a value
//! that is not what its type promises from turning into broken JSON.

use super::error::Fault;
use super::kind::Scalar;
use super::{binary, time};
use crate::codec::string::{NotUtf8, write_json_utf8};

pub(super) fn write(out: &mut Vec<u8>, scalar: Scalar, bytes: &[u8]) -> Result<(), Fault> {
    match scalar {
        Scalar::Bool => write_bool(out, bytes),
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 => write_integer(out, bytes),
        Scalar::Float4 | Scalar::Float8 | Scalar::Numeric => write_number(out, bytes),
        Scalar::Date => time::write_date_text(out, bytes),
        Scalar::Timestamp => time::write_timestamp_text(out, bytes, time::Zone::Without),
        Scalar::TimestampTz => time::write_timestamp_text(out, bytes, time::Zone::With),
        Scalar::Bytea => write_bytea(out, bytes),
        Scalar::Json | Scalar::Jsonb => write_json(out, bytes),
        Scalar::Char => write_char(out, bytes),
        Scalar::Hstore => super::hstore::write_text(out, bytes),
        Scalar::Int2Vector => write_vector(out, Scalar::Int2, bytes),
        Scalar::OidVector => write_vector(out, Scalar::Oid, bytes),
        // The server's text is the string.
        _ => Ok(write_json_utf8(out, bytes)?),
    }
}

/// `1 2 3`, as an array.
fn write_vector(out: &mut Vec<u8>, element: Scalar, bytes: &[u8]) -> Result<(), Fault> {
    out.push(b'[');
    for (at, number) in bytes.split(|byte| *byte == b' ').filter(|it| !it.is_empty()).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, element, number)?;
    }
    out.push(b']');
    Ok(())
}

fn write_bool(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    out.extend_from_slice(match bytes {
        b"t" => b"true",
        b"f" => b"false",
        _ => return Err(Fault::Syntax),
    });
    Ok(())
}

fn write_integer(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    match integer_end(bytes) {
        Some(end) if end == bytes.len() => {
            out.extend_from_slice(bytes);
            Ok(())
        }
        _ => Err(Fault::Syntax),
    }
}

fn write_number(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    if is_number(bytes) {
        out.extend_from_slice(bytes);
        return Ok(());
    }
    out.extend_from_slice(match bytes {
        b"NaN" => b"\"NaN\"".as_slice(),
        b"Infinity" => b"\"Infinity\"",
        b"-Infinity" => b"\"-Infinity\"",
        _ => return Err(Fault::Syntax),
    });
    Ok(())
}

/// Whether `bytes` are a number by JSON's grammar, which is how the server writes finite numbers.
fn is_number(bytes: &[u8]) -> bool {
    let Some(mut at) = integer_end(bytes) else { return false };
    if bytes.get(at) == Some(&b'.') {
        let end = at + 1 + digits(&bytes[at + 1..]);
        if end == at + 1 {
            return false;
        }
        at = end;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        let end = at + digits(&bytes[at..]);
        if end == at {
            return false;
        }
        at = end;
    }
    at == bytes.len()
}

/// Where the integer at the start of a JSON number ends, if there is one.
fn integer_end(bytes: &[u8]) -> Option<usize> {
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let length = digits(&bytes[sign..]);
    (length == 1 || (length > 1 && bytes[sign] != b'0')).then_some(sign + length)
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len())
}

fn write_bytea(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let hex = bytes.strip_prefix(b"\\x").ok_or(Fault::Syntax)?;
    write_hex_string(out, hex)
}

/// A bytea from its hex digits.
pub(super) fn write_hex_string(out: &mut Vec<u8>, hex: &[u8]) -> Result<(), Fault> {
    if !hex.len().is_multiple_of(2) || !hex.iter().all(u8::is_ascii_hexdigit) {
        return Err(Fault::Syntax);
    }
    out.extend_from_slice(b"\"\\\\x");
    out.extend_from_slice(hex);
    out.push(b'"');
    Ok(())
}

/// A json or jsonb text, which is JSON as it stands. Only a line break between tokens is touched.
pub(super) fn write_json(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    if bytes.is_empty() {
        return Err(Fault::Syntax);
    }
    std::str::from_utf8(bytes).map_err(|_| NotUtf8)?;
    let start = out.len();
    out.extend_from_slice(bytes);
    blank_line_breaks(&mut out[start..]);
    Ok(())
}

/// A string in JSON holds no raw line break, so any found is white space between tokens.
pub(super) fn blank_line_breaks(json: &mut [u8]) {
    let mut from = 0;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', &json[from..]) {
        json[from + found] = b' ';
        from += found + 1;
    }
}

/// A `"char"`: servers before 16 send a byte above 127 raw, later ones as `\ooo`.
fn write_char(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    match bytes {
        [byte @ 0x80..=0xff] => binary::write_char(out, *byte),
        _ => write_json_utf8(out, bytes)?,
    }
    Ok(())
}
