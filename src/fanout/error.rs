//! Why a lane ends, and a call of a sink that cannot take for ever.
//!
//! What a sink reports stays what it is; beside it stand what only its lane can see: a call that
//! does not return, a position that cannot be resumed from, a stream that ends too soon. Whether
//! trying again can help is decided here; how often it is tried, is not.

use std::time::Duration;

use crate::checkpoint::ResumeError;
use crate::name::SinkName;
use crate::sink::{OpenContext, SinkError, SinkErrorKind};
use crate::{Error, ErrorKind};

/// Why a lane ended without having proven everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaneError {
    /// The sink failed, and trying again cannot help or was tried often enough.
    #[error("sink {sink} failed{}: {source}", after(*.attempts))]
    Sink {
        /// Which sink.
        sink: SinkName,
        /// How many failures in a row there were.
        attempts: u32,
        /// The last one.
        source: SinkError,
    },
    /// A call did not return in time.
    #[error("sink {sink} did not return from {call} within {} s", limit.as_secs_f32())]
    Timeout {
        /// Which sink.
        sink: SinkName,
        /// What it was asked.
        call: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The stream ended before the sink was given again what it had lost.
    #[error("sink {sink} lost part of a transaction, and the stream ended before it came again")]
    CutOff {
        /// Which sink.
        sink: SinkName,
    },
    /// The sink stands where it cannot go on.
    #[error("sink {sink}: {source}")]
    Resume {
        /// Which sink.
        sink: SinkName,
        /// Why.
        source: ResumeError,
    },
}

fn after(attempts: u32) -> String {
    if attempts > 1 { format!(" {attempts} times in a row") } else { String::new() }
}

impl From<LaneError> for Error {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Resume { source, .. } => source.into(),
            other => Error::permanent(ErrorKind::Sink, other),
        }
    }
}

impl LaneError {
    /// Whether trying again cannot help.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Sink { source, .. } => !matches!(source.kind(), SinkErrorKind::Unavailable),
            Self::Timeout { .. } => false,
            Self::Resume { .. } | Self::CutOff { .. } => true,
        }
    }
}

/// A call of the sink that ends in time or is dropped.
pub(super) async fn bounded<T>(
    context: &OpenContext,
    call: &'static str,
    limit: Duration,
    future: impl Future<Output = Result<T, SinkError>>,
) -> Result<T, LaneError> {
    let sink = || context.sink.clone();
    match tokio::time::timeout(limit, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(LaneError::Sink { sink: sink(), attempts: 1, source }),
        Err(_) => Err(LaneError::Timeout { sink: sink(), call, limit }),
    }
}
