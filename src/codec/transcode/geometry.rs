//! Geometric types: all are floats between brackets of some kind.

use super::number;
use crate::codec::value::Fault;

/// The numbers of `text`, whatever the brackets around them.
fn numbers(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    const BETWEEN: &[u8] = b"()[]{}<>,";
    text.split(|byte| BETWEEN.contains(byte)).filter(|number| !number.is_empty())
}

/// A figure of `COUNT` numbers.
pub(super) fn floats<const COUNT: usize>(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    if numbers(text).count() != COUNT {
        return Err(Fault::Syntax);
    }
    numbers(text).try_for_each(|number| number::float8(number, out))
}

/// Whether it is closed (round brackets), the number of points, the points.
pub(super) fn path(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    out.push(match text.first() {
        Some(b'(') => 1,
        Some(b'[') => 0,
        _ => return Err(Fault::Syntax),
    });
    polygon(text, out)
}

/// The number of points, the points.
pub(super) fn polygon(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let count = numbers(text).count();
    if !count.is_multiple_of(2) {
        return Err(Fault::Syntax);
    }
    let points = i32::try_from(count / 2).map_err(|_| Fault::Range)?;
    out.extend_from_slice(&points.to_be_bytes());
    numbers(text).try_for_each(|number| number::float8(number, out))
}
