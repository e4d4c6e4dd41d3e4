//! Decimal numbers as Kafka Connect has them: an unscaled integer in two's complement, the highest
//! byte first and as few bytes as hold its sign, in base64; its scale beside it where no schema
//! fixes one.
//!
//! Read from the server's binary `numeric`: groups of four digits, a weight and a display scale.

use super::push_base64;
use crate::codec::value::Fault;

const NEGATIVE: u16 = 0x4000;
const SPECIAL: u16 = 0xc000;
/// So many digits and ten to that power fit a signed 128-bit number.
const SMALL_DIGITS_MAX: usize = 38;

/// A finite `numeric`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal<'a> {
    is_negative: bool,
    /// Groups of four digits, the highest first, without those that are zero at the end.
    groups: &'a [[u8; 2]],
    /// The power of ten that the last group counts.
    exponent: i32,
}

impl<'a> Decimal<'a> {
    /// Read the binary form; `None` for NaN and the infinities.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Option<Self>, Fault> {
        let (header, groups) = bytes.split_first_chunk::<8>().ok_or(Fault::Length)?;
        let [c0, c1, w0, w1, s0, s1, ..] = *header;
        let (mut groups, rest) = groups.as_chunks::<2>();
        if !rest.is_empty() || groups.len() != usize::from(u16::from_be_bytes([c0, c1])) {
            return Err(Fault::Length);
        }
        let sign = u16::from_be_bytes([s0, s1]);
        if sign & SPECIAL == SPECIAL {
            return Ok(None);
        }
        if groups.iter().any(|group| u16::from_be_bytes(*group) >= 10_000) {
            return Err(Fault::Range);
        }
        let weight = i32::from(i16::from_be_bytes([w0, w1]));
        let mut exponent = 4 * (weight + 1 - groups.len() as i32);
        while let Some(([0, 0], before)) = groups.split_last() {
            groups = before;
            exponent += 4;
        }
        Ok(Some(Self { is_negative: sign == NEGATIVE, groups, exponent }))
    }

    /// How many digits after the point it needs.
    pub(super) fn scale(self) -> u32 {
        let Some(last) = self.groups.last() else { return 0 };
        let last = u32::from(u16::from_be_bytes(*last));
        let zeros = [10, 100, 1000].iter().take_while(|power| last % **power == 0).count() as i32;
        (-(self.exponent + zeros)).max(0).unsigned_abs()
    }

    /// Append its unscaled integer at `scale` as base64 in quotes. Digits beyond the scale, which a
    /// column of that scale has not, are an error.
    pub(super) fn write_unscaled(self, out: &mut Vec<u8>, scale: u32) -> Result<(), Fault> {
        let power = self.exponent + scale as i32;
        let digits = self.groups.len() * 4 + power.max(0).unsigned_abs() as usize;
        out.push(b'"');
        if digits <= SMALL_DIGITS_MAX {
            self.write_small(out, power)?;
        } else {
            self.write_large(out, power)?;
        }
        out.push(b'"');
        Ok(())
    }

    fn write_small(self, out: &mut Vec<u8>, power: i32) -> Result<(), Fault> {
        let digit = |number: i128, group: &[u8; 2]| {
            number * 10_000 + i128::from(u16::from_be_bytes(*group))
        };
        let number = self.groups.iter().fold(0, digit);
        let factor = 10i128.pow(power.unsigned_abs().min(SMALL_DIGITS_MAX as u32));
        let mut unscaled = if power >= 0 { number * factor } else { number / factor };
        if power < 0 && number % factor != 0 {
            return Err(Fault::Range);
        }
        if self.is_negative {
            unscaled = -unscaled;
        }
        let bytes = unscaled.to_be_bytes();
        let sign = if unscaled < 0 { 0xff } else { 0 };
        let spare = |pair: &&[u8]| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0;
        let start = bytes.windows(2).take_while(spare).count();
        push_base64(out, &bytes[start..]);
        Ok(())
    }

    /// The same for a number of any length.
    fn write_large(self, out: &mut Vec<u8>, power: i32) -> Result<(), Fault> {
        // Limbs of 32 bits, the lowest first.
        let mut limbs: Vec<u32> = Vec::new();
        for group in self.groups {
            multiply_add(&mut limbs, 10_000, u32::from(u16::from_be_bytes(*group)));
        }
        for _ in 0..power.max(0) / 9 {
            multiply_add(&mut limbs, 1_000_000_000, 0);
        }
        for _ in 0..power.max(0) % 9 {
            multiply_add(&mut limbs, 10, 0);
        }
        for _ in 0..(-power).max(0) {
            if divide(&mut limbs, 10) != 0 {
                return Err(Fault::Range);
            }
        }
        let mut bytes: Vec<u8> = limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
        bytes.insert(0, 0);
        if self.is_negative {
            let mut carry = true;
            for byte in bytes.iter_mut().rev() {
                let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
                (*byte, carry) = (sum, over);
            }
        }
        let sign = if self.is_negative { 0xff } else { 0 };
        let spare = |pair: &&[u8]| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0;
        let start = bytes.windows(2).take_while(spare).count();
        push_base64(out, &bytes[start..]);
        Ok(())
    }
}

fn multiply_add(limbs: &mut Vec<u32>, factor: u32, addend: u32) {
    let mut carry = u64::from(addend);
    for limb in limbs.iter_mut() {
        carry += u64::from(*limb) * u64::from(factor);
        *limb = carry as u32;
        carry >>= 32;
    }
    if carry > 0 {
        limbs.push(carry as u32);
    }
}

/// Divides in place and answers the remainder.
fn divide(limbs: &mut [u32], divisor: u32) -> u32 {
    let mut rest = 0u64;
    for limb in limbs.iter_mut().rev() {
        let number = rest << 32 | u64::from(*limb);
        *limb = (number / u64::from(divisor)) as u32;
        rest = number % u64::from(divisor);
    }
    rest as u32
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use postgres_types::Type;

    use super::*;
    use crate::codec::transcode;

    fn numeric(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        transcode(&Type::NUMERIC, text.as_bytes(), &mut bytes).unwrap();
        bytes
    }

    fn unscaled(text: &str, scale: u32) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        let bytes = numeric(text);
        Decimal::read(&bytes).unwrap().unwrap().write_unscaled(&mut out, scale)?;
        Ok(STANDARD
            .decode(out.trim_ascii().strip_prefix(b"\"").unwrap().strip_suffix(b"\"").unwrap())
            .unwrap())
    }

    #[test]
    fn an_unscaled_number_takes_the_fewest_bytes_that_hold_its_sign() {
        for (text, scale, bytes) in [
            ("0", 0, &[0][..]),
            ("0.00", 2, &[0]),
            ("1.27", 2, &[127]),
            ("1.28", 2, &[0, 128]),
            ("-1.28", 2, &[128]),
            ("-1.29", 2, &[255, 127]),
            ("100", 2, &[0x27, 0x10]),
            ("-100", 0, &[0x9c]),
            ("12.5", 1, &[125]),
            ("12.5", 4, &[0x01, 0xe8, 0x48]),
            ("100000000", 0, &[0x05, 0xf5, 0xe1, 0x00]),
            ("0.0001", 4, &[1]),
        ] {
            assert_eq!(unscaled(text, scale), Ok(bytes.to_vec()), "{text} at {scale}");
        }
        assert_eq!(unscaled("0.125", 2), Err(Fault::Range));
    }

    #[test]
    fn short_and_long_numbers_are_made_the_same_way() {
        let numbers =
            ["1", "-1", "99999999999999999999", "-12345678901234567890.1234", "65536", "-256"];
        for number in numbers {
            let bytes = numeric(number);
            let decimal = Decimal::read(&bytes).unwrap().unwrap();
            let power = decimal.exponent + 4;
            let (mut small, mut large) = (Vec::new(), Vec::new());
            decimal.write_small(&mut small, power).unwrap();
            decimal.write_large(&mut large, power).unwrap();
            assert_eq!(small, large, "{number}");
        }
        // 10^40 - 1, whose bytes are known.
        let nines = "9".repeat(40);
        let expected = 10u128.pow(20);
        let high = unscaled(&nines, 0).unwrap();
        assert_eq!(high.len(), 17);
        assert_eq!(&high[..3], &[0x1d, 0x63, 0x29]);
        assert_eq!(expected.checked_mul(expected), None);
    }

    #[test]
    fn the_scale_is_what_the_digits_need() {
        for (text, scale) in [
            ("0.000", 0),
            ("12.500", 1),
            ("100", 0),
            ("0.00000000000000000001", 20),
            ("0.12345", 5),
            ("10000000000", 0),
        ] {
            let bytes = numeric(text);
            assert_eq!(Decimal::read(&bytes).unwrap().unwrap().scale(), scale, "{text}");
        }
        let nan = numeric("NaN");
        assert!(Decimal::read(&nan).unwrap().is_none());
    }
}
