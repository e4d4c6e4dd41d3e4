//! Why connection settings were refused before anything was connected.
//!
//! These errors name parameters and positions and never a value: what was meant as a host name may
//! be half a password.

/// Connection settings that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A part of a URL cannot be read.
    #[error("the {part} of the connection URL cannot be read: {fix}")]
    Url {
        /// Which part.
        part: &'static str,
        /// How to write it.
        fix: &'static str,
    },
    /// A `key=value` string cannot be read.
    #[error("the connection string cannot be read at byte {at}: expected {expected}")]
    Pairs {
        /// Where, in bytes from the start.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// A value holds a NUL byte, which the protocol cannot carry.
    #[error("a connection parameter holds a NUL byte")]
    Nul,
    /// There is no parameter of this name.
    #[error("unknown connection parameter {name:?}")]
    Unknown {
        /// The name as written.
        name: String,
    },
    /// There is no such parameter, and its name may hold a piece of a password.
    #[error(
        "unknown connection parameter, its name not shown because it may be part of a password: \
         in key=value strings put a password with spaces in single quotes, in URLs percent-encode it"
    )]
    UnknownHidden,
    /// libpq has this parameter; walcast does not.
    #[error("the connection parameter {name:?} is not supported")]
    Unsupported {
        /// Its name.
        name: &'static str,
    },
    /// A parameter has a value that it cannot have.
    #[error("the connection parameter {name:?} must be {allowed}")]
    Value {
        /// Its name.
        name: &'static str,
        /// What it can be.
        allowed: &'static str,
    },
    /// The lists of hosts, addresses and ports do not fit together.
    #[error(
        "{hosts} hosts, {addresses} host addresses and {ports} ports do not fit together: write as \
         many addresses as hosts, and one port or as many as hosts"
    )]
    HostCount {
        /// How many `host`s.
        hosts: usize,
        /// How many `hostaddr`s.
        addresses: usize,
        /// How many `port`s.
        ports: usize,
    },
    /// Two parameters contradict each other.
    #[error("{first} does not go with {second}: {fix}")]
    Conflict {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// What to do.
        fix: &'static str,
    },
    /// No user was named, and the operating system does not say who runs this process.
    #[error("no user given, and the operating system's user is unknown: set user or PGUSER")]
    UserUnknown,
}
