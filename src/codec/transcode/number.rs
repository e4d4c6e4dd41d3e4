//! Numbers: integers, floats, `numeric`, `money`.

use std::str::FromStr;

use crate::codec::scan::{Scan, parse};
use crate::codec::value::Fault;

/// An integer of `BYTES` bytes.
pub(super) fn integer<T: FromStr + TryFrom<i64>, const BYTES: usize>(
    text: &[u8],
    to_bytes: impl Fn(T) -> [u8; BYTES],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let number = match short(text).and_then(|number| T::try_from(number).ok()) {
        Some(number) => number,
        // Rust's reader takes a plus sign, which no server writes.
        None if text.first() == Some(&b'+') => return Err(Fault::Syntax),
        None => parse(text)?,
    };
    out.extend_from_slice(&to_bytes(number));
    Ok(())
}

/// A number of so few digits that it is in range.
fn short(text: &[u8]) -> Option<i64> {
    const DIGITS_MAX: usize = 18;
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if !(1..=DIGITS_MAX).contains(&digits.len()) {
        return None;
    }
    let mut number = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + i64::from(digit);
    }
    match (negative, number) {
        // Not for every type a number.
        (true, 0) => None,
        (true, number) => Some(-number),
        (false, number) => Some(number),
    }
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
/// More groups need memory of their own.
const GROUPS_AT_ONCE: usize = 16;

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
    let (before, after) = (whole.len().div_ceil(GROUP), fraction.len().div_ceil(GROUP));
    let mut few = [0; GROUPS_AT_ONCE];
    let mut many = Vec::new();
    let groups = match few.get_mut(..before + after) {
        Some(groups) => groups,
        None => {
            many.resize(before + after, 0);
            &mut many[..]
        }
    };
    // The first group is filled up with zeros from the left, the last from the right.
    let (head, rest) = whole.split_at(whole.len() - (before - 1) * GROUP);
    let (whole_groups, fraction_groups) = groups.split_at_mut(before);
    whole_groups[0] = group(head);
    for (into, digits) in whole_groups[1..].iter_mut().zip(rest.chunks(GROUP)) {
        *into = group(digits);
    }
    for (into, digits) in fraction_groups.iter_mut().zip(fraction.chunks(GROUP)) {
        *into = group(digits) * 10_u16.pow((GROUP - digits.len()) as u32);
    }
    let scale = fraction.len() as u16;
    let sign = if negative { NEGATIVE } else { 0 };
    write_groups(groups, Place { before, sign, scale }, out)
}

/// What tells a numeric's value beside its groups.
struct Place {
    /// How many groups are before the point.
    before: usize,
    sign: u16,
    scale: u16,
}

fn write_groups(groups: &[u16], place: Place, out: &mut Vec<u8>) -> Result<(), Fault> {
    let Place { before, sign, scale } = place;
    let is_set = |group: &u16| *group != 0;
    let (Some(first), Some(last)) =
        (groups.iter().position(is_set), groups.iter().rposition(is_set))
    else {
        return header(out, [0, 0, 0, scale]);
    };
    let weight = i16::try_from(before as i64 - 1 - first as i64).map_err(|_| Fault::Range)?;
    let count = u16::try_from(last - first + 1).map_err(|_| Fault::Range)?;
    header(out, [count, weight.cast_unsigned(), sign, scale])?;
    for group in &groups[first..=last] {
        out.extend_from_slice(&group.to_be_bytes());
    }
    Ok(())
}

/// The number that up to four digits are.
fn group(digits: &[u8]) -> u16 {
    digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
}

/// Count of groups, weight, sign, scale.
fn header(out: &mut Vec<u8>, fields: [u16; 4]) -> Result<(), Fault> {
    let [count, weight, sign, scale] = fields.map(u16::to_be_bytes);
    out.extend_from_slice([count, weight, sign, scale].as_flattened());
    Ok(())
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
            Some(integer(text, u32::to_be_bytes, out))
        }
        _ => None,
    }
}
