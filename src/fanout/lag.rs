//! When a sink has fallen too far behind.
//!
//! A [`Lag`] is told at every look what is seen of one lane and says when that is too much: when
//! the sink has proven nothing for too long although there is something to prove, or when others
//! wait for memory that it holds. How much was read ahead of a sink says nothing: after a long stop
//! every sink is slower than the wire. What follows from it is decided elsewhere; time comes in as
//! a value.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::lsn::Lsn;

/// How long a sink that others wait for may prove nothing.
const PATIENCE_CONTENDED: Duration = Duration::from_secs(1);

/// Follows one lane. See the [module](self).
#[derive(Debug)]
pub(crate) struct Lag {
    /// How long it may prove nothing.
    limit: Duration,
    /// How much it may hold while others wait, in bytes.
    share: usize,
    /// What was seen of its progress, and when that was first seen.
    seen: Option<(Proven, Instant)>,
    /// Since when others have waited for what it holds.
    crowding: Option<Instant>,
}

/// What grows whenever a sink proves something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proven {
    pub(super) cursor: Lsn,
    pub(super) times: u64,
}

/// What is seen of a lane at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) now: Instant,
    pub(super) proven: Proven,
    /// Whether there is something that it has to prove.
    pub(super) owes: bool,
    /// Bytes that were sent to it and are not proven.
    pub(super) held: usize,
    /// Whether somebody waits for memory while some other lane holds little.
    pub(super) others_wait: bool,
}

/// Why a sink is too far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// It has proven nothing for so long.
    Stopped(Duration),
    /// Others have waited for so long for the memory it holds.
    Crowding(Duration),
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(time) => write!(f, "it proved nothing for {:.1} s", time.as_secs_f64()),
            Self::Crowding(time) => {
                write!(f, "others waited {:.1} s for the memory it holds", time.as_secs_f64())
            }
        }
    }
}

impl Lag {
    pub(super) fn new(limit: Duration, share: usize) -> Self {
        Self { limit, share, seen: None, crowding: None }
    }

    /// Whether what is seen now is too much.
    pub(super) fn look(&mut self, look: Look) -> Option<Behind> {
        let crowds = look.others_wait && look.held > self.share;
        let crowding = crowds.then(|| *self.crowding.get_or_insert(look.now));
        self.crowding = crowding;
        let since = match self.seen {
            Some((proven, since)) if proven == look.proven && look.owes => since,
            _ => {
                self.seen = Some((look.proven, look.now));
                look.now
            }
        };
        let stopped = look.now - since;
        if stopped >= self.limit || (crowds && stopped >= PATIENCE_CONTENDED.min(self.limit)) {
            return Some(Behind::Stopped(stopped));
        }
        let crowded = crowding.map(|since| look.now - since);
        crowded.filter(|crowded| *crowded >= self.limit).map(Behind::Crowding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: usize = 100;

    fn lag() -> (Lag, Look) {
        let proven = Proven { cursor: Lsn::new(1), times: 0 };
        let now = Instant::now();
        let look = Look { now, proven, owes: true, held: 1, others_wait: false };
        let mut lag = Lag::new(Duration::from_secs(10), SHARE);
        assert_eq!(lag.look(look), None);
        (lag, look)
    }

    fn later(look: Look, seconds: u64) -> Look {
        Look { now: look.now + Duration::from_secs(seconds), ..look }
    }

    #[test]
    fn a_sink_that_proves_nothing_is_behind_once_it_took_too_long() {
        let (mut lag, look) = lag();
        assert_eq!(lag.look(later(look, 9)), None);
        let stopped = Some(Behind::Stopped(Duration::from_secs(10)));
        assert_eq!(lag.look(later(look, 10)), stopped);
    }

    #[test]
    fn a_sink_with_nothing_to_prove_is_never_behind() {
        let (mut lag, look) = lag();
        let idle = Look { owes: false, ..look };
        assert_eq!(lag.look(later(idle, 100)), None);
        assert_eq!(lag.look(later(look, 109)), None, "its time begins when it owes something");
        assert!(lag.look(later(look, 110)).is_some());
    }

    #[test]
    fn parts_of_a_transaction_count_although_the_cursor_stands() {
        let (mut lag, look) = lag();
        for part in 1..20 {
            let proven = Proven { times: part, ..look.proven };
            assert_eq!(lag.look(Look { proven, ..later(look, part * 9) }), None);
        }
    }

    #[test]
    fn a_dead_sink_that_others_wait_for_is_given_up_sooner() {
        let (mut lag, look) = lag();
        let crowd = Look { held: SHARE + 1, others_wait: true, ..look };
        assert_eq!(lag.look(Look { held: SHARE, ..later(crowd, 2) }), None, "within its share");
        assert_eq!(lag.look(Look { others_wait: false, ..later(crowd, 2) }), None);
        let stopped = Some(Behind::Stopped(Duration::from_secs(2)));
        assert_eq!(lag.look(later(crowd, 2)), stopped);
    }

    #[test]
    fn a_slow_sink_that_others_wait_for_all_the_time_is_behind() {
        let (mut lag, look) = lag();
        for second in 1..25 {
            let proven = Proven { cursor: Lsn::new(second + 1), times: 0 };
            let held = if second == 5 { SHARE } else { SHARE + 1 };
            let crowd = Look { held, others_wait: true, proven, ..later(look, second) };
            let crowded = Duration::from_secs(second.saturating_sub(6));
            let expected =
                (crowded >= Duration::from_secs(10)).then_some(Behind::Crowding(crowded));
            assert_eq!(lag.look(crowd), expected, "second {second}");
        }
    }
}
