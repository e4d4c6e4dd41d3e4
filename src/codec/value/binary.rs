//! Binary output of single values (what the type's send function writes), as JSON.
//!
//! The bytes written are those that the text form of the same value gives.

use super::error::Fault;
use super::kind::Scalar;
use super::{array, float, hstore, interval, numeric, output, text, time};
use crate::codec::string::{write_json_str, write_json_utf8};

pub(super) fn write(out: &mut Vec<u8>, scalar: Scalar, bytes: &[u8]) -> Result<(), Fault> {
    match scalar {
        Scalar::Bool => write_bool(out, bytes)?,
        Scalar::Int2 => write_integer(out, i16::from_be_bytes(fixed(bytes)?)),
        Scalar::Int4 => write_integer(out, i32::from_be_bytes(fixed(bytes)?)),
        Scalar::Int8 => write_integer(out, i64::from_be_bytes(fixed(bytes)?)),
        Scalar::Oid => write_oid(out, u32::from_be_bytes(fixed(bytes)?)),
        Scalar::Float4 => float::write_f32(out, f32::from_be_bytes(fixed(bytes)?)),
        Scalar::Float8 => float::write_f64(out, f64::from_be_bytes(fixed(bytes)?)),
        Scalar::Numeric => numeric::write(out, bytes)?,
        Scalar::Text => write_json_utf8(out, bytes)?,
        Scalar::Char => write_char(out, fixed::<1>(bytes)?[0]),
        Scalar::Bytea => write_bytea(out, bytes),
        Scalar::Date => time::write_date(out, i32::from_be_bytes(fixed(bytes)?))?,
        Scalar::Time => time::write_time(out, i64::from_be_bytes(fixed(bytes)?))?,
        Scalar::TimeTz => time::write_time_tz(out, fixed(bytes)?)?,
        Scalar::Timestamp => {
            time::write_timestamp(out, i64::from_be_bytes(fixed(bytes)?), time::Zone::Without)?;
        }
        Scalar::TimestampTz => {
            time::write_timestamp(out, i64::from_be_bytes(fixed(bytes)?), time::Zone::With)?;
        }
        Scalar::Interval => interval::write(out, fixed(bytes)?),
        Scalar::Uuid => write_uuid(out, fixed(bytes)?),
        Scalar::Json => text::write_json(out, bytes)?,
        Scalar::Jsonb => match bytes.split_first() {
            Some((1, json)) => text::write_json(out, json)?,
            Some(_) => return Err(Fault::Version),
            None => return Err(Fault::Length),
        },
        Scalar::Hstore => hstore::write_binary(out, bytes)?,
        Scalar::Int2Vector => array::write_binary(out, &Scalar::Int2.into(), bytes)?,
        Scalar::OidVector => array::write_binary(out, &Scalar::Oid.into(), bytes)?,
        // The server's text is the string.
        _ => output::quoted(out, |out| output::write_scalar(out, scalar, bytes))?,
    }
    Ok(())
}

/// The bytes of a type of fixed length.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Length)
}

fn write_bool(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    out.extend_from_slice(match fixed(bytes)? {
        [0] => b"false",
        [1] => b"true",
        [_] => return Err(Fault::Range),
    });
    Ok(())
}

fn write_integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_oid(out: &mut Vec<u8>, oid: u32) {
    out.push(b'"');
    write_integer(out, oid);
    out.push(b'"');
}

/// A `"char"`: zero is the empty string, a byte above 127 is written as `\ooo`.
pub(super) fn write_char(out: &mut Vec<u8>, byte: u8) {
    let mut utf8 = [0; 4];
    match byte {
        0 => write_json_str(out, ""),
        1..0x80 => write_json_str(out, char::from(byte).encode_utf8(&mut utf8)),
        0x80.. => {
            let octal = |shift: u8| b'0' + (byte >> shift & 7);
            out.extend_from_slice(&[b'"', b'\\', b'\\', octal(6), octal(3), octal(0), b'"']);
        }
    }
}

/// The two hexadecimal digits of every byte.
pub(super) const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

pub(super) fn write_bytea(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() * 2 + 5);
    out.extend_from_slice(b"\"\\\\x");
    out.extend(bytes.iter().flat_map(|&byte| HEX[usize::from(byte)]));
    out.push(b'"');
}

fn write_uuid(out: &mut Vec<u8>, bytes: [u8; 16]) {
    const PLACES: [usize; 16] = [1, 3, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 29, 31, 33, 35];
    let mut text = *b"\"00000000-0000-0000-0000-000000000000\"";
    for (place, byte) in std::iter::zip(PLACES, bytes) {
        text[place..place + 2].copy_from_slice(&HEX[usize::from(byte)]);
    }
    out.extend_from_slice(&text);
}
