//! A sink inside the process: batches go to whoever holds the [`Receiver`].
//!
//! Only [`Ack::done`] proves a batch. An [`Ack`] that is dropped proves nothing: it fails the sink,
//! and everything unproven comes again. Acks may be given in any order; what counts is the batch
//! before which all are done, not the last one that is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::event::Batch;
use crate::lsn::Lsn;
use crate::sink::{OpenContext, Resume, Sink, SinkError, SinkErrorKind};

/// Hands batches to a [`Receiver`].
#[derive(Debug)]
pub struct ChannelSink {
    deliveries: mpsc::Sender<Delivery>,
    shared: Arc<Shared>,
    takes_uncommitted: bool,
}

/// Takes what a [`ChannelSink`] was given.
#[derive(Debug)]
pub struct Receiver {
    deliveries: mpsc::Receiver<Delivery>,
    shared: Arc<Shared>,
}

/// A batch to take care of.
#[derive(Debug)]
pub struct Delivery {
    /// What happened.
    pub batch: Batch,
    /// To be used when it is taken care of.
    pub ack: Ack,
}

/// The answer to one [`Delivery`]. Dropping it unused is a failure.
#[derive(Debug)]
#[must_use = "an ack that is dropped fails the sink"]
pub struct Ack {
    shared: Arc<Shared>,
    generation: u64,
    number: u64,
    answered: bool,
}

/// The receiver let go of a batch without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a batch was let go of without being acknowledged")]
pub struct Unacknowledged;

/// The receiver is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of the channel sink is gone")]
pub struct ReceiverGone;

/// What sink, receiver and acks share. The lock is taken once per batch, never across an await.
#[derive(Debug, Default)]
struct Shared {
    window: Mutex<Window>,
    /// Wakes the flush.
    answered: Notify,
}

/// The batches that were handed out since `open`.
#[derive(Debug, Default)]
struct Window {
    /// Counts the opens: an answer to an earlier one means nothing any more.
    generation: u64,
    /// The number of the first of `waiting`.
    first: u64,
    /// Those from the first that is not done.
    waiting: VecDeque<Waiting>,
    /// The end of the last batch before which all are done.
    settled: Option<Lsn>,
    failure: Option<SinkError>,
}

#[derive(Debug)]
struct Waiting {
    end: Lsn,
    done: bool,
}

impl ChannelSink {
    /// A sink and its receiver, with at most `capacity` batches between them.
    ///
    /// # Panics
    /// When `capacity` is zero.
    pub fn new(capacity: usize) -> (Self, Receiver) {
        let (sender, deliveries) = mpsc::channel(capacity);
        let shared = Arc::<Shared>::default();
        let receiver = Receiver { deliveries, shared: Arc::clone(&shared) };
        (Self { deliveries: sender, shared, takes_uncommitted: false }, receiver)
    }

    /// Whether the receiver takes changes of transactions that have not committed. Off by default.
    ///
    /// Their batches are to be acknowledged as any other, which proves nothing of them.
    pub fn take_uncommitted(mut self, takes: bool) -> Self {
        self.takes_uncommitted = takes;
        self
    }
}

impl Receiver {
    /// The next batch; `None` when the sink is gone. Batches that were on their way when the sink
    /// was opened again are passed over: they come again.
    ///
    /// # Cancel safety
    /// When dropped, nothing is taken.
    pub async fn recv(&mut self) -> Option<Delivery> {
        loop {
            let mut delivery = self.deliveries.recv().await?;
            if delivery.ack.generation == self.shared.window().generation {
                return Some(delivery);
            }
            delivery.ack.answered = true;
        }
    }
}

impl Ack {
    /// The batch is taken care of, and will be whatever happens to this process.
    pub fn done(mut self) {
        self.answered = true;
        self.shared.answer(&self, Ok(()));
    }

    /// The batch cannot be taken care of now. The sink fails with `error`.
    pub fn fail(mut self, error: SinkError) {
        self.answered = true;
        self.shared.answer(&self, Err(error));
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.answer(self, Err(SinkError::unavailable(Unacknowledged)));
        }
    }
}

impl Shared {
    fn window(&self) -> MutexGuard<'_, Window> {
        // Nothing under the lock can panic half way.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, ack: &Ack, answer: Result<(), SinkError>) {
        let mut window = self.window();
        if window.generation != ack.generation {
            return;
        }
        match answer {
            Ok(()) => window.done(ack.number),
            Err(error) => {
                window.failure.get_or_insert(error);
            }
        }
        drop(window);
        self.answered.notify_one();
    }
}

impl Window {
    /// Whether all is well. Once it is not, it stays so until the next open.
    fn check(&mut self) -> Result<(), SinkError> {
        match self.failure.take() {
            None => Ok(()),
            Some(failure) => {
                self.failure = Some(SinkError::new(failure.kind(), Unacknowledged));
                Err(failure)
            }
        }
    }

    /// Idle progress asks nothing of the receiver: it counts as soon as what came before does.
    fn idle(&mut self, end: Lsn) {
        match self.waiting.back_mut() {
            None => self.settled = Some(end),
            Some(last) if last.done => last.end = end,
            Some(_) => {
                self.waiting.push_back(Waiting { end, done: true });
            }
        }
    }

    fn done(&mut self, number: u64) {
        let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        if let Some(waiting) = self.waiting.get_mut(at) {
            waiting.done = true;
        }
        while self.waiting.front().is_some_and(|waiting| waiting.done) {
            self.settled = self.waiting.pop_front().map(|waiting| waiting.end);
            self.first += 1;
        }
    }
}

impl Sink for ChannelSink {
    async fn open(&mut self, _: &OpenContext) -> Result<Resume, SinkError> {
        if self.deliveries.is_closed() {
            return Err(SinkError::fatal(ReceiverGone));
        }
        let mut window = self.shared.window();
        let generation = window.generation + 1;
        *window = Window { generation, ..Window::default() };
        Ok(Resume::Delegate)
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        let Ok(room) = self.deliveries.reserve().await else {
            return Err(SinkError::fatal(ReceiverGone));
        };
        let mut window = self.shared.window();
        window.check()?;
        if batch.is_empty() {
            window.idle(batch.end());
            return Ok(());
        }
        let number = window.first + window.waiting.len() as u64;
        window.waiting.push_back(Waiting { end: batch.end(), done: false });
        let shared = Arc::clone(&self.shared);
        let ack = Ack { shared, generation: window.generation, number, answered: false };
        drop(window);
        room.send(Delivery { batch, ack });
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        loop {
            {
                let mut window = self.shared.window();
                window.check()?;
                if window.waiting.is_empty() {
                    return Ok(());
                }
            }
            // A receiver that goes away drops what is queued, and so answers all of it.
            self.shared.answered.notified().await;
        }
    }

    fn settled(&mut self) -> Option<Lsn> {
        self.shared.window().settled
    }

    fn takes_uncommitted(&self) -> bool {
        self.takes_uncommitted
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let failure = SinkError::new(SinkErrorKind::Fatal, ReceiverGone);
        self.shared.window().failure = Some(failure);
        self.shared.answered.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{SinkName, SlotName};
    use crate::testing::Feed;

    async fn opened(capacity: usize) -> (ChannelSink, Receiver, Feed, OpenContext) {
        let (mut sink, receiver) = ChannelSink::new(capacity);
        let feed = Feed::after(Lsn::new(0));
        let (name, slot) = (SinkName::new("c").unwrap(), SlotName::new("s").unwrap());
        let context = OpenContext::new(name, slot, feed.lineage().clone());
        assert_eq!(sink.open(&context).await.unwrap(), Resume::Delegate);
        (sink, receiver, feed, context)
    }

    #[tokio::test]
    async fn only_a_run_of_acks_from_the_first_on_counts() {
        let (mut sink, mut receiver, mut feed, _) = opened(8).await;
        let mut acks = Vec::new();
        for commit in [100, 200, 300] {
            sink.write(feed.transaction(commit, &["a"]).batch()).await.unwrap();
            acks.push(receiver.recv().await.unwrap().ack);
        }
        acks.pop().unwrap().done();
        assert_eq!(sink.settled(), None);
        acks.remove(0).done();
        assert_eq!(sink.settled(), Some(Lsn::new(108)));
        let flush = tokio::spawn(async move { (sink.flush().await, sink.settled()) });
        acks.pop().unwrap().done();
        let (flushed, settled) = flush.await.unwrap();
        flushed.unwrap();
        assert_eq!(settled, Some(Lsn::new(308)));
    }

    #[tokio::test]
    async fn a_dropped_ack_is_a_failure_and_stale_answers_mean_nothing() {
        let (mut sink, mut receiver, mut feed, context) = opened(8).await;
        let batch = feed.transaction(100, &["a"]).batch();
        sink.write(batch.clone()).await.unwrap();
        sink.write(feed.transaction(200, &["b"]).batch()).await.unwrap();
        drop(receiver.recv().await.unwrap());
        let error = sink.flush().await.unwrap_err();
        assert_eq!(error.kind(), SinkErrorKind::Unavailable);
        assert_eq!(sink.settled(), None);
        sink.open(&context).await.unwrap();
        sink.write(batch).await.unwrap();
        // The second batch of before is passed over.
        let Delivery { batch, ack } = receiver.recv().await.unwrap();
        assert_eq!(batch.end(), Lsn::new(108));
        sink.open(&context).await.unwrap();
        ack.done();
        assert_eq!(sink.settled(), None);
    }

    #[tokio::test]
    async fn idle_progress_waits_for_what_came_before_and_for_nobody_else() {
        let (mut sink, mut receiver, mut feed, _) = opened(2).await;
        sink.write(feed.idle(50).batch()).await.unwrap();
        assert_eq!(sink.settled(), Some(Lsn::new(50)));
        sink.write(feed.transaction(100, &["a"]).batch()).await.unwrap();
        sink.write(feed.idle(150).batch()).await.unwrap();
        assert_eq!(sink.settled(), Some(Lsn::new(50)));
        receiver.recv().await.unwrap().ack.done();
        assert_eq!(sink.settled(), Some(Lsn::new(150)));
        sink.flush().await.unwrap();
    }

    #[tokio::test]
    async fn a_receiver_may_say_why_it_fails() {
        let (mut sink, mut receiver, mut feed, _) = opened(1).await;
        sink.write(feed.transaction(100, &["a"]).batch()).await.unwrap();
        let Delivery { batch, ack } = receiver.recv().await.unwrap();
        let kind = SinkErrorKind::Rejected(batch.last_position().unwrap());
        ack.fail(SinkError::new(kind, "no"));
        assert_eq!(sink.flush().await.unwrap_err().kind(), kind);
    }

    #[tokio::test]
    async fn a_receiver_that_is_gone_is_final() {
        let (mut sink, receiver, mut feed, context) = opened(1).await;
        sink.write(feed.transaction(100, &["a"]).batch()).await.unwrap();
        let write = feed.transaction(200, &["b"]).batch();
        let blocked = tokio::spawn(async move { (sink.write(write).await, sink) });
        tokio::task::yield_now().await;
        drop(receiver);
        let (written, mut sink) = blocked.await.unwrap();
        assert_eq!(written.unwrap_err().kind(), SinkErrorKind::Fatal);
        assert_eq!(sink.flush().await.unwrap_err().kind(), SinkErrorKind::Fatal);
        assert_eq!(sink.open(&context).await.unwrap_err().kind(), SinkErrorKind::Fatal);
    }
}
