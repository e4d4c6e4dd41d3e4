//! Names that have been checked once, at the border, and are trusted inside.
//!
//! A slot, a publication and a sink each have their own type, so that one cannot stand in for
//! another, and each knows how it is quoted where it travels. [`Secret`] holds what must never be
//! shown. [`ServerIdentity`] says which cluster and timeline a position belongs to.

use std::fmt;

/// The longest identifier PostgreSQL keeps, in bytes (`NAMEDATALEN - 1`).
pub(crate) const IDENTIFIER_BYTES_MAX: usize = 63;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("a {what} name cannot be empty")]
    Empty {
        /// What was to be named.
        what: &'static str,
    },
    /// The name is longer than the server keeps.
    #[error("{what} name {name:?} is longer than {IDENTIFIER_BYTES_MAX} bytes")]
    TooLong {
        /// What was to be named.
        what: &'static str,
        /// The refused name.
        name: String,
    },
    /// The name has a character that is not allowed there.
    #[error("{what} name {name:?} has {found:?}: {allowed} are allowed")]
    Character {
        /// What was to be named.
        what: &'static str,
        /// The refused name.
        name: String,
        /// The first offending character.
        found: char,
        /// Which characters are allowed.
        allowed: &'static str,
    },
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $accept:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Check `name` and keep it.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                if name.is_empty() {
                    return Err(NameError::Empty { what: $what });
                }
                if name.len() > IDENTIFIER_BYTES_MAX {
                    return Err(NameError::TooLong { what: $what, name });
                }
                let accept: fn(char) -> bool = $accept;
                match name.chars().find(|&c| !accept(c)) {
                    Some(found) => {
                        Err(NameError::Character { what: $what, name, found, allowed: $allowed })
                    }
                    None => Ok(Self(name)),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(
    /// The name of a replication slot.
    ///
    /// ```
    /// use walcast::SlotName;
    /// assert!(SlotName::new("orders_1").is_ok());
    /// assert!(SlotName::new("Orders").is_err());
    /// ```
    SlotName, "slot", "lower-case letters, digits and underscores",
    |c| matches!(c, 'a'..='z' | '0'..='9' | '_')
);
name_type!(
    /// The name of a publication: any PostgreSQL identifier.
    PublicationName, "publication", "all characters but NUL", |c| c != '\0'
);
name_type!(
    /// The name of a sink, unique in its pipeline; it keys the sink's progress in the checkpoint.
    SinkName, "sink", "letters, digits, '-', '_' and '.'",
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
);

/// `name` as an SQL identifier: in double quotes, inner ones doubled.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as an SQL literal that means the same whatever `standard_conforming_strings` says.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// Something that must never reach a log, an error or `Debug`: it prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keep `value` out of sight.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A cluster's identifier, made by `initdb` and shared by its physical copies.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct SystemId(u64);

impl SystemId {
    /// The identifier as the server gave it.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The identifier as a number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A timeline: a branch of a cluster's history, counted up at each promotion.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timeline(u32);

impl Timeline {
    /// The timeline with number `value`.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which cluster, on which timeline: what IDENTIFY_SYSTEM says of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ServerIdentity {
    /// The cluster.
    pub system_id: SystemId,
    /// The branch of its history that the server is on.
    pub timeline: Timeline,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_enter() {
        assert!(SlotName::new("a_1").is_ok());
        assert!(matches!(SlotName::new(""), Err(NameError::Empty { .. })));
        assert!(matches!(SlotName::new("a-b"), Err(NameError::Character { found: '-', .. })));
        assert!(matches!(SlotName::new("x".repeat(64)), Err(NameError::TooLong { .. })));
        assert!(PublicationName::new("Weird \"name\", with 'quotes'").is_ok());
        assert!(SinkName::new("audit-1.eu").is_ok());
        assert!(SinkName::new("a/b").is_err());
    }

    #[test]
    fn quoting_survives_hostile_names() {
        assert_eq!(quote_identifier(r#"a"b"#), r#""a""b""#);
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\'b"), r" E'a\\''b'");
    }

    #[test]
    fn a_secret_never_prints() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
