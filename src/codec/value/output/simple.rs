//! Text of bytes, bits, identifiers, and pairs of text.

use std::io::Write as _;

use super::super::binary::HEX;
use super::super::error::Fault;
use super::parts::Parts;
use crate::lsn::Lsn;

pub(super) fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// What follows the version, of which there is one.
pub(super) fn versioned(bytes: &[u8]) -> Result<&[u8], Fault> {
    match bytes.split_first() {
        Some((1, text)) => Ok(text),
        Some(_) => Err(Fault::Version),
        None => Err(Fault::Length),
    }
}

pub(super) fn char(out: &mut Vec<u8>, byte: u8) {
    match byte {
        0 => {}
        1..0x80 => out.push(byte),
        0x80.. => {
            let octal = |shift: u8| b'0' + (byte >> shift & 7);
            out.extend_from_slice(&[b'\\', octal(6), octal(3), octal(0)]);
        }
    }
}

pub(super) fn bytea(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"\\x");
    out.extend(bytes.iter().flat_map(|&byte| HEX[usize::from(byte)]));
}

/// PostGIS shows its own binary form.
pub(super) fn upper_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(
        bytes.iter().flat_map(|&byte| HEX[usize::from(byte)].map(|it| it.to_ascii_uppercase())),
    );
}

/// The count of bits, then the bits from the highest of the first byte on.
pub(super) fn bits(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    let count = usize::try_from(parts.take_i32()?).map_err(|_| Fault::Structure)?;
    if parts.0.len() != count.div_ceil(8) {
        return Err(Fault::Length);
    }
    out.extend((0..count).map(|at| b'0' + (parts.0[at / 8] >> (7 - at % 8) & 1)));
    Ok(())
}

pub(super) fn lsn(out: &mut Vec<u8>, lsn: u64) {
    // Writing to a vector cannot fail; so below.
    let _ = write!(out, "{}", Lsn::new(lsn));
}

pub(super) fn tid(out: &mut Vec<u8>, bytes: [u8; 6]) {
    let [b0, b1, b2, b3, l0, l1] = bytes;
    let (block, line) = (u32::from_be_bytes([b0, b1, b2, b3]), u16::from_be_bytes([l0, l1]));
    let _ = write!(out, "({block},{line})");
}

/// `xmin:xmax:xid,xid`; the list comes first counted.
pub(super) fn snapshot(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    let count = parts.take_count(8)?;
    for _ in 0..2 {
        number(out, u64::from_be_bytes(parts.take()?));
        out.push(b':');
    }
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        number(out, u64::from_be_bytes(parts.take()?));
    }
    parts.end()
}

/// `"a"=>"1", "b"=>NULL`.
pub(super) fn hstore(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    for at in 0..parts.take_count(8)? {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        escaped(out, parts.take_value()?.ok_or(Fault::Structure)?);
        out.extend_from_slice(b"=>");
        match parts.take_value()? {
            Some(value) => escaped(out, value),
            None => out.extend_from_slice(b"NULL"),
        }
    }
    parts.end()
}

fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}
