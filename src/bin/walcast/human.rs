//! Numbers as people read them: rounded, with a unit, never precise.
//!
//! What must parse back is written by `walcast::config`; this is for screens.

use std::fmt;
use std::time::Duration;

/// An amount of bytes, to three digits: `812 B`, `1.25 MiB`.
pub(crate) struct Bytes(pub(crate) u64);

/// A span of time, to what matters of it: `350 ms`, `1.2 s`, `2m 10s`, `3h 05m`, `2d 4h`.
pub(crate) struct Span(pub(crate) Duration);

/// A count with its thousands apart: `1 234 567`.
pub(crate) struct Count(pub(crate) u64);

impl Span {
    /// A span of this many seconds; what is no span at all counts as none.
    pub(crate) fn seconds(seconds: f64) -> Self {
        Self(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut amount = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while amount >= 1023.5 && unit + 1 < UNITS.len() {
            amount /= 1024.0;
            unit += 1;
        }
        f.pad(&format!("{} {}", three_digits(amount), UNITS[unit]))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0.as_secs(), self.0.as_micros());
        let text = match seconds {
            0 if micros == 0 => "0 s".to_owned(),
            0 if micros < 1000 => format!("{micros} µs"),
            0 => format!("{} ms", three_digits(micros as f64 / 1e3)),
            1..60 => format!("{:.1} s", self.0.as_secs_f64()),
            60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
            3600..86400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
            _ => format!("{}d {}h", seconds / 86400, seconds % 86400 / 3600),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(' ');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

fn three_digits(amount: f64) -> String {
    let decimals = match amount {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    let text = format!("{amount:.decimals$}");
    let text = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_to_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 << 20, "10 MiB"),
            ((100 << 20) + 1, "100 MiB"),
            ((1 << 30) - 1, "1 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(format!("{:>8}", Bytes(5)), "     5 B");
    }

    #[test]
    fn spans_show_what_matters() {
        for (millis, text) in [
            (0, "0 s"),
            (350, "350 ms"),
            (1234, "1.2 s"),
            (130_000, "2m 10s"),
            (11_100_000, "3h 05m"),
            (187_200_000, "2d 4h"),
        ] {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
        assert_eq!(Span(Duration::from_micros(1500)).to_string(), "1.5 ms");
        assert_eq!(Span(Duration::from_micros(15)).to_string(), "15 µs");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(Count(7).to_string(), "7");
        assert_eq!(Count(1_234_567).to_string(), "1 234 567");
    }
}
