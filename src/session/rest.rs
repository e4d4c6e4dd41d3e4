//! How long to sleep between two gulps.
//!
//! Long enough that the server writes into its socket buffer and not to a reader who waits; no
//! longer than that buffer has room, or the server stands still. How much room there is and how
//! fast it fills differs from machine to machine, so both are measured: now and then a gulp after
//! the longest sleep says what a full buffer brings, and the sleeps between are made so long that
//! a gulp brings most of that. Bytes and durations go in and out; the clock is elsewhere.

use std::time::Duration;

/// The longest sleep.
pub const PAUSE_MAX: Duration = Duration::from_millis(10);

/// The window must close well within each sleep, or each message wakes the reader after all.
const PAUSE_MIN: Duration = Duration::from_millis(4);
/// How full the server's buffer may get.
const FULL_PERCENT: u64 = 85;
/// How many gulps lie between two of the longest sleeps.
const GULPS_PER_PROBE: u32 = 32;
/// A sleep moves by this part of the way to where one gulp says it should be.
const PART: u64 = 4;

/// The sleep before the next gulp.
#[derive(Debug)]
pub(super) struct Rest {
    pause: Duration,
    /// What the gulps after the last two probes brought.
    full_bytes: [usize; 2],
    /// Gulps since the last probe; none while one is under way.
    gulps: Option<u32>,
}

impl Rest {
    pub(super) fn new() -> Self {
        Self { pause: PAUSE_MAX, full_bytes: [0; 2], gulps: None }
    }

    /// How long to sleep now.
    pub(super) fn pause(&self) -> Duration {
        if self.gulps.is_some() { self.pause } else { PAUSE_MAX }
    }

    /// A sleep ended in a gulp of so many bytes.
    pub(super) fn gulped(&mut self, bytes: usize) {
        let Some(gulps) = &mut self.gulps else {
            self.full_bytes = [self.full_bytes[1], bytes];
            self.gulps = Some(0);
            return;
        };
        *gulps += 1;
        if *gulps == GULPS_PER_PROBE {
            self.gulps = None;
        }
        let full = self.full_bytes[0].max(self.full_bytes[1]).max(bytes);
        if full == 0 {
            return;
        }
        let pause = self.pause.as_micros() as u64;
        let wanted = pause * FULL_PERCENT * full as u64 / 100 / bytes.max(full / 8 + 1) as u64;
        let next = (pause * (PART - 1) + wanted) / PART;
        self.pause = Duration::from_micros(next).clamp(PAUSE_MIN, PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that writes `rate` bytes a millisecond into a buffer of `room` bytes.
    fn settled(rate: usize, room: usize) -> Duration {
        let mut rest = Rest::new();
        for _ in 0..200 {
            let filled = rate * rest.pause().as_micros() as usize / 1000;
            rest.gulped(filled.min(room));
        }
        rest.pause
    }

    #[test]
    fn a_buffer_that_fills_early_is_not_left_full() {
        let pause = settled(70_000, 500_000);
        assert!((5_800..6_600).contains(&pause.as_micros()), "{pause:?}");
    }

    #[test]
    fn a_buffer_that_never_fills_is_given_nearly_the_longest_sleep() {
        let pause = settled(20_000, 500_000);
        assert!((8_400..=10_000).contains(&pause.as_micros()), "{pause:?}");
        assert_eq!(settled(0, 500_000), PAUSE_MAX);
    }

    #[test]
    fn a_sleep_never_gets_too_short_for_the_window_to_close() {
        assert_eq!(settled(1_000_000, 500_000), PAUSE_MIN);
    }

    #[test]
    fn a_server_that_becomes_slower_is_given_more_time() {
        let mut rest = Rest::new();
        for gulp in 0..400 {
            let rate = if gulp < 200 { 70_000 } else { 30_000 };
            rest.gulped((rate * rest.pause().as_micros() as usize / 1000).min(500_000));
        }
        assert!(rest.pause.as_micros() >= 8_400, "{:?}", rest.pause);
    }
}
