//! Dates and times as the connector writes them: numbers since 1970, or ISO 8601 in UTC.
//!
//! The server's infinities become the far dates that the connector makes of them.

use super::options::TimePrecision;
use crate::codec::value::{Fault, civil_date};

const DAY: i64 = 86_400_000_000;
/// From 1970-01-01 to the server's epoch, 2000-01-01.
pub(super) const EPOCH_DAYS: i32 = 10_957;
pub(super) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY;
/// What the server's driver makes of the infinite timestamps, in microseconds since 1970.
const INFINITY_MICROS: i64 = 9_223_372_036_825_200_000;
const NEGATIVE_INFINITY_MICROS: i64 = -9_223_372_036_832_400_000;

/// In what a time or timestamp is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Iso,
}

impl Unit {
    /// What `precision` makes of a column with this type modifier, -1 for none.
    pub(super) fn of(precision: TimePrecision, modifier: i32) -> Self {
        match precision {
            TimePrecision::Adaptive if (0..=3).contains(&modifier) => Self::Millis,
            TimePrecision::Adaptive | TimePrecision::Microseconds => Self::Micros,
            TimePrecision::Iso => Self::Iso,
        }
    }
}

/// `days` since the server's epoch.
pub(super) fn write_date(out: &mut Vec<u8>, days: i32, precision: TimePrecision) {
    // The infinities lie at the ends of the range: the connector's count goes around.
    let days = days.wrapping_add(EPOCH_DAYS);
    if precision == TimePrecision::Iso {
        out.push(b'"');
        iso_date(out, i64::from(days));
        out.extend_from_slice(b"Z\"");
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(days).as_bytes());
    }
}

/// `micros` since midnight, up to a whole day.
pub(super) fn write_time(out: &mut Vec<u8>, micros: i64, unit: Unit) -> Result<(), Fault> {
    if !(0..=DAY).contains(&micros) {
        return Err(Fault::Range);
    }
    let mut number = itoa::Buffer::new();
    match unit {
        Unit::Millis => out.extend_from_slice(number.format(micros / 1000).as_bytes()),
        Unit::Micros => out.extend_from_slice(number.format(micros).as_bytes()),
        Unit::Iso => {
            out.push(b'"');
            iso_clock(out, micros % DAY, Fraction::AsNeeded);
            out.extend_from_slice(b"Z\"");
        }
    }
    Ok(())
}

/// `micros` since midnight, `west` seconds behind UTC.
pub(super) fn write_time_tz(out: &mut Vec<u8>, micros: i64, west: i32) -> Result<(), Fault> {
    if !(0..=DAY).contains(&micros) {
        return Err(Fault::Range);
    }
    out.push(b'"');
    if micros == DAY && west == 0 {
        out.extend_from_slice(b"24:00:00");
    } else {
        let utc = (micros + i64::from(west) * 1_000_000).rem_euclid(DAY);
        iso_clock(out, utc, Fraction::AsNeeded);
    }
    out.extend_from_slice(b"Z\"");
    Ok(())
}

/// `micros` since the server's epoch, of a clock on the wall.
pub(super) fn write_timestamp(out: &mut Vec<u8>, micros: i64, unit: Unit) {
    let micros = match micros {
        i64::MAX => INFINITY_MICROS,
        i64::MIN => NEGATIVE_INFINITY_MICROS,
        _ => micros.saturating_add(EPOCH_MICROS),
    };
    let mut number = itoa::Buffer::new();
    match unit {
        Unit::Millis => out.extend_from_slice(number.format(micros.div_euclid(1000)).as_bytes()),
        Unit::Micros => out.extend_from_slice(number.format(micros).as_bytes()),
        Unit::Iso => {
            out.push(b'"');
            iso_instant(out, micros, Fraction::AsNeeded);
            out.extend_from_slice(b"Z\"");
        }
    }
}

/// `micros` since the server's epoch, of a column that keeps `digits` of a second's fraction.
pub(super) fn write_timestamp_tz(out: &mut Vec<u8>, micros: i64, digits: u8) {
    out.push(b'"');
    match micros {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            iso_instant(out, micros.saturating_add(EPOCH_MICROS), Fraction::Digits(digits));
            out.push(b'Z');
        }
    }
    out.push(b'"');
}

/// A length of time in microseconds, months being as long as they are on average.
pub(super) fn write_interval(out: &mut Vec<u8>, micros: i64, days: i32, months: i32) {
    const DAYS_PER_MONTH: f64 = 365.25 / 12.0;
    const DAY_SECONDS: f64 = 86_400.0;
    let days = f64::from(months) * DAYS_PER_MONTH + f64::from(days);
    let seconds = days * DAY_SECONDS + micros as f64 / 1e6;
    // A float's cast stops at the ends of the range.
    let whole = if months == 0 { exact(micros, days) } else { None };
    let micros = whole.unwrap_or((seconds * 1e6) as i64);
    out.extend_from_slice(itoa::Buffer::new().format(micros).as_bytes());
}

/// Without months there is nothing to round.
fn exact(micros: i64, days: f64) -> Option<i64> {
    (days as i64).checked_mul(DAY)?.checked_add(micros)
}

/// How much of a second's fraction is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fraction {
    /// Nothing when it is zero, else no zeros at its end.
    AsNeeded,
    Digits(u8),
}

fn iso_instant(out: &mut Vec<u8>, micros: i64, fraction: Fraction) {
    iso_date(out, micros.div_euclid(DAY));
    out.push(b'T');
    iso_clock(out, micros.rem_euclid(DAY), fraction);
}

/// The day `days` after 1970-01-01. Year 0 is 1 BC; a year of more than four digits has a sign.
fn iso_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_date(days - i64::from(EPOCH_DAYS));
    if year < 0 {
        out.push(b'-');
    } else if year > 9999 {
        out.push(b'+');
    }
    let (year, mut number) = (year.unsigned_abs(), itoa::Buffer::new());
    let digits = number.format(year).as_bytes();
    out.resize(out.len() + 4usize.saturating_sub(digits.len()), b'0');
    out.extend_from_slice(digits);
    let [m, d] = [month, day].map(two);
    out.extend_from_slice(&[b'-', m[0], m[1], b'-', d[0], d[1]]);
}

fn iso_clock(out: &mut Vec<u8>, micros: i64, fraction: Fraction) {
    let seconds = (micros / 1_000_000) as u32;
    let [h, m, s] = [seconds / 3600, seconds / 60 % 60, seconds % 60].map(two);
    out.extend_from_slice(&[h[0], h[1], b':', m[0], m[1], b':', s[0], s[1]]);
    let micros = (micros % 1_000_000) as u32;
    let [a, b, c] = [micros / 10_000, micros / 100 % 100, micros % 100].map(two);
    let digits = [b'.', a[0], a[1], b[0], b[1], c[0], c[1]];
    let length = match fraction {
        Fraction::Digits(0) => 0,
        Fraction::Digits(digits) => 1 + usize::from(digits.min(6)),
        Fraction::AsNeeded if micros == 0 => 0,
        Fraction::AsNeeded => 1 + digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0),
    };
    out.extend_from_slice(&digits[..length]);
}

const fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}
