//! Dates, times and timestamps as `to_jsonb` writes them: ISO 8601, with `T` and a full offset.
//!
//! The server counts from 2000-01-01 in days and microseconds, on the Gregorian calendar in both
//! directions; years before 1 are written with ` BC`. A timestamptz is an instant and shown in UTC,
//! which is also the zone that the session's text comes in.

use super::error::Fault;

/// Whether a timestamp is one with time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    With,
    Without,
}

const DAY: i64 = 86_400_000_000;
/// The days and microseconds that the server's types hold, from 4714-11-24 BC on.
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
/// Offsets are given in seconds west of Greenwich and stay below sixteen hours.
const OFFSET_MAX: u32 = 16 * 3600;

pub(super) fn write_date(out: &mut Vec<u8>, days: i32) -> Result<(), Fault> {
    match days {
        i32::MAX => out.extend_from_slice(b"\"infinity\""),
        i32::MIN => out.extend_from_slice(b"\"-infinity\""),
        _ if !DATES.contains(&days) => return Err(Fault::Range),
        _ => {
            let date = Date::of_day(i64::from(days));
            out.push(b'"');
            date.write_year(out);
            let [m0, m1] = two(date.month);
            let [d0, d1] = two(date.day);
            out.extend_from_slice(&[b'-', m0, m1, b'-', d0, d1]);
            out.extend_from_slice(date.era());
            out.push(b'"');
        }
    }
    Ok(())
}

pub(super) fn write_timestamp(out: &mut Vec<u8>, micros: i64, zone: Zone) -> Result<(), Fault> {
    out.push(b'"');
    write_instant(out, micros, b'T', if zone == Zone::With { b"+00:00" } else { b"" })?;
    out.push(b'"');
    Ok(())
}

/// As the server writes it in text.
pub(super) fn write_timestamp_output(
    out: &mut Vec<u8>,
    micros: i64,
    zone: Zone,
) -> Result<(), Fault> {
    write_instant(out, micros, b' ', if zone == Zone::With { b"+00" } else { b"" })
}

fn write_instant(out: &mut Vec<u8>, micros: i64, between: u8, offset: &[u8]) -> Result<(), Fault> {
    match micros {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        _ if !TIMESTAMPS.contains(&micros) => return Err(Fault::Range),
        _ => {
            let date = Date::of_day(micros.div_euclid(DAY));
            let clock = Clock::of_day_micros(micros.rem_euclid(DAY));
            let ([m0, m1], [d0, d1]) = (two(date.month), two(date.day));
            date.write_year(out);
            out.extend_from_slice(&[b'-', m0, m1, b'-', d0, d1, between]);
            clock.write(out);
            out.extend_from_slice(offset);
            out.extend_from_slice(date.era());
        }
    }
    Ok(())
}

pub(super) fn write_time(out: &mut Vec<u8>, micros: i64) -> Result<(), Fault> {
    let clock = Clock::checked(micros)?;
    out.push(b'"');
    clock.write(out);
    out.push(b'"');
    Ok(())
}

pub(super) fn write_time_tz(out: &mut Vec<u8>, bytes: [u8; 12]) -> Result<(), Fault> {
    let [m0, m1, m2, m3, m4, m5, m6, m7, z0, z1, z2, z3] = bytes;
    let clock = Clock::checked(i64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]))?;
    let west = i32::from_be_bytes([z0, z1, z2, z3]);
    let offset = west.unsigned_abs();
    if offset >= OFFSET_MAX {
        return Err(Fault::Range);
    }
    out.push(b'"');
    clock.write(out);
    out.push(if west > 0 { b'-' } else { b'+' });
    out.extend_from_slice(&two(offset / 3600));
    let (minutes, seconds) = (offset / 60 % 60, offset % 60);
    if minutes != 0 || seconds != 0 {
        out.push(b':');
        out.extend_from_slice(&two(minutes));
    }
    if seconds != 0 {
        out.push(b':');
        out.extend_from_slice(&two(seconds));
    }
    out.push(b'"');
    Ok(())
}

/// Appends `.` and the microseconds without trailing zeros; nothing when there are none.
pub(super) fn write_fraction(out: &mut Vec<u8>, micros: u32) {
    let (digits, length) = fraction(micros);
    out.extend_from_slice(&digits[..length]);
}

/// `.` and the microseconds, and how much of it to show.
fn fraction(micros: u32) -> ([u8; 7], usize) {
    if micros == 0 {
        return ([b'0'; 7], 0);
    }
    let ([a, b], [c, d], [e, f]) =
        (two(micros / 10_000), two(micros / 100 % 100), two(micros % 100));
    let digits = [b'.', a, b, c, d, e, f];
    let end = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
    (digits, end)
}

/// A number below 100 as two digits.
pub(super) const fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

/// Year, month and day, `days` after 2000-01-01; year 0 is 1 BC.
pub(crate) fn civil_date(days: i64) -> (i64, u32, u32) {
    let Date { year, month, day } = Date::of_day(days);
    (year, month, day)
}

/// A day of the Gregorian calendar; year 0 is 1 BC.
struct Date {
    year: i64,
    month: u32,
    day: u32,
}

impl Date {
    /// The date `days` after 2000-01-01. Counted in years that begin in March, so that the leap day
    /// is the last of its year.
    fn of_day(days: i64) -> Self {
        const DAYS_FROM_MARCH_OF_YEAR_0: i64 = 730_425;
        const DAYS_IN_400_YEARS: i64 = 146_097;
        let days = days + DAYS_FROM_MARCH_OF_YEAR_0;
        let cycle = days.div_euclid(DAYS_IN_400_YEARS);
        let day = days.rem_euclid(DAYS_IN_400_YEARS) as u32;
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month, carry) = (
            day - (153 * month + 2) / 5 + 1,
            if month < 10 { month + 3 } else { month - 9 },
            i64::from(month >= 10),
        );
        Self { year: cycle * 400 + i64::from(year) + carry, month, day }
    }

    /// At least four digits.
    fn write_year(&self, out: &mut Vec<u8>) {
        let year = if self.year > 0 { self.year } else { 1 - self.year };
        match u32::try_from(year) {
            Ok(year @ 0..10_000) => {
                let ([a, b], [c, d]) = (two(year / 100), two(year % 100));
                out.extend_from_slice(&[a, b, c, d]);
            }
            _ => out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes()),
        }
    }

    const fn era(&self) -> &'static [u8] {
        if self.year > 0 { b"" } else { b" BC" }
    }
}

/// A time of day, up to and including 24:00:00.
struct Clock {
    seconds: u32,
    micros: u32,
}

impl Clock {
    fn checked(micros: i64) -> Result<Self, Fault> {
        if (0..=DAY).contains(&micros) {
            Ok(Self::of_day_micros(micros))
        } else {
            Err(Fault::Range)
        }
    }

    const fn of_day_micros(micros: i64) -> Self {
        Self { seconds: (micros / 1_000_000) as u32, micros: (micros % 1_000_000) as u32 }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let ([h0, h1], [m0, m1], [s0, s1]) =
            (two(self.seconds / 3600), two(self.seconds / 60 % 60), two(self.seconds % 60));
        let ([p, a, b, c, d, e, f], length) = fraction(self.micros);
        let text = [h0, h1, b':', m0, m1, b':', s0, s1, p, a, b, c, d, e, f];
        out.extend_from_slice(&text[..8 + length]);
    }
}

pub(super) fn write_date_text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), Fault> {
    let date = text.strip_suffix(b" BC").unwrap_or(text);
    if !is_infinity(text) && !is_date(date) {
        return Err(Fault::Syntax);
    }
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
    Ok(())
}

pub(super) fn write_timestamp_text(
    out: &mut Vec<u8>,
    text: &[u8],
    zone: Zone,
) -> Result<(), Fault> {
    out.push(b'"');
    if is_infinity(text) {
        out.extend_from_slice(text);
        out.push(b'"');
        return Ok(());
    }
    let (instant, era) = match text.strip_suffix(b" BC") {
        Some(instant) => (instant, b" BC".as_slice()),
        None => (text, b"".as_slice()),
    };
    let blank = memchr::memchr(b' ', instant).ok_or(Fault::Syntax)?;
    let (date, time) = (&instant[..blank], &instant[blank + 1..]);
    let length = clock_length(time).ok_or(Fault::Syntax)?;
    let (clock, offset) = time.split_at(length);
    if !is_date(date) || !is_offset(offset, zone) {
        return Err(Fault::Syntax);
    }
    out.extend_from_slice(date);
    out.push(b'T');
    out.extend_from_slice(clock);
    out.extend_from_slice(offset);
    if offset.len() == 3 {
        out.extend_from_slice(b":00");
    }
    out.extend_from_slice(era);
    out.push(b'"');
    Ok(())
}

const fn is_infinity(text: &[u8]) -> bool {
    matches!(text, b"infinity" | b"-infinity")
}

fn is_date(text: &[u8]) -> bool {
    match text.len() {
        10..=13 => {
            let (year, rest) = text.split_at(text.len() - 6);
            year.iter().all(u8::is_ascii_digit) && fits(rest, b"-00-00")
        }
        _ => false,
    }
}

/// How long the time of day at the start of `text` is.
fn clock_length(text: &[u8]) -> Option<usize> {
    if !fits(text.get(..8)?, b"00:00:00") {
        return None;
    }
    if text.get(8) != Some(&b'.') {
        return Some(8);
    }
    let digits = text[9..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=6).contains(&digits).then_some(9 + digits)
}

fn is_offset(text: &[u8], zone: Zone) -> bool {
    match (zone, text.split_first()) {
        (Zone::Without, None) => true,
        (Zone::With, Some((b'+' | b'-', offset))) => {
            fits(offset, b"00") || fits(offset, b"00:00") || fits(offset, b"00:00:00")
        }
        _ => false,
    }
}

/// Whether `text` is like `pattern`, where `0` stands for any digit.
fn fits(text: &[u8], pattern: &[u8]) -> bool {
    text.len() == pattern.len()
        && std::iter::zip(text, pattern).all(|(byte, sample)| match sample {
            b'0' => byte.is_ascii_digit(),
            _ => byte == sample,
        })
}
