//! From a slot into a directory.

use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};

use futures_core::Stream as _;
use tokio::runtime::Handle;

use super::error::{RecordingError, of_journal};
use super::keeper::{Keeper, Order};
use crate::Result;
use crate::budget::Budget;
use crate::event::{Batch, Event, RelationVersions};
use crate::journal::{JournalPosition, JournalWriter, Opening};
use crate::lsn::Lsn;
use crate::stream::{
    Confirmer, EarlyConsumer, ReplicationStream, Source, StreamStartPoint, StreamedDelivery,
};

/// Bytes in flight.
const BUDGET_BYTES: usize = 64 * 1024 * 1024;
/// About how long a segment is.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// The directory in it for open transactions that do not fit the memory, and their bytes at most.
const SPILL: &str = "spill";
const SPILL_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// The directory in it for prepared transactions.
const PREPARED: &str = "prepared";

/// Records what a slot sends. See the [module](super).
#[derive(Debug)]
pub struct Recorder {
    stream: ReplicationStream,
    keeper: Keeper,
    directory: PathBuf,
    /// Bytes of a torn write that were cut off the recording.
    torn_bytes: u64,
    /// How many events may still come; `None` for any number.
    left: Option<u64>,
}

/// What a recorder has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Up to here transactions lie whole in the recording, durable.
    pub end: Lsn,
    /// Bytes read from the server.
    pub bytes: u64,
}

impl Recorder {
    /// Record `source` into `directory`, which is made when it is missing; a recording that is
    /// there goes on where it ends.
    ///
    /// Streamed transactions that do not fit the memory wait in a directory in it, and prepared
    /// ones in another, unless `source` says otherwise. What is prepared is recorded once it
    /// commits: the directory of prepared ones belongs to the recording as long as that goes on.
    ///
    /// # Errors
    /// What is in the way of the stream ([`StreamError`](crate::stream::StreamError)), a gap
    /// between the recording's end and the slot included; what is wrong with the directory
    /// ([`JournalError`](crate::journal::JournalError)).
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened; a slot, a publication or an empty directory may
    /// have been made.
    pub async fn start(source: Source, directory: &Path) -> Result<Self> {
        let opening = open(directory.to_owned());
        let writer = opening.await?;
        let torn_bytes = writer.torn_bytes();
        if writer.end().is_some() && source.temporary {
            return Err(RecordingError::Continued { path: directory.to_owned() }.into());
        }
        if let Some(before) = writer.opening() {
            warn_of_changes(before, &source);
        }
        let source = match source.spill {
            Some(_) => source,
            None => source.spill(directory.join(SPILL), SPILL_BYTES),
        };
        let reached = writer.opening().map(|before| before.lineage.identity()).zip(writer.end());
        let source = match source.prepared {
            Some(_) => source,
            None => source.prepared(directory.join(PREPARED)),
        };
        let start = StreamStartPoint {
            confirmed: writer.end(),
            applied: None,
            reached,
            versions: RelationVersions::default(),
            budget: Budget::new(BUDGET_BYTES),
            runtime: Handle::current(),
            early: EarlyConsumer::Stream,
        };
        // What has not committed is in no recording.
        let source = source.tapped().streamed_delivery(StreamedDelivery::Held);
        let stream = ReplicationStream::start(source, start).await?;
        let keeper = Keeper::start(writer, stream.handed_out());
        Ok(Self { stream, keeper, directory: directory.to_owned(), torn_bytes, left: None })
    }

    /// Stop once at least this many events are recorded, with the transaction that the last of them
    /// belongs to. No limit by default.
    pub fn limit(mut self, events: u64) -> Self {
        self.left = Some(events);
        self
    }

    /// Where it goes on, or begins.
    pub fn begins_at(&self) -> Lsn {
        self.stream.handed_out()
    }

    /// Bytes of a write that was cut off by a crash, and that are gone from the recording's end.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Record until everything up to `until` is there, until the [limit](Self::limit), or until
    /// `stop` yields. What the slot is told is durable.
    ///
    /// # Errors
    /// What ended the stream, or the disk's. What is recorded by then is whole.
    ///
    /// # Cancel safety
    /// Dropping the future ends the recording; what was read is written and not confirmed.
    pub async fn run(
        mut self,
        until: Option<Lsn>,
        stop: impl Future<Output = ()>,
    ) -> Result<Recorded> {
        let confirmer = self.stream.confirmer();
        let followed = self.follow(&confirmer, until, stop).await;
        let kept = self.keeper.finish().await;
        if let Ok(end) = kept {
            confirmer.vouch_durable(end)?;
        }
        self.stream.finish().await;
        // Empty by now, or not ours to take away.
        let _ = std::fs::remove_dir(self.directory.join(SPILL));
        // A full disk ends both: it is the cause.
        let end = kept?;
        followed?;
        Ok(Recorded { end, bytes: confirmer.bytes() })
    }

    async fn follow(
        &mut self,
        confirmer: &Confirmer,
        until: Option<Lsn>,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        let mut stop = pin!(stop);
        while until.is_none_or(|until| self.stream.handed_out() < until) && !self.is_full() {
            let batch = tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                risen = self.keeper.durable.changed() => {
                    // An error of the thread is told by its end.
                    let Ok(()) = risen else { return Ok(()) };
                    let end = *self.keeper.durable.borrow_and_update();
                    confirmer.vouch_durable(end)?;
                    continue;
                }
                batch = next(&mut self.stream) => batch?,
            };
            let Some(batch) = batch else { return Ok(()) };
            self.count(&batch);
            let tapped = self.stream.take_tapped();
            let order = Order { tapped, end: batch.end(), is_idle: batch.is_empty() };
            tokio::select! {
                biased;
                room = self.keeper.orders.reserve() => match room {
                    Ok(room) => room.send(order),
                    Err(_) => return Ok(()),
                },
                () = &mut stop => return Ok(()),
            }
        }
        Ok(())
    }
}

impl Recorder {
    fn count(&mut self, batch: &Batch) {
        let Some(left) = &mut self.left else { return };
        let counts = |event: &Event<'_>| {
            matches!(event, Event::Change(_) | Event::Truncate(_) | Event::Message(_))
        };
        *left = left.saturating_sub(batch.events().filter(counts).count() as u64);
    }

    /// Whether there is as much as was wanted, in whole transactions.
    fn is_full(&self) -> bool {
        self.left == Some(0) && !self.stream.in_transaction()
    }
}

/// Open the journal where blocking is allowed.
async fn open(directory: PathBuf) -> Result<JournalWriter> {
    let open = move || JournalWriter::open(&directory, SEGMENT_BYTES, JournalPosition::default());
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => opened.map_err(of_journal),
        Err(_) => Err(RecordingError::TaskEnded("opens the recording").into()),
    }
}

fn warn_of_changes(before: &Opening, source: &Source) {
    let names = source.publications.iter().map(|name| name.as_str());
    if !names.eq(before.publications.iter().map(String::as_str))
        || before.local_only != source.local_only
        || before.messages != source.messages
    {
        tracing::warn!(
            "publications, origin or messages changed: a redelivered transaction may have other \
             ids than before"
        );
    }
    if before.slot != source.slot.as_str() {
        tracing::warn!(before = before.slot, now = %source.slot, "the recording goes on from another slot");
    }
}

async fn next(stream: &mut ReplicationStream) -> Result<Option<Batch>> {
    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await.transpose()
}
