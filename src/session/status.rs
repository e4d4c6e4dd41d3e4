//! When to tell the server how far we are.
//!
//! [`Feedback`] decides; it sends nothing itself and has no clock. A status update is due right
//! after CopyBoth, at each rise of what is confirmed (not more often than every ten milliseconds),
//! at every status interval whatever the sinks do, and when the server asks. Frequent updates
//! silence the server's keepalives, without which an idle slot does not move: so a periodic update
//! asks for a reply when none came since the last one. A server that has said nothing for the
//! silence timeout is given up; half-way there it is asked for a sign of life.

use std::time::Duration;

use crate::lsn::Lsn;
use crate::timestamp::Timestamp;
use crate::wire::copy_both::StandbyStatusUpdate;

/// The least time between updates that only report progress.
const RISE_GAP: Duration = Duration::from_millis(10);

/// The present, as its caller's clocks say it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Time since an arbitrary start, never going back.
    pub elapsed: Duration,
    /// The time of day.
    pub wall: Timestamp,
}

/// What may be reported as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The slot may release everything before this.
    pub flush: Lsn,
    /// A quorum of sinks has everything before this.
    pub apply: Lsn,
}

/// How often to speak and how long to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// The longest time between two status updates.
    pub status: Duration,
    /// How long the server may be silent.
    pub silence: Duration,
}

/// The state of our side of the feedback.
#[derive(Debug)]
pub struct Feedback {
    intervals: Intervals,
    progress: Progress,
    received: Lsn,
    /// When the last update left, and what it said was durable.
    sent: Option<(Duration, Progress)>,
    heard: Duration,
    /// When a reply was asked for and has not come.
    asked: Option<Duration>,
    /// A keepalive came since the last update.
    keepalive_seen: bool,
    reply_due: bool,
}

impl Feedback {
    /// Feedback for a stream that starts at `progress`.
    pub fn new(now: Now, intervals: Intervals, progress: Progress) -> Self {
        Self {
            intervals,
            progress,
            received: progress.flush,
            sent: None,
            heard: now.elapsed,
            asked: None,
            keepalive_seen: false,
            reply_due: false,
        }
    }

    /// What was received last.
    pub fn received(&self) -> Lsn {
        self.received
    }

    /// Bytes came.
    pub fn heard(&mut self, now: Now) {
        self.heard = now.elapsed;
        self.asked = None;
    }

    /// Output up to `lsn` came.
    pub fn on_received(&mut self, lsn: Lsn) {
        self.received = self.received.max(lsn);
    }

    /// A keepalive came.
    pub fn on_keepalive(&mut self, end: Lsn, reply_requested: bool) {
        self.on_received(end);
        self.keepalive_seen = true;
        self.reply_due |= reply_requested;
    }

    /// More is confirmed. What is not ahead of what was said before is left aside.
    pub fn on_progress(&mut self, progress: Progress) {
        self.progress.flush = self.progress.flush.max(progress.flush);
        self.progress.apply = self.progress.apply.max(progress.apply);
    }

    /// The update that is due now, if one is.
    pub fn poll(&mut self, now: Now) -> Option<StandbyStatusUpdate> {
        let due = match self.sent {
            None => true,
            Some((at, said)) => {
                let since = now.elapsed.saturating_sub(at);
                self.reply_due
                    || since >= self.intervals.status
                    || (said != self.progress && since >= RISE_GAP)
                    || self.asks_for_life(now)
            }
        };
        due.then(|| self.update(now))
    }

    /// The update to send now, due or not.
    pub fn update(&mut self, now: Now) -> StandbyStatusUpdate {
        let last = self.sent.map_or(now.elapsed, |(at, _)| at);
        let periodic = now.elapsed.saturating_sub(last) >= self.intervals.status;
        let reply_requested = self.asks_for_life(now) || (periodic && !self.keepalive_seen);
        if reply_requested {
            self.asked = Some(now.elapsed);
        }
        self.keepalive_seen = false;
        self.reply_due = false;
        self.sent = Some((now.elapsed, self.progress));
        StandbyStatusUpdate {
            write: self.received.max(self.progress.flush),
            flush: self.progress.flush,
            apply: self.progress.apply,
            sent_at: now.wall,
            reply_requested,
        }
    }

    /// Whether the server has been silent for too long.
    pub fn is_silent(&self, now: Now) -> bool {
        now.elapsed.saturating_sub(self.heard) >= self.intervals.silence
    }

    /// How long the server may be silent.
    pub fn silence(&self) -> Duration {
        self.intervals.silence
    }

    /// When to look again, on the clock of [`Now::elapsed`].
    pub fn next_look(&self) -> Duration {
        let (at, said) = self.sent.unwrap_or((Duration::ZERO, self.progress));
        let update = if said == self.progress { self.intervals.status } else { RISE_GAP };
        let silence = match self.asked {
            Some(_) => self.intervals.silence,
            None => self.intervals.silence / 2,
        };
        (at + update).min(self.heard + silence)
    }

    fn asks_for_life(&self, now: Now) -> bool {
        let silent = now.elapsed.saturating_sub(self.heard);
        silent >= self.intervals.silence / 2 && self.asked.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVALS: Intervals =
        Intervals { status: Duration::from_secs(10), silence: Duration::from_secs(60) };

    fn at(millis: u64) -> Now {
        Now { elapsed: Duration::from_millis(millis), wall: Timestamp::from_postgres_micros(0) }
    }

    fn progress(flush: u64) -> Progress {
        Progress { flush: Lsn::new(flush), apply: Lsn::new(flush) }
    }

    fn started() -> Feedback {
        let mut feedback = Feedback::new(at(0), INTERVALS, progress(5));
        assert!(feedback.poll(at(0)).is_some(), "one update right after CopyBoth");
        feedback
    }

    #[test]
    fn an_update_leaves_at_every_interval_and_asks_when_the_server_is_quiet() {
        let mut feedback = started();
        assert_eq!(feedback.poll(at(9_999)), None);
        assert!(feedback.poll(at(10_000)).unwrap().reply_requested);
        feedback.heard(at(10_001));
        feedback.on_keepalive(Lsn::new(9), false);
        let update = feedback.poll(at(20_000)).unwrap();
        assert!(!update.reply_requested, "the server speaks by itself");
        assert_eq!((update.write, update.flush), (Lsn::new(9), Lsn::new(5)));
    }

    #[test]
    fn a_rise_is_told_at_once_but_not_in_a_flood() {
        let mut feedback = started();
        feedback.on_progress(progress(6));
        assert_eq!(feedback.poll(at(9)), None);
        assert_eq!(feedback.next_look(), Duration::from_millis(10));
        assert_eq!(feedback.poll(at(10)).unwrap().flush, Lsn::new(6));
        feedback.on_progress(progress(4));
        assert_eq!(feedback.poll(at(100)), None, "nothing goes back");
    }

    #[test]
    fn a_request_is_answered_at_once() {
        let mut feedback = started();
        feedback.on_keepalive(Lsn::new(7), true);
        assert_eq!(feedback.poll(at(1)).unwrap().write, Lsn::new(7));
        assert_eq!(feedback.poll(at(2)), None);
    }

    #[test]
    fn silence_is_questioned_then_given_up() {
        let intervals = Intervals { status: Duration::from_secs(100), ..INTERVALS };
        let mut feedback = Feedback::new(at(0), intervals, progress(1));
        feedback.poll(at(0));
        assert_eq!(feedback.next_look(), Duration::from_secs(30));
        assert!(feedback.poll(at(30_000)).unwrap().reply_requested);
        assert!(!feedback.is_silent(at(59_999)));
        assert!(feedback.is_silent(at(60_000)));
        feedback.heard(at(60_000));
        assert!(!feedback.is_silent(at(60_001)));
    }
}
