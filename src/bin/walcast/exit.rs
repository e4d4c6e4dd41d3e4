//! What the process ends with: one code for each thing a script can act on.

use std::io;
use std::process::ExitCode;

use walcast::{Error, ErrorKind};

/// How the program ended; the numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, or drained.
    Done = 0,
    /// Something unexpected.
    Unexpected = 1,
    /// The command line or the config cannot work.
    Usage = 2,
    /// The server cannot be reached, or does not permit it, and trying again will not help.
    Refused = 3,
    /// The slot or what it needs is missing, lost or invalidated.
    Slot = 4,
    /// Data that a sink needs is no longer in the slot.
    Gap = 5,
    /// A sink stopped the pipeline.
    Sink = 6,
    /// `check` found errors.
    Unfit = 7,
    /// `status` found that something is not healthy.
    Unhealthy = 8,
}

/// The codes, as `--help` lists them.
pub(crate) const LEGEND: &str = "\
Exit codes:
  0  done or drained
  1  unexpected
  2  usage or config
  3  cannot connect or not permitted
  4  the slot is missing, lost or invalidated
  5  a gap: data a sink needs is no longer in the slot
  6  a sink stopped the pipeline
  7  `check` found errors
  8  `status` found something unhealthy";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Config => Self::Usage,
            ErrorKind::Connect
            | ErrorKind::Tls
            | ErrorKind::Auth
            | ErrorKind::Permission
            | ErrorKind::ServerConfig
            | ErrorKind::SlotInUse => Self::Refused,
            ErrorKind::SlotMissing | ErrorKind::SlotLost | ErrorKind::PublicationMissing => {
                Self::Slot
            }
            ErrorKind::Gap | ErrorKind::Identity => Self::Gap,
            ErrorKind::Sink => Self::Sink,
            _ => Self::Unexpected,
        }
    }
}

/// Say what went wrong, if anything did, and yield the code. A reader that closed our stdout has
/// seen enough: that is an end, not an error.
pub(crate) fn report(outcome: Result<Exit, Error>) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err(error) if is_closed_pipe(&error) => Exit::Done,
        Err(error) => {
            eprintln!("error: {error}");
            Exit::from(error.kind())
        }
    }
}

/// An error of writing to stdout.
pub(crate) fn output_error(error: io::Error) -> Error {
    Error::permanent(ErrorKind::Io, error).with_fix("check where standard output goes")
}

fn is_closed_pipe(error: &Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
}
