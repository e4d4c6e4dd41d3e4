//! Log sequence numbers and the identity of a change.
//!
//! An [`Lsn`] is a byte position in one lineage of WAL. It is a newtype with no conversion from a
//! bare integer, so a length, a count or another cluster's number cannot become a position by
//! accident. A [`Position`] names one change for ever: the commit it belongs to and its place in
//! that commit, which no restart, streaming mode or format alters. Row LSNs are neither ordered
//! across transactions nor unique (COPY), so they are never used to resume.

use std::fmt;
use std::str::FromStr;

/// A position in the write-ahead log, in bytes, written `16/B374D848`.
///
/// See [the `pg_lsn` type](https://www.postgresql.org/docs/current/datatype-pg-lsn.html).
///
/// ```
/// use walcast::Lsn;
/// let lsn: Lsn = "16/B374D848".parse()?;
/// assert_eq!(lsn.to_string(), "16/B374D848");
/// assert_eq!(lsn.bytes_since("16/B374D800".parse()?), 0x48);
/// # Ok::<(), walcast::LsnParseError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// The position whose 64-bit value is `value`. The server calls 0 `InvalidXLogRecPtr`; where a
    /// position may be absent walcast says `Option<Lsn>`.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The 64-bit value, as it travels on the wire.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// How many bytes of WAL lie between `earlier` and this position; 0 when this one is not ahead.
    pub const fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `None` for the server's `InvalidXLogRecPtr` (0/0), else the position.
    pub const fn valid(self) -> Option<Self> {
        if self.0 == 0 { None } else { Some(self) }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not two hexadecimal numbers of up to eight digits with a slash between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an LSN: write it as two hexadecimal numbers, for example 16/B374D848")]
pub struct LsnParseError {
    text: String,
}

impl FromStr for Lsn {
    type Err = LsnParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |digits: &str| {
            let plain = (1..=8).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if plain { u64::from_str_radix(digits, 16).ok() } else { None }
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Self(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| LsnParseError { text: text.chars().take(64).collect() })
    }
}

impl serde::Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The identity of one change, stable over restarts, streaming modes and formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Position {
    /// A row read from an existing table rather than from the log. Such rows come before every
    /// logged change and move no cursor; they are proven chunk by chunk.
    Read {
        /// The consistent point the row was read at.
        point: Lsn,
        /// Which chunk of the table, counted from 1.
        chunk: u32,
        /// Which row of the chunk, counted from 1.
        index: u32,
    },
    /// A change from the log.
    Logged {
        /// The LSN of the commit record, which Begin and Commit both carry. For a
        /// non-transactional message, the message's own LSN.
        commit_lsn: Lsn,
        /// Counts from 1 the row changes, truncated relations and transactional messages of the
        /// transaction as the server sent them. 0 is a non-transactional message.
        index: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_agree() {
        for (text, value) in
            [("0/0", 0), ("16/B374D848", 0x16_B374_D848), ("FFFFFFFF/FFFFFFFF", u64::MAX)]
        {
            let lsn: Lsn = text.parse().unwrap();
            assert_eq!(lsn.as_u64(), value);
            assert_eq!(lsn.to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "/", "1", "1/", "/1", "g/0", "1/2/3", "123456789/0", "+1/0", " 1/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn distance_never_wraps() {
        assert_eq!(Lsn::new(5).bytes_since(Lsn::new(9)), 0);
        assert_eq!(Lsn::new(9).bytes_since(Lsn::new(5)), 4);
    }
}
