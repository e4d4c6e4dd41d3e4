//! Sizes and durations as people write them in the config: `64MiB`, `4MB`, `5ms`, `1m30s`.
//!
//! Parsing accepts whole numbers with an unambiguous unit and nothing else, so that a file means
//! the same to everyone who reads it; whatever comes close is answered with the spelling that was
//! probably meant. This module knows text and numbers, not keys or files.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes.
///
/// ```
/// use walcast::config::ByteSize;
/// let size: ByteSize = "64MiB".parse()?;
/// assert_eq!(size.bytes(), 64 * 1024 * 1024);
/// assert_eq!(size.to_string(), "64MiB");
/// # Ok::<(), walcast::config::UnitError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// A size or duration that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}; write it as \"{instead}\"")]
pub struct UnitError {
    /// `size` or `duration`.
    pub what: &'static str,
    /// What was probably meant, or an example.
    pub instead: String,
}

const BYTE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const TIME_UNITS: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

impl ByteSize {
    /// This many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |&&(_, factor): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(factor);
        match BYTE_UNITS.iter().filter(whole).max_by_key(|(_, factor)| factor) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError { what: "size", instead: meant_size(text) };
        parse_size(text).map(Self).ok_or_else(refused)
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text);
    let number: u64 = number.parse().ok()?;
    let factor = if unit.is_empty() { Some(1) } else { factor_of(&BYTE_UNITS, unit) };
    number.checked_mul(factor?)
}

/// Read a duration: one or more whole numbers with units, the largest first (`1m30s`).
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let refused = || UnitError { what: "duration", instead: meant_duration(text) };
    let mut rest = text.trim();
    let mut micros = 0u64;
    let mut factor_max = u64::MAX;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest);
        let unit_length = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let number: u64 = number.parse().map_err(|_| refused())?;
        let factor = factor_of(&TIME_UNITS, unit).filter(|&factor| factor < factor_max);
        let factor = factor.ok_or_else(refused)?;
        micros = number
            .checked_mul(factor)
            .and_then(|part| micros.checked_add(part))
            .ok_or_else(refused)?;
        factor_max = factor;
        rest = tail;
    }
    if text.trim().is_empty() { Err(refused()) } else { Ok(Duration::from_micros(micros)) }
}

/// `duration` as the config writes it; what it says parses back to the same value.
pub fn format_duration(duration: Duration) -> String {
    let mut micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in TIME_UNITS.iter().rev() {
        if micros >= *factor {
            text.push_str(&format!("{}{unit}", micros / factor));
            micros %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn factor_of(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

/// The leading digits and what follows them, without a space between.
fn split_number(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// `1.5` and its unit, when a number with a fraction was written.
fn split_fraction(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '_' | ','));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = number.replace(['_', ','], "").parse().ok()?;
    Some((number, unit.trim_start()))
}

fn meant_size(text: &str) -> String {
    let guess = || {
        let (number, unit) = split_fraction(text)?;
        let unit = unit.to_ascii_lowercase();
        let (unit, factor) = match unit.as_str() {
            "" | "b" | "byte" | "bytes" => ("B", 1.0),
            "k" | "kib" | "ki" => ("KiB", 1024.0),
            "m" | "mib" | "mi" => ("MiB", 1024.0),
            "g" | "gib" | "gi" => ("GiB", 1024.0),
            "t" | "tib" | "ti" => ("TiB", 1024.0),
            "kb" => ("kB", 1000.0),
            "mb" => ("MB", 1000.0),
            "gb" => ("GB", 1000.0),
            "tb" => ("TB", 1000.0),
            _ => return None,
        };
        if number.fract() == 0.0 {
            return Some(format!("{number}{unit}"));
        }
        let at = BYTE_UNITS.iter().position(|(name, _)| *name == unit)?;
        let smaller = if unit == "kB" { "B" } else { BYTE_UNITS[at.checked_sub(1)?].0 };
        Some(format!("{}{smaller}", (number * factor).round()))
    };
    guess().filter(|guess| parse_size(guess).is_some()).unwrap_or_else(|| "64MiB".to_owned())
}

fn meant_duration(text: &str) -> String {
    let guess = || {
        let (number, unit) = split_fraction(text)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "us" | "µs" | "usec" | "micros" | "microseconds" => 1.0,
            "ms" | "msec" | "millis" | "milliseconds" => 1e3,
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1e6,
            "m" | "min" | "mins" | "minute" | "minutes" => 60e6,
            "h" | "hr" | "hour" | "hours" => 3600e6,
            "d" | "day" | "days" => 86400e6,
            _ => return None,
        };
        let micros = (number * factor).round();
        (micros < 1e18).then(|| format_duration(Duration::from_micros(micros as u64)))
    };
    guess().unwrap_or_else(|| "10s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print_the_same() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("64MiB", 64 << 20),
            ("4MB", 4_000_000),
            ("1 GiB", 1 << 30),
            ("8TiB", 8 << 40),
            ("3kB", 3000),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes, "{text}");
            assert_eq!(size.to_string().parse(), Ok(size), "{text}");
        }
        assert_eq!(ByteSize::new(64 << 20).to_string(), "64MiB");
        assert_eq!(ByteSize::new(4_000_000).to_string(), "4MB");
        assert_eq!(ByteSize::new(0).to_string(), "0B");
    }

    #[test]
    fn a_refused_size_names_the_spelling_that_was_meant() {
        for (text, instead) in [
            ("64M", "64MiB"),
            ("64mib", "64MiB"),
            ("1.5GiB", "1536MiB"),
            ("0.5kB", "500B"),
            ("10kb", "10kB"),
            ("64Mbit", "64MiB"),
            ("-1", "64MiB"),
            ("", "64MiB"),
            ("99999999999TiB", "64MiB"),
        ] {
            let refused = text.parse::<ByteSize>().unwrap_err();
            assert_eq!(refused.instead, instead, "{text}");
        }
    }

    #[test]
    fn durations_read_and_print_the_same() {
        for (text, millis) in
            [("10s", 10_000), ("5ms", 5), ("1m30s", 90_000), ("2h", 7_200_000), ("0s", 0)]
        {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(format_duration(duration), text);
        }
        assert_eq!(parse_duration("250us"), Ok(Duration::from_micros(250)));
    }

    #[test]
    fn a_refused_duration_names_the_spelling_that_was_meant() {
        for (text, instead) in [
            ("10", "10s"),
            ("10 sec", "10s"),
            ("1.5s", "1s500ms"),
            ("90min", "1h30m"),
            ("30s1m", "10s"),
            ("5s5s", "10s"),
            ("soon", "10s"),
            ("", "10s"),
            ("99999999999999999d", "10s"),
        ] {
            let refused = parse_duration(text).unwrap_err();
            assert_eq!(refused.instead, instead, "{text}");
        }
    }
}
