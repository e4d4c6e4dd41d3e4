//! Text of the vectors of pgvector: `[1,2.5]`, and `{1:1.5,3:2}/5` where zeros are left out.

use super::super::error::Fault;
use super::super::float;
use super::parts::Parts;
use super::simple::number;

/// How many, two bytes that say nothing, the numbers.
pub(super) fn vector(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    dense(out, bytes, |parts| Ok(f32::from_be_bytes(parts.take()?)))
}

/// The same in half the bytes.
pub(super) fn half_vector(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    dense(out, bytes, |parts| Ok(widened(parts.take_u16()?)))
}

fn dense(
    out: &mut Vec<u8>,
    bytes: &[u8],
    next: impl Fn(&mut Parts<'_>) -> Result<f32, Fault>,
) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    let count = parts.take_u16()?;
    let _unused: [u8; 2] = parts.take()?;
    out.push(b'[');
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        float::write_f32(out, next(&mut parts)?);
    }
    out.push(b']');
    parts.end()
}

/// How many there are, how many of them are not zero, four bytes that say nothing; the places, from
/// zero, of those that are not, and then what they are.
pub(super) fn sparse_vector(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    let dimensions = parts.take_i32()?;
    let count = parts.take_i32()?;
    let _unused = parts.take_i32()?;
    let count = usize::try_from(count).map_err(|_| Fault::Structure)?;
    let places = parts.take_bytes(count.checked_mul(4).ok_or(Fault::Length)?)?;
    out.push(b'{');
    for (at, place) in places.as_chunks().0.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        number(out, i64::from(i32::from_be_bytes(*place)) + 1);
        out.push(b':');
        float::write_f32(out, f32::from_be_bytes(parts.take()?));
    }
    out.extend_from_slice(b"}/");
    number(out, dimensions);
    parts.end()
}

/// A number of five bits of exponent and ten of fraction.
fn widened(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let (exponent, fraction) = (u32::from(half >> 10 & 0x1f), u32::from(half & 0x3ff));
    match exponent {
        // Below the smallest normal one: the fraction counts steps of two to the -24th.
        0 => {
            let steps = fraction as f32 * 2f32.powi(-24);
            if sign == 0 { steps } else { -steps }
        }
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        for (half, number) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65_504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x8000, -0.0),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(widened(half).to_bits(), f32::to_bits(number), "{half:#x}");
        }
        assert!(widened(0x7e00).is_nan());
    }
}
