//! What a command is pointed at: a config file, a server by its URL, a slot.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use walcast::{Secret, SlotName};

/// A config file or a connection string.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A config file.
    Config(PathBuf),
    /// A PostgreSQL URL or `key=value` string.
    Server(Secret),
}

impl FromStr for Target {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = text.contains("://");
        let keyed = text.contains('=') && !text.ends_with(".toml");
        if url || keyed {
            Ok(Self::Server(Secret::new(text)))
        } else {
            Ok(Self::Config(PathBuf::from(text)))
        }
    }
}

/// A connection string from the command line. Whatever it is, it is taken: the command line's own
/// complaint would repeat it, password and all; connecting says what is wrong with it instead.
pub(crate) fn parse_url(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// A name for a temporary slot that no other slot has: the last one of ours may not be gone yet.
/// `command` is a short word in lower case.
pub(crate) fn temporary_slot(command: &str) -> SlotName {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    SlotName::new(format!("walcast_{command}_{}_{nanos:x}", std::process::id()))
        .expect("lower-case letters, digits and underscores, and shorter than 63 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_servers_are_told_apart() {
        let server = |text: &str| matches!(text.parse(), Ok(Target::Server(_)));
        assert!(server("postgres://u@h/d"));
        assert!(server("postgresql:///d?host=/tmp"));
        assert!(server("host=/tmp dbname=d"));
        assert!(!server("walcast.toml"));
        assert!(!server("./a=b/walcast.toml"));
    }
}
