//! Binary `numeric`: groups of four decimal digits with a weight and a display scale.
//!
//! Every digit the server shows is written, trailing zeros of the scale included, straight into the
//! output: a numeric can be longer than any machine number. A value with a leading zero group is
//! refused, since the server never stores one and JSON has no number that starts with `00`.
//!
//! Layout: <https://www.postgresql.org/docs/current/datatype-numeric.html>, written by
//! `numeric_send`: counts and groups as 16-bit integers.

use super::error::Fault;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;
const SCALE_MAX: u16 = 0x3fff;

pub(super) fn write(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let (header, groups) = bytes.split_first_chunk::<8>().ok_or(Fault::Length)?;
    let [c0, c1, w0, w1, s0, s1, d0, d1] = *header;
    let weight = i16::from_be_bytes([w0, w1]);
    let scale = u16::from_be_bytes([d0, d1]);
    let (groups, rest) = groups.as_chunks::<2>();
    if !rest.is_empty() || groups.len() != usize::from(u16::from_be_bytes([c0, c1])) {
        return Err(Fault::Length);
    }
    let sign = match u16::from_be_bytes([s0, s1]) {
        0 => b"".as_slice(),
        NEGATIVE => b"-",
        NAN => b"\"NaN\"",
        INFINITY => b"\"Infinity\"",
        NEGATIVE_INFINITY => b"\"-Infinity\"",
        _ => return Err(Fault::Range),
    };
    out.extend_from_slice(sign);
    if sign.len() > 1 {
        return Ok(());
    }
    if scale > SCALE_MAX {
        return Err(Fault::Range);
    }
    let fraction = write_integer_part(out, groups, weight)?;
    write_fraction(out, fraction, weight, usize::from(scale))
}

/// Writes the groups before the point and returns those after it.
fn write_integer_part<'a>(
    out: &mut Vec<u8>,
    groups: &'a [[u8; 2]],
    weight: i16,
) -> Result<&'a [[u8; 2]], Fault> {
    let Ok(weight) = usize::try_from(weight) else {
        out.push(b'0');
        return Ok(groups);
    };
    let Some((&first, rest)) = groups.split_first() else {
        out.push(b'0');
        return if weight == 0 { Ok(groups) } else { Err(Fault::Range) };
    };
    let first = group(first)?;
    if first == 0 && weight > 0 {
        return Err(Fault::Range);
    }
    out.extend_from_slice(itoa::Buffer::new().format(first).as_bytes());
    let (whole, fraction) = rest.split_at(weight.min(rest.len()));
    for &digits in whole {
        out.extend_from_slice(&four(group(digits)?));
    }
    let zeros = 4 * (weight - whole.len());
    out.resize(out.len() + zeros, b'0');
    Ok(fraction)
}

/// Writes the point and exactly `scale` digits.
fn write_fraction(
    out: &mut Vec<u8>,
    groups: &[[u8; 2]],
    weight: i16,
    scale: usize,
) -> Result<(), Fault> {
    if scale == 0 {
        return Ok(());
    }
    out.push(b'.');
    let end = out.len() + scale;
    let zeros = 4 * usize::from((-1i16).saturating_sub(weight).max(0).unsigned_abs());
    out.resize(out.len() + zeros.min(scale), b'0');
    for &digits in groups {
        if out.len() >= end {
            break;
        }
        out.extend_from_slice(&four(group(digits)?));
    }
    out.resize(end, b'0');
    Ok(())
}

fn group(bytes: [u8; 2]) -> Result<u16, Fault> {
    let group = u16::from_be_bytes(bytes);
    if group < 10_000 { Ok(group) } else { Err(Fault::Range) }
}

fn four(group: u16) -> [u8; 4] {
    let digit = |power: u16| b'0' + (group / power % 10) as u8;
    [digit(1000), digit(100), digit(10), digit(1)]
}
