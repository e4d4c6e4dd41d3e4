//! The vectors of pgvector.

use crate::codec::scan::parse;
use crate::codec::value::Fault;

/// `[1,2.5]`: how many, two bytes that say nothing, the numbers.
pub(super) fn vector(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    dense(text, out, |number, out| out.extend_from_slice(&number.to_be_bytes()))
}

/// The same in half the bytes.
pub(super) fn half_vector(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    dense(text, out, |number, out| out.extend_from_slice(&narrowed(number).to_be_bytes()))
}

fn dense(text: &[u8], out: &mut Vec<u8>, write: impl Fn(f32, &mut Vec<u8>)) -> Result<(), Fault> {
    let inner = text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    let numbers = inner.ok_or(Fault::Syntax)?.split(|byte| *byte == b',');
    let count = u16::try_from(numbers.clone().count()).map_err(|_| Fault::Range)?;
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    for number in numbers {
        write(parse(number)?, out);
    }
    Ok(())
}

/// `{1:1.5,3:2}/5`: how many there are, how many are not zero, four bytes that say nothing; the
/// places of those, from zero, and then what they are.
pub(super) fn sparse_vector(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let text = text.strip_prefix(b"{").ok_or(Fault::Syntax)?;
    let end = memchr::memmem::find(text, b"}/").ok_or(Fault::Syntax)?;
    let (pairs, dimensions) = (&text[..end], &text[end + 2..]);
    let (mut places, mut numbers, mut count) = (Vec::new(), Vec::new(), 0i32);
    for pair in pairs.split(|byte| *byte == b',').filter(|_| !pairs.is_empty()) {
        let colon = memchr::memchr(b':', pair).ok_or(Fault::Syntax)?;
        let place: i32 = parse(&pair[..colon])?;
        let place = place.checked_sub(1).ok_or(Fault::Range)?;
        places.extend_from_slice(&place.to_be_bytes());
        numbers.extend_from_slice(&parse::<f32>(&pair[colon + 1..])?.to_be_bytes());
        count += 1;
    }
    for head in [parse(dimensions)?, count, 0] {
        out.extend_from_slice(&i32::to_be_bytes(head));
    }
    out.extend_from_slice(&places);
    out.extend_from_slice(&numbers);
    Ok(())
}

/// The nearest number of five bits of exponent and ten of fraction, of two the even one.
fn narrowed(number: f32) -> u16 {
    let bits = number.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let size = number.abs();
    if size.is_nan() {
        return sign | 0x7e00;
    }
    // From here on it is nearer to the next power of two, which is no finite half.
    if size >= 65_520.0 {
        return sign | 0x7c00;
    }
    // Steps that halves of this size are apart; a whole number of them is exact in an f32.
    let exponent = (size.to_bits() >> 23) as i32 - 127;
    let step = exponent.max(-14) - 10;
    let steps = (size * 2f32.powi(-step)).round_ties_even() as u16;
    // What was rounded up to the next power of two carries into the exponent by itself.
    sign | ((step + 24) as u16 * 0x400 + steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_the_nearest_ones() {
        for (number, half) in [
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65_504.0, 0x7bff),
            (65_520.0, 0x7c00),
            (0.1, 0x2e66),
            (2_049.0, 0x6800),
            (2_051.0, 0x6802),
            (5.960_464_5e-8, 0x0001),
            (6.097_555e-5, 0x03ff),
            (6.103_515_6e-5, 0x0400),
            (0.0, 0x0000),
            (-0.0, 0x8000),
        ] {
            assert_eq!(narrowed(number), half, "{number}");
        }
    }
}
