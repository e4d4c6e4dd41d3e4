//! Where a pipeline's changes come from: a slot, or a recording of one.

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream as _;

use crate::Result;
use crate::event::Batch;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::recording::Replay;
use crate::stream::ReplicationStream;

/// See the [module](self).
#[derive(Debug)]
pub(super) enum Changes {
    Live(Box<ReplicationStream>),
    Recorded(Box<Replay>),
}

impl Changes {
    /// The next batch; `None` at the end, which a slot has none of.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>> {
        match self {
            Self::Live(stream) => {
                let stream = stream.as_mut();
                std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await.transpose()
            }
            Self::Recorded(replay) => replay.next().await,
        }
    }

    /// Begin again where nothing was confirmed beyond.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it as it was.
    pub(super) async fn rewind(&mut self) -> Result<()> {
        match self {
            Self::Live(stream) => stream.rewind(),
            Self::Recorded(replay) => replay.rewind().await?,
        }
        Ok(())
    }

    /// The end of what was handed out; at first, where it starts.
    pub(super) fn handed_out(&self) -> Lsn {
        match self {
            Self::Live(stream) => stream.handed_out(),
            Self::Recorded(replay) => replay.handed_out(),
        }
    }

    /// Whether part of a transaction was handed out whose Commit is still to come.
    pub(super) fn in_transaction(&self) -> bool {
        match self {
            Self::Live(stream) => stream.in_transaction(),
            Self::Recorded(replay) => replay.in_transaction(),
        }
    }

    /// The cluster and timelines that positions are of.
    pub(super) fn lineage(&self) -> Arc<Lineage> {
        match self {
            Self::Live(stream) => {
                let single = || Arc::new(Lineage::single(stream.identity()));
                stream.lineage().unwrap_or_else(single)
            }
            Self::Recorded(replay) => Arc::clone(replay.lineage()),
        }
    }

    /// End it in order.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection at once, which loses nothing.
    pub(super) async fn finish(self) {
        if let Self::Live(stream) = self {
            stream.finish().await;
        }
    }
}
