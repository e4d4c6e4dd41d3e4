//! What is waited for after a connection broke, and how long its successor may be silent.
//!
//! A server without `wal_sender_timeout` that decodes a large transaction of which it publishes
//! nothing may say nothing for as long as that takes, and not even answer. Each new connection
//! begins the same work again, so one that was given up for its silence makes the patience with the
//! next twice as long, until events come. The walsender that was given up holds the slot until it
//! looks up from its work: it is told from other consumers by its process, and waited for.

use std::time::Duration;

use tokio::time::Instant;

use super::error::StreamError;
use crate::net::DriverError;
use crate::session::SessionError;
use crate::{Error, ErrorKind};

/// How long a slot may stay in use after we lost it, when it is not known by whom.
const SLOT_REGAIN: Duration = Duration::from_secs(180);
/// Patience grows up to this, unless it is longer from the start.
const SILENCE_MAX: Duration = Duration::from_secs(3600);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Connections given up for their silence since events came.
    silences: u32,
    /// The server process of the last connection.
    walsender: Option<i32>,
    /// Since when the slot is someone else's, while we try to get it back.
    in_use_since: Option<Instant>,
}

impl Patience {
    /// A connection is there, served by this process.
    pub(super) fn connected(&mut self, walsender: i32) {
        self.walsender = Some(walsender);
        self.in_use_since = None;
    }

    /// Events came.
    pub(super) fn served(&mut self) {
        self.silences = 0;
    }

    /// How long the next connection may be silent, where it is `least` by the settings and the
    /// server does not speak while it works.
    pub(super) fn silence(&self, least: Duration) -> Duration {
        let grown = least.saturating_mul(1 << self.silences.min(20));
        grown.min(SILENCE_MAX.max(least))
    }

    /// Whether to try again after `error`.
    pub(super) fn bears(&mut self, error: &Error) -> bool {
        if let Some(DriverError::Session(SessionError::Silent(_))) =
            error.downcast_ref::<DriverError>()
        {
            self.silences = self.silences.saturating_add(1);
        }
        if error.kind() != ErrorKind::SlotInUse || self.is_our_own(error) {
            self.in_use_since = None;
            return error.is_transient();
        }
        let now = Instant::now();
        let since = *self.in_use_since.get_or_insert(now);
        error.is_transient() && now - since <= SLOT_REGAIN
    }

    /// Whether it is our former connection that is in the way.
    fn is_our_own(&self, error: &Error) -> bool {
        match error.downcast_ref::<StreamError>() {
            Some(StreamError::SlotActive { pid, .. }) => pid.is_some() && *pid == self.walsender,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::SlotName;

    const LEAST: Duration = Duration::from_secs(60);

    fn silent() -> Error {
        let silent = SessionError::Silent(LEAST);
        Error::transient(ErrorKind::Connect, DriverError::Session(silent))
    }

    fn in_use(pid: Option<i32>) -> Error {
        StreamError::SlotActive { slot: SlotName::new("s").unwrap(), pid }.into()
    }

    #[test]
    fn patience_grows_with_each_silence_until_events_come() {
        let mut it = Patience::default();
        assert_eq!(it.silence(LEAST), LEAST);
        assert!(it.bears(&Error::transient(ErrorKind::Connect, DriverError::Closed)));
        assert_eq!(it.silence(LEAST), LEAST, "only silence counts");
        for times in [2, 4, 8] {
            assert!(it.bears(&silent()));
            it.connected(7);
            assert_eq!(it.silence(LEAST), LEAST * times);
        }
        (0..100).for_each(|_| assert!(it.bears(&silent())));
        assert_eq!(it.silence(LEAST), SILENCE_MAX);
        assert_eq!(it.silence(SILENCE_MAX * 2), SILENCE_MAX * 2, "never less than was asked for");
        it.served();
        assert_eq!(it.silence(LEAST), LEAST);
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_walsender_is_waited_for_and_others_are_not_for_ever() {
        let mut it = Patience::default();
        it.connected(7);
        for _ in 0..100 {
            assert!(it.bears(&in_use(Some(7))));
            tokio::time::advance(SLOT_REGAIN).await;
        }
        for pid in [Some(8), None] {
            assert!(it.bears(&in_use(pid)));
            tokio::time::advance(SLOT_REGAIN).await;
            assert!(it.bears(&in_use(pid)));
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(!it.bears(&in_use(pid)), "{pid:?}");
            it.connected(7);
        }
    }
}
