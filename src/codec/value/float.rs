//! Floating-point numbers in PostgreSQL's shortest form.
//!
//! Both sides print the fewest digits that read back as the same number, with two differences that
//! this file owns. The server writes an exponent when the number is below 1e-4 or from 1e15 on (1e6
//! for `real`). And it never takes digits that lie exactly half-way to the neighbouring number,
//! whereas `ryu` takes them when rounding to even would read them back: 1e23 is such a case.
//!
//! Not-a-number and the infinities are JSON strings, as `to_jsonb` writes them.

use std::fmt::LowerExp;
use std::io::Write;
use std::str::FromStr;

pub(super) fn write_f64(out: &mut Vec<u8>, number: f64) {
    let fixed = (1e-4..1e15).contains(&number.abs());
    write(out, number, fixed, Precision { bits: 53, digits: 17 });
}

pub(super) fn write_f32(out: &mut Vec<u8>, number: f32) {
    let fixed = (1e-4..1e6).contains(&number.abs());
    write(out, number, fixed, Precision { bits: 24, digits: 9 });
}

struct Precision {
    /// Binary digits of the significand.
    bits: u32,
    /// Decimal digits that are always enough.
    digits: usize,
}

fn write<F>(out: &mut Vec<u8>, number: F, fixed: bool, precision: Precision)
where
    F: ryu::Float + LowerExp + FromStr + PartialEq + Copy + Into<f64>,
{
    let wide: f64 = number.into();
    if !wide.is_finite() {
        out.extend_from_slice(match wide {
            f64::INFINITY => b"\"Infinity\"".as_slice(),
            f64::NEG_INFINITY => b"\"-Infinity\"",
            _ => b"\"NaN\"",
        });
        return;
    }
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(number).as_bytes();
    if fixed || wide == 0.0 {
        out.extend_from_slice(shortest.strip_suffix(b".0").unwrap_or(shortest));
        return;
    }
    if wide < 0.0 {
        out.push(b'-');
    }
    let mut decimal = Decimal::parse(shortest);
    if decimal.is_half_way(precision.bits) {
        decimal = inside(number, precision).unwrap_or(decimal);
    }
    decimal.write_scientific(out);
}

/// The shortest decimal strictly inside the interval that reads back as `number`. The nearest one
/// of each length is the only candidate, because the interval is symmetrical: around a power of two
/// it is not, but no short decimal is half-way there (five divides neither 2^53+1 nor 2^54-1, nor
/// 2^24+1 nor 2^25-1).
fn inside<F>(number: F, precision: Precision) -> Option<Decimal>
where
    F: LowerExp + FromStr + PartialEq + Copy,
{
    (0..precision.digits).find_map(|places| {
        let mut buffer = [0; 40];
        let mut free = buffer.as_mut_slice();
        write!(free, "{number:.places$e}").ok()?;
        let length = 40 - free.len();
        let text = std::str::from_utf8(&buffer[..length]).ok()?;
        let decimal = Decimal::parse(text.as_bytes());
        let same = text.parse::<F>().is_ok_and(|read| read == number);
        (same && !decimal.is_half_way(precision.bits)).then_some(decimal)
    })
}

/// `digits` times ten to the `exponent`, without sign and without trailing zeros.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u64,
    exponent: i32,
}

impl Decimal {
    /// Reads what `ryu` or `LowerExp` wrote: at most 17 significant digits.
    fn parse(text: &[u8]) -> Self {
        let (mut digits, mut places, mut exponent) = (0u64, 0, 0);
        let (mut point, mut in_exponent, mut exponent_sign) = (false, false, 1);
        for &byte in text {
            match byte {
                b'0'..=b'9' if in_exponent => exponent = exponent * 10 + i32::from(byte - b'0'),
                b'0'..=b'9' => {
                    digits = digits * 10 + u64::from(byte - b'0');
                    places += i32::from(point);
                }
                b'.' => point = true,
                b'e' => in_exponent = true,
                b'-' if in_exponent => exponent_sign = -1,
                _ => {}
            }
        }
        let mut exponent = exponent_sign * exponent - places;
        while digits != 0 && digits % 10 == 0 {
            digits /= 10;
            exponent += 1;
        }
        Self { digits, exponent }
    }

    /// Whether it lies exactly between two neighbouring numbers of `bits` binary digits, that is,
    /// needs exactly one digit more. With so few decimal digits that takes a positive exponent, and
    /// beyond 5^23 the power alone has more binary digits than that.
    fn is_half_way(self, bits: u32) -> bool {
        if !(1..=23).contains(&self.exponent) {
            return false;
        }
        let odd = u128::from(self.digits) * 5u128.pow(self.exponent.unsigned_abs());
        128 - odd.leading_zeros() - odd.trailing_zeros() == bits + 1
    }

    fn write_scientific(self, out: &mut Vec<u8>) {
        let mut buffer = itoa::Buffer::new();
        let (first, rest) = buffer.format(self.digits).as_bytes().split_at(1);
        out.extend_from_slice(first);
        let exponent = self.exponent + rest.len() as i32;
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        let exponent = exponent.unsigned_abs();
        if exponent < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
    }
}
