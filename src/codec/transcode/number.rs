//! Numbers: integers, floats, `numeric`, `money`.

use std::str::FromStr;

use crate::codec::scan::{Scan, parse};
use crate::codec::value::Fault;

/// An integer of `BYTES` bytes.
pub(super) fn integer<T: FromStr, const BYTES: usize>(
    text: &[u8],
    to_bytes: fn(T) -> [u8; BYTES],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    // Rust's reader takes a plus sign, which no server writes.
    if text.first() == Some(&b'+') {
        return Err(Fault::Syntax);
    }
    out.extend_from_slice(&to_bytes(parse(text)?));
    Ok(())
}

pub(super) fn float4(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    out.extend_from_slice(&float::<f32>(text)?.to_be_bytes());
    Ok(())
}

pub(super) fn float8(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    out.extend_from_slice(&float::<f64>(text)?.to_be_bytes());
    Ok(())
}

/// Both sides read the nearest number, so the shortest form comes back as it was.
fn float<T: FromStr>(text: &[u8]) -> Result<T, Fault> {
    match text {
        b"NaN" | b"Infinity" | b"-Infinity" => parse(text),
        [b'0'..=b'9', ..] | [b'-', b'0'..=b'9', ..] => parse(text),
        _ => Err(Fault::Syntax),
    }
}

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;
/// What the server's own macro reads out of an infinity, which has no scale.
const INFINITY_SCALE: u16 = 32;
const SCALE_MAX: usize = 0x3fff;
const GROUP: usize = 4;

/// Groups of four digits around the point, without zero groups at either end; see
/// [`value`](crate::codec::value).
pub(super) fn numeric(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    match text {
        b"NaN" => return header(out, [0, 0, NAN, 0]),
        b"Infinity" => return header(out, [0, 0, INFINITY, INFINITY_SCALE]),
        b"-Infinity" => return header(out, [0, 0, NEGATIVE_INFINITY, INFINITY_SCALE]),
        _ => {}
    }
    let mut scan = Scan(text);
    let negative = scan.take(b"-");
    let whole = scan.until(|byte| !byte.is_ascii_digit());
    let fraction = match scan.take(b".") {
        true => scan.until(|byte| !byte.is_ascii_digit()),
        false => b"",
    };
    scan.end()?;
    if whole.is_empty() || fraction.len() > SCALE_MAX {
        return Err(Fault::Syntax);
    }
    let digits = Digits { whole, fraction };
    let (before, after) = (whole.len().div_ceil(GROUP), fraction.len().div_ceil(GROUP));
    let is_set = |place: &usize| digits.group(*place, before) != 0;
    let places = 0..before + after;
    let scale = fraction.len() as u16;
    let (Some(first), Some(last)) = (places.clone().find(is_set), places.rev().find(is_set)) else {
        return header(out, [0, 0, 0, scale]);
    };
    let weight = i16::try_from(before as i64 - 1 - first as i64).map_err(|_| Fault::Range)?;
    let count = u16::try_from(last - first + 1).map_err(|_| Fault::Range)?;
    let sign = if negative { NEGATIVE } else { 0 };
    header(out, [count, weight.cast_unsigned(), sign, scale])?;
    for place in first..=last {
        out.extend_from_slice(&digits.group(place, before).to_be_bytes());
    }
    Ok(())
}

/// Count of groups, weight, sign, scale.
fn header(out: &mut Vec<u8>, fields: [u16; 4]) -> Result<(), Fault> {
    out.extend(fields.iter().flat_map(|field| field.to_be_bytes()));
    Ok(())
}

/// The digits on both sides of the point.
struct Digits<'a> {
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl Digits<'_> {
    /// The group at `place`, of which `before` stand before the point.
    fn group(&self, place: usize, before: usize) -> u16 {
        let digit = |at: Option<&u8>| at.map_or(0, |digit| u16::from(digit - b'0'));
        let mut group = 0;
        for within in 0..GROUP {
            let next = match place.checked_sub(before) {
                Some(after) => digit(self.fraction.get(after * GROUP + within)),
                // The first group is filled up with zeros from the left.
                None => {
                    let from_point = (before - place) * GROUP - within;
                    digit(self.whole.len().checked_sub(from_point).map(|at| &self.whole[at]))
                }
            };
            group = group * 10 + next;
        }
        group
    }
}

/// `-$1,234.56`: cents. Anything else depends on a locale that is not known here.
pub(super) fn money(text: &[u8], out: &mut Vec<u8>) -> Option<Result<(), Fault>> {
    let mut scan = Scan(text);
    let negative = scan.take(b"-");
    if !scan.take(b"$") {
        return None;
    }
    let digits = scan.until(|byte| !byte.is_ascii_digit() && byte != b',');
    let [b'.', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = *scan.0 else { return None };
    let groups: Vec<_> = digits.split(|byte| *byte == b',').collect();
    let (first, rest) = groups.split_first()?;
    if !(1..=3).contains(&first.len()) || rest.iter().any(|group| group.len() != 3) {
        return None;
    }
    // Counted below zero, where there is room for one more.
    let below =
        groups.concat().iter().chain(&[tens, ones]).try_fold(0i64, |cents, digit| {
            cents.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))
        });
    let cents = match (negative, below) {
        (true, Some(below)) => Some(below),
        (false, Some(below)) => below.checked_neg(),
        (_, None) => None,
    };
    Some(cents.map(|cents| out.extend_from_slice(&cents.to_be_bytes())).ok_or(Fault::Range))
}

/// An object without a name shows its number, and no object a dash.
pub(super) fn nameless(text: &[u8], out: &mut Vec<u8>) -> Option<Result<(), Fault>> {
    match text {
        b"-" => {
            out.extend_from_slice(&[0; 4]);
            Some(Ok(()))
        }
        [b'0'..=b'9', ..] if text.iter().all(u8::is_ascii_digit) => {
            Some(integer::<u32, 4>(text, u32::to_be_bytes, out))
        }
        _ => None,
    }
}
