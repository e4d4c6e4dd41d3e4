//! What is to be chosen about the Debezium envelope.

use std::str::FromStr;

/// The settings of the format, named after the connector's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DebeziumOptions {
    /// `source.name`, the connector's topic prefix. `walcast` by default.
    pub name: String,
    /// `source.db`: the database. Empty by default: the stream does not tell it.
    pub database: String,
    /// How `numeric` and `money` are written.
    pub decimals: Decimals,
    /// How dates, times and timestamps are written.
    pub time: TimePrecision,
    /// Whether a line `null` follows each delete. Off by default: a line has no key that it is
    /// the tombstone of.
    pub tombstones: bool,
    /// What stands for a large value that a change left alone. `__debezium_unavailable_value` by
    /// default.
    pub placeholder: String,
    /// Whether events say their place in the transaction, and lines stand for its begin and end.
    /// Off by default.
    pub transactions: bool,
}

/// What the connector puts in the place of a value that was not sent.
pub(super) const PLACEHOLDER: &str = "__debezium_unavailable_value";

impl Default for DebeziumOptions {
    fn default() -> Self {
        Self {
            name: "walcast".to_owned(),
            database: String::new(),
            decimals: Decimals::default(),
            time: TimePrecision::default(),
            tombstones: false,
            placeholder: PLACEHOLDER.to_owned(),
            transactions: false,
        }
    }
}

/// How decimal numbers are written (`decimal.handling.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Decimals {
    /// Exactly, as the bytes of the unscaled number in base64; beside its scale where the column
    /// fixes none.
    #[default]
    Precise,
    /// Exactly, as a string of digits.
    String,
    /// As the nearest floating point number.
    Double,
}

/// How dates and times are written (`time.precision.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TimePrecision {
    /// Days, and milliseconds or microseconds as the column's precision asks for.
    #[default]
    Adaptive,
    /// Days, and microseconds whatever the column's precision.
    Microseconds,
    /// ISO 8601 strings in UTC.
    Iso,
}

/// A word that names no such setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it can be {0}")]
pub struct UnknownWord(&'static str);

impl FromStr for Decimals {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Ok(match word {
            "precise" => Self::Precise,
            "string" => Self::String,
            "double" => Self::Double,
            _ => return Err(UnknownWord("precise, string or double")),
        })
    }
}

impl FromStr for TimePrecision {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Ok(match word {
            "adaptive" => Self::Adaptive,
            "microseconds" => Self::Microseconds,
            "iso" => Self::Iso,
            _ => return Err(UnknownWord("adaptive, microseconds or iso")),
        })
    }
}
