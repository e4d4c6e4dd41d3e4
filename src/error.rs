//! The one error type of the public API.
//!
//! An [`Error`] is opaque: a [`ErrorKind`] to branch on, a source that says exactly what happened,
//! and, where there is one, a fix to try. Each floor has its own typed errors and turns them into
//! this one at its border. Whether to try again is part of the error, decided where the cause is
//! known; the end of a stream is not an error.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and whether trying again can help.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    transient: bool,
    fix: Option<Cow<'static, str>>,
    source: Box<dyn StdError + Send + Sync>,
}

/// What an [`Error`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Settings that cannot work: a bad URL, an unknown key, contradicting options.
    Config,
    /// No connection could be made, or it broke.
    Connect,
    /// The server and walcast could not agree on TLS, or a certificate was refused.
    Tls,
    /// The server refused the credentials.
    Auth,
    /// The role lacks a right.
    Permission,
    /// The server's settings rule logical replication out.
    ServerConfig,
    /// The server reported an error of another class.
    Server,
    /// The server sent something that the protocol does not allow.
    Protocol,
    /// The slot does not exist, or is of another plugin, type or database.
    SlotMissing,
    /// The server removed WAL that the slot needs, or invalidated the slot.
    SlotLost,
    /// Another process streams from the slot.
    SlotInUse,
    /// The publication does not exist.
    PublicationMissing,
    /// Changes that a sink still needs are no longer in the slot.
    Gap,
    /// The server is not the cluster, or not the branch of it, that the stored positions are of.
    Identity,
    /// A sink gave up, or policy says that its failure stops the pipeline.
    Sink,
    /// The state directory or a checkpoint cannot be read or written.
    State,
    /// Another process holds the state directory.
    StateLocked,
    /// A value could not be decoded or converted as asked.
    Value,
    /// An input or output operation of the operating system failed.
    Io,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Whoever wrote the settings.
    Config,
    /// The server, or the network to it.
    Server,
    /// A sink or its target.
    Sink,
    /// This machine: its disk, its files, its processes.
    Host,
}

impl Error {
    /// An error of `kind` because of `source`, which trying again will not mend.
    pub fn permanent(kind: ErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(Inner { kind, transient: false, fix: None, source: source.into() }))
    }

    /// An error of `kind` because of `source`, which may pass by itself.
    pub fn transient(kind: ErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(Inner { kind, transient: true, fix: None, source: source.into() }))
    }

    /// The same error with advice on what to do about it.
    pub fn with_fix(mut self, fix: impl Into<Cow<'static, str>>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// What it is about.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later with nothing changed by hand.
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// What to do about it, where that is known.
    pub fn fix(&self) -> Option<&str> {
        self.0.fix.as_deref()
    }

    /// Who has to act.
    pub fn blame(&self) -> Blame {
        match self.0.kind {
            ErrorKind::Config => Blame::Config,
            ErrorKind::Sink => Blame::Sink,
            ErrorKind::State | ErrorKind::StateLocked | ErrorKind::Io | ErrorKind::Value => {
                Blame::Host
            }
            _ => Blame::Server,
        }
    }

    /// The cause as a `T`, if it is one.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.0.source.downcast_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.source, f)?;
        let mut cause = self.0.source.source();
        while let Some(inner) = cause {
            write!(f, ": {inner}")?;
            cause = inner.source();
        }
        match &self.0.fix {
            Some(fix) => write!(f, "\n  fix: {fix}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("transient", &self.0.transient)
            .field("fix", &self.0.fix)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_chain_and_the_fix_are_shown() {
        let io = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let error = Error::permanent(ErrorKind::State, io).with_fix("create the directory");
        assert_eq!(error.to_string(), "no such file\n  fix: create the directory");
        assert!(!error.is_transient());
        assert_eq!(error.blame(), Blame::Host);
    }
}
