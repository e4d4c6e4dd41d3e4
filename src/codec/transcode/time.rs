//! Dates, times, timestamps and intervals, in ISO style and IntervalStyle `postgres`.
//!
//! The server counts days and microseconds from 2000-01-01, on the Gregorian calendar in both
//! directions; the year before 1 is written `0001 … BC`.

use crate::codec::scan::Scan;
use crate::codec::value::Fault;

/// Whether a timestamp is one with time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    With,
    Without,
}

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

pub(super) fn date(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let days = match text {
        b"infinity" => i32::MAX,
        b"-infinity" => i32::MIN,
        _ => {
            let (text, era) = split_era(text);
            let mut scan = Scan(text);
            let days = calendar_day(&mut scan, era)?;
            scan.end()?;
            i32::try_from(days).map_err(|_| Fault::Range)?
        }
    };
    out.extend_from_slice(&days.to_be_bytes());
    Ok(())
}

pub(super) fn time(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut scan = Scan(text);
    let micros = clock(&mut scan)?;
    scan.end()?;
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(())
}

pub(super) fn time_tz(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut scan = Scan(text);
    let micros = clock(&mut scan)?;
    let east = offset_seconds(&mut scan)?;
    scan.end()?;
    out.extend_from_slice(&micros.to_be_bytes());
    out.extend_from_slice(&(-east).to_be_bytes());
    Ok(())
}

pub(super) fn timestamp(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    zoned_timestamp(text, Zone::Without, out)
}

pub(super) fn timestamp_tz(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    zoned_timestamp(text, Zone::With, out)
}

fn zoned_timestamp(text: &[u8], zone: Zone, out: &mut Vec<u8>) -> Result<(), Fault> {
    if let Some(micros) = usual_timestamp(text, zone) {
        out.extend_from_slice(&micros.to_be_bytes());
        return Ok(());
    }
    let micros = match text {
        b"infinity" => i64::MAX,
        b"-infinity" => i64::MIN,
        _ => finite_timestamp(text, zone)?,
    };
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(())
}

/// `yyyy-mm-dd hh:mm:ss.ffffff+hh`, as all but the oddest are written; `None` for any other.
fn usual_timestamp(text: &[u8], zone: Zone) -> Option<i64> {
    let (head, rest) = text.split_first_chunk::<19>()?;
    let [_, _, _, _, b'-', _, _, b'-', _, _, b' ', _, _, b':', _, _, b':', _, _] = *head else {
        return None;
    };
    let is_number = |at: usize| head[at].is_ascii_digit() && head[at + 1].is_ascii_digit();
    if ![0, 2, 5, 8, 11, 14, 17].into_iter().all(is_number) {
        return None;
    }
    let digit = |at: usize| i64::from(head[at] - b'0');
    let two = |at| digit(at) * 10 + digit(at + 1);
    let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
    let (hours, minutes, seconds) = (two(11), two(14), two(17));
    let (fraction, rest) = usual_fraction(rest)?;
    let east = match (zone, rest) {
        (Zone::Without, []) => 0,
        (Zone::With, [sign @ (b'+' | b'-'), tens @ b'0'..=b'9', ones @ b'0'..=b'9']) => {
            let hours = i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            if *sign == b'+' { hours * HOUR } else { -hours * HOUR }
        }
        _ => return None,
    };
    let is_time = hours <= 23 && minutes <= 59 && seconds <= 59;
    if !is_time || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let clock = hours * HOUR + minutes * MINUTE + seconds * SECOND + fraction;
    Some(days_from_2000(year, month, day) * DAY + clock - east)
}

/// `.ffffff` in microseconds, and what follows it.
fn usual_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let (mut micros, mut count) = (0, 0);
    while let Some(digit @ b'0'..=b'9') = digits.get(count) {
        micros = micros * 10 + i64::from(digit - b'0');
        count += 1;
        if count > 6 {
            return None;
        }
    }
    const FILLED: [i64; 7] = [0, 100_000, 10_000, 1_000, 100, 10, 1];
    (count > 0).then(|| (micros * FILLED[count], &digits[count..]))
}

fn finite_timestamp(text: &[u8], zone: Zone) -> Result<i64, Fault> {
    let (text, era) = split_era(text);
    let mut scan = Scan(text);
    let day = calendar_day(&mut scan, era)?;
    scan.expect(b" ")?;
    let clock = clock(&mut scan)?;
    let east = match zone {
        Zone::With => i64::from(offset_seconds(&mut scan)?),
        Zone::Without => 0,
    };
    scan.end()?;
    let micros = day.checked_mul(DAY).and_then(|start| start.checked_add(clock));
    micros.and_then(|micros| micros.checked_sub(east * SECOND)).ok_or(Fault::Range)
}

/// Which side of year 1 a date is on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Era {
    Common,
    Before,
}

fn split_era(text: &[u8]) -> (&[u8], Era) {
    match text.strip_suffix(b" BC") {
        Some(text) => (text, Era::Before),
        None => (text, Era::Common),
    }
}

/// `yyyy-mm-dd` as days from 2000-01-01.
fn calendar_day(scan: &mut Scan<'_>, era: Era) -> Result<i64, Fault> {
    const YEAR_MAX: i64 = 10_000_000;
    let year = scan.number()?;
    scan.expect(b"-")?;
    let month = scan.two()?;
    scan.expect(b"-")?;
    let day = scan.two()?;
    if year > YEAR_MAX || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(Fault::Range);
    }
    let year = if era == Era::Before { 1 - year } else { year };
    Ok(days_from_2000(year, month, day))
}

/// Counted in years that begin in March, so that the leap day is the last of its year.
fn days_from_2000(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_FROM_MARCH_OF_YEAR_0: i64 = 730_425;
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, year_of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let months_from_march = (month + 9) % 12;
    let day_of_year = (153 * months_from_march + 2) / 5 + day - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    cycle * 146_097 + day_of_cycle - DAYS_FROM_MARCH_OF_YEAR_0
}

/// `hh:mm:ss.ffffff` up to 24:00:00, in microseconds.
fn clock(scan: &mut Scan<'_>) -> Result<i64, Fault> {
    let hours = scan.two()?;
    let micros = hours * HOUR + minutes_and_seconds(scan)?;
    if micros <= DAY { Ok(micros) } else { Err(Fault::Range) }
}

/// `:mm:ss.ffffff`, in microseconds.
fn minutes_and_seconds(scan: &mut Scan<'_>) -> Result<i64, Fault> {
    scan.expect(b":")?;
    let minutes = scan.two()?;
    scan.expect(b":")?;
    let seconds = scan.two()?;
    if minutes > 59 || seconds > 59 {
        return Err(Fault::Range);
    }
    Ok(minutes * MINUTE + seconds * SECOND + fraction(scan)?)
}

/// `.ffffff`, up to six digits, in microseconds.
fn fraction(scan: &mut Scan<'_>) -> Result<i64, Fault> {
    if !scan.take(b".") {
        return Ok(0);
    }
    let digits = scan.until(|byte| !byte.is_ascii_digit());
    if !(1..=6).contains(&digits.len()) {
        return Err(Fault::Syntax);
    }
    let filled = digits.iter().chain(std::iter::repeat(&b'0')).take(6);
    Ok(filled.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0')))
}

/// `+hh`, `-hh:mm`, `+hh:mm:ss`: seconds east of Greenwich.
fn offset_seconds(scan: &mut Scan<'_>) -> Result<i32, Fault> {
    let west = match (scan.take(b"+"), scan.take(b"-")) {
        (true, false) => false,
        (false, true) => true,
        _ => return Err(Fault::Syntax),
    };
    let mut seconds = scan.two()? * 3600;
    if scan.take(b":") {
        seconds += scan.two()? * 60;
        if scan.take(b":") {
            seconds += scan.two()?;
        }
    }
    let seconds = seconds as i32;
    Ok(if west { -seconds } else { seconds })
}

/// Microseconds, days, months; each part has a sign of its own.
pub(super) fn interval(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let (months, days, micros) = match text {
        b"infinity" => (i32::MAX, i32::MAX, i64::MAX),
        b"-infinity" => (i32::MIN, i32::MIN, i64::MIN),
        _ => finite_interval(text)?,
    };
    out.extend_from_slice(&micros.to_be_bytes());
    out.extend_from_slice(&days.to_be_bytes());
    out.extend_from_slice(&months.to_be_bytes());
    Ok(())
}

fn finite_interval(text: &[u8]) -> Result<(i32, i32, i64), Fault> {
    let (mut months, mut days, mut micros) = (0i64, 0i64, 0i64);
    for part in parts(text) {
        let mut scan = Scan(part);
        let negative = scan.take(b"-");
        // After a negative part a positive one shows its sign.
        let _ = !negative && scan.take(b"+");
        let number = scan.number()?;
        if scan.peek() == Some(b':') {
            micros = clock_part(number, negative, &mut scan)?;
        } else {
            let number = if negative { -number } else { number };
            match scan.0 {
                b" year" | b" years" => months += number.checked_mul(12).ok_or(Fault::Range)?,
                b" mon" | b" mons" => months += number,
                b" day" | b" days" => days = number,
                _ => return Err(Fault::Syntax),
            }
            scan.0 = b"";
        }
        scan.end()?;
    }
    let narrow = |number: i64| i32::try_from(number).map_err(|_| Fault::Range);
    Ok((narrow(months)?, narrow(days)?, micros))
}

/// `hours:mm:ss.ffffff`, counted below zero, where there is room for one more.
fn clock_part(hours: i64, negative: bool, scan: &mut Scan<'_>) -> Result<i64, Fault> {
    let rest = minutes_and_seconds(scan)?;
    let below = hours.checked_mul(-HOUR).and_then(|below| below.checked_sub(rest));
    let below = below.ok_or(Fault::Range)?;
    if negative { Ok(below) } else { below.checked_neg().ok_or(Fault::Range) }
}

/// The parts of an interval: a number with its unit, or a clock.
fn parts(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // The blank before a number ends a part; the one before a unit does not.
        let ends = |at: &usize| {
            rest[*at] == b' ' && rest.get(at + 1).is_some_and(|byte| !byte.is_ascii_alphabetic())
        };
        let end = (0..rest.len()).find(ends).unwrap_or(rest.len());
        let part = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(part)
    })
}
