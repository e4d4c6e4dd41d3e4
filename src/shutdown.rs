//! How a running pipeline is asked to stop.
//!
//! Asked once it drains: what was handed out is proven and confirmed, then it ends. Asked twice it
//! lets go at once, which is always safe: what is unproven comes again.

use tokio::sync::watch;

use crate::{Error, ErrorKind, Result};

/// Follows whether the end was asked for. Clones follow the same.
#[derive(Debug, Clone)]
pub struct Shutdown {
    level: watch::Receiver<Level>,
}

/// Asks for the end. When the last one is dropped without asking, nothing ends.
#[derive(Debug, Clone)]
pub struct Trigger {
    level: watch::Sender<Level>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Run,
    Drain,
    Abort,
}

impl Shutdown {
    /// A trigger and what follows it.
    pub fn new() -> (Trigger, Self) {
        let (sender, level) = watch::channel(Level::Run);
        (Trigger { level: sender }, Self { level })
    }

    /// Follows SIGINT and SIGTERM: the first drains, the second aborts.
    ///
    /// # Errors
    /// When the signals cannot be listened for.
    pub fn on_signals() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let follow = |kind| signal(kind).map_err(|error| Error::permanent(ErrorKind::Io, error));
        let mut interrupt = follow(SignalKind::interrupt())?;
        let mut terminate = follow(SignalKind::terminate())?;
        let (trigger, shutdown) = Self::new();
        tokio::spawn(async move {
            for step in [Trigger::drain, Trigger::abort] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                step(&trigger);
            }
            // Keep the channel open for as long as anyone follows it.
            trigger.level.closed().await;
        });
        Ok(shutdown)
    }

    /// Wait until draining or aborting was asked for.
    ///
    /// # Cancel safety
    /// Nothing is taken.
    pub async fn drain(&mut self) {
        self.reach(Level::Drain).await;
    }

    /// Wait until aborting was asked for.
    ///
    /// # Cancel safety
    /// Nothing is taken.
    pub async fn abort(&mut self) {
        self.reach(Level::Abort).await;
    }

    async fn reach(&mut self, wanted: Level) {
        if self.level.wait_for(|level| *level >= wanted).await.is_err() {
            // Nobody is left to ask.
            std::future::pending::<()>().await;
        }
    }
}

impl Trigger {
    /// Prove and confirm what was handed out, then end.
    pub fn drain(&self) {
        self.raise(Level::Drain);
    }

    /// End at once.
    pub fn abort(&self) {
        self.raise(Level::Abort);
    }

    fn raise(&self, to: Level) {
        self.level.send_if_modified(|level| {
            let rises = to > *level;
            *level = (*level).max(to);
            rises
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_request_is_stronger_and_none_is_taken_back() {
        let (trigger, mut shutdown) = Shutdown::new();
        trigger.drain();
        shutdown.drain().await;
        trigger.abort();
        trigger.drain();
        shutdown.clone().abort().await;
        shutdown.drain().await;
    }
}
