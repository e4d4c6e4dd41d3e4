//! The control socket of a running pipeline.
//!
//! `control.sock` in the state directory, mode 0600: one JSON line asks, one JSON line answers.
//! What may be asked today is `{"command":"status"}`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{Monitor, Status};
use crate::state_dir::StateDir;
use crate::{Error, ErrorKind, Result};

const NAME: &str = "control.sock";
/// The longest question.
const QUESTION_BYTES_MAX: u64 = 64 * 1024;
/// The longest answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many may ask at a time.
const CALLERS_MAX: usize = 16;
/// How long a caller may take over its question, and an answer over its way.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
enum Question {
    Status,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Status(Box<Status>),
    Error(String),
}

/// Why a running pipeline could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The socket cannot be used.
    #[error("cannot use the control socket {}: {source}", path.display())]
    Socket {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pipeline did not answer in time.
    #[error("the pipeline behind {} did not answer in time", path.display())]
    Silent {
        /// Where its socket is.
        path: PathBuf,
    },
    /// The answer cannot be read.
    #[error("the pipeline behind {} answered something unexpected: {what}", path.display())]
    Answer {
        /// Where its socket is.
        path: PathBuf,
        /// What it said.
        what: String,
    },
}

impl From<ControlError> for Error {
    fn from(error: ControlError) -> Self {
        Error::permanent(ErrorKind::State, error)
    }
}

/// Serves until it is dropped, then takes the socket away.
#[derive(Debug)]
pub(crate) struct Serving {
    task: JoinHandle<()>,
    path: PathBuf,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
        // A socket that stays behind is replaced by the next run.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answer at the control socket of `state`, whose lock is held.
pub(super) fn serve(monitor: Monitor, state: &StateDir) -> Result<Serving> {
    let path = state.join(NAME);
    let failed = |source| Error::from(ControlError::Socket { path: path.clone(), source });
    // The lock is ours: a socket that is there is of a run that is over.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let task = tokio::spawn(accept(listener, monitor));
    Ok(Serving { task, path })
}

async fn accept(listener: UnixListener, monitor: Monitor) {
    let mut callers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if callers.len() < CALLERS_MAX => match accepted {
                Ok((caller, _)) => {
                    let monitor = monitor.clone();
                    callers.spawn(tokio::time::timeout(CALL_TIMEOUT, answer(caller, monitor)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
            Some(_) = callers.join_next() => {}
        }
    }
}

async fn answer(caller: UnixStream, monitor: Monitor) -> io::Result<()> {
    let (reader, mut writer) = caller.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(QUESTION_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(Question::Status) => match monitor.status().await {
            Some(status) => Answer::Status(Box::new(status)),
            None => Answer::Error("the pipeline is starting".to_owned()),
        },
        Err(error) => Answer::Error(error.to_string()),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// Ask the pipeline that runs on the state directory `state`; `None` when none does.
///
/// # Errors
/// When there is one and it does not answer.
///
/// # Cancel safety
/// Nothing is changed.
pub async fn ask_status(state: &Path) -> Result<Option<Status>, ControlError> {
    let path = state.join(NAME);
    let failed = |source| ControlError::Socket { path: path.clone(), source };
    let mut socket = match UnixStream::connect(&path).await {
        Ok(socket) => socket,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let call = async {
        let question = serde_json::to_string(&Question::Status)?;
        socket.write_all(format!("{question}\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new((&mut socket).take(ANSWER_BYTES_MAX)).read_line(&mut line).await?;
        Ok(line)
    };
    let line = match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(line) => line.map_err(failed)?,
        Err(_) => return Err(ControlError::Silent { path }),
    };
    match serde_json::from_str(&line) {
        Ok(Answer::Status(status)) => Ok(Some(*status)),
        Ok(Answer::Error(what)) => Err(ControlError::Answer { path, what }),
        Err(error) => Err(ControlError::Answer { path, what: error.to_string() }),
    }
}
