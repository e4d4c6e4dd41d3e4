//! What can keep the demo from being shown.

use std::path::PathBuf;

use walcast::{Error, ErrorKind};

/// Why the demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// No server programs.
    #[error("no PostgreSQL server programs (postgres and initdb, 14 or newer) {place}")]
    NoServer { place: &'static str },
    /// A server refuses to run as root, and there is nobody else.
    #[error("a PostgreSQL server does not run as root, and there is no user postgres or nobody")]
    NoOwner,
    /// The port is taken.
    #[error("port {port} cannot be used")]
    Port { port: u16, source: std::io::Error },
    /// A program did not start, or ended badly.
    #[error("{program} failed: {said}")]
    Program { program: &'static str, said: String },
    /// A server ended, or did not answer.
    #[error("the {server} server {what}; its log ends with:\n{log}")]
    Server { server: &'static str, what: &'static str, log: String },
    /// The pipeline ended when it should not have.
    #[error("the pipeline {what}; its log ends with:\n{log}")]
    Pipeline { what: String, log: String },
    /// A file cannot be read or written.
    #[error("cannot {operation} {}", path.display())]
    File { operation: &'static str, path: PathBuf, source: std::io::Error },
    /// The shop's clients could not work.
    #[error("the shop's clients failed: {0}")]
    Shop(String),
    /// A line of the file is not what it should be.
    #[error("line {line} of the JSON file cannot be read")]
    Line { line: usize, source: serde_json::Error },
    /// An answer of the server is not what it should be.
    #[error("the server's own list of changes cannot be read")]
    Truth,
}

impl From<DemoError> for Error {
    fn from(error: DemoError) -> Self {
        use DemoError as E;
        let (kind, fix) = match &error {
            E::NoServer { .. } => (
                ErrorKind::Config,
                "install PostgreSQL's server package, or set WALCAST_PG_BIN to the directory of its \
                 programs; ./scripts/demo does it for you",
            ),
            E::NoOwner => (ErrorKind::Config, "run the demo as another user than root"),
            E::Port { .. } => (ErrorKind::Config, "leave --port out, or name another one"),
            E::Program { .. } | E::Server { .. } => {
                (ErrorKind::Io, "check that there is room where temporary files go (TMPDIR)")
            }
            E::File { .. } => {
                (ErrorKind::Io, "check that there is room, and the directory's rights")
            }
            E::Pipeline { .. } | E::Shop(_) | E::Line { .. } | E::Truth => {
                return Self::permanent(ErrorKind::Sink, error);
            }
        };
        Self::permanent(kind, error).with_fix(fix)
    }
}
