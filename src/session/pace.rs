//! How eagerly to read: at once, or letting data pile up.
//!
//! A walsender makes one `send` per message. A reader that always waits wakes at each of them,
//! which costs the server two thirds of its time. While a backlog is drained over a link without
//! distance it pays to sleep, let the window close so that the server's sends become appends to its
//! socket buffer, and then read until nothing is left. A short read does not say that: the server's
//! kernel may hand on a full buffer in pieces. So the reader lingers, and sleeps only when what
//! comes next is little, or nothing. Elsewhere it still pays not to hand each
//! message on by itself. [`Pace`] decides from what it is shown: how much a read brought, and how
//! far the stream is behind the commits it carries. What the link allows is known beforehand.
//!
//! ```text
//!            backlog: >= 32 KiB per 10 ms, window < 50 ms, lag >= 20 ms
//!   Live ────────────────────────────────────────────────────────────────► CatchUp
//!     ▲      lag < 5 ms, or two wake-ups in a row under 16 KiB                │  or
//!     └───────────────────────────────────────────────────────────────────────┘ Gather
//! ```
//!
//! Over a distance a small window is slower than eager reading, and on Unix sockets there is no
//! window to close: there what comes is read at once also while a backlog is drained, but gathered.

use std::time::Duration;

/// Round trips longer than this are over a distance.
pub const ROUND_TRIP_MAX: Duration = Duration::from_micros(300);

/// The receive buffer that lets the window close well within a pause.
pub const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// How long a reader in gulps sleeps: the window must close well within it.
pub const PAUSE: Duration = Duration::from_millis(10);

/// How long what comes may be gathered while a backlog is drained.
pub const GATHER: Duration = Duration::from_millis(5);

/// How much may be gathered.
pub const GATHER_BYTES: usize = 32 * 1024;

/// How long a reader waits, when all seems read, before it takes that for true.
pub const LINGER: Duration = Duration::from_millis(1);

/// A read that brings less says that the backlog is read, for this wake-up.
const SMALL_READ_BYTES: usize = 16 * 1024;

const WINDOW_MIN: Duration = Duration::from_millis(10);
const WINDOW_MAX: Duration = Duration::from_millis(50);
const RATE_MIN_BYTES: u64 = 32 * 1024;
const LOOK_BYTES: usize = 4 * 1024;
const LOOK_READS: u32 = 8;
const LAG_ENTER: Duration = Duration::from_millis(20);
const LAG_LEAVE: Duration = Duration::from_millis(5);

/// Whether to read at once or to sleep between reads.
#[derive(Debug)]
pub struct Pace {
    backlog: Backlog,
    mode: Mode,
}

/// How a backlog is drained over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// In gulps, with pauses in which it piles up on the server's side.
    Gulp,
    /// Read as it comes and handed on in pieces that are worth it.
    Gather,
    /// As everything else.
    AtOnce,
}

#[derive(Debug)]
enum Mode {
    Live(Window),
    CatchUp {
        woken_bytes: usize,
        small_wakes: u8,
        /// All seemed read, and the reader waited whether it was.
        lingered: bool,
    },
    Gather {
        small_wakes: u8,
    },
}

/// What came in since `since`.
#[derive(Debug)]
struct Window {
    since: Duration,
    bytes: u64,
    reads: u32,
}

/// What a reader should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Wait for data and read it.
    Read,
    /// Go on reading what is there, without waiting.
    Drain,
    /// Wait for data and read it, but no longer than [`LINGER`]: the kernel may only be slow to
    /// hand on what it has.
    Linger,
    /// Sleep for [`PAUSE`], then drain.
    Pause,
    /// Wait for data and read it; hand it on when it is [`GATHER_BYTES`], or after [`GATHER`].
    Gather,
}

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// How many bytes.
    pub bytes: usize,
    /// Whether there was no room for more, so that more may be there.
    pub filled: bool,
}

impl Pace {
    /// A pace for a link over which a backlog is drained as `backlog` says.
    pub fn new(now: Duration, backlog: Backlog) -> Self {
        Self { backlog, mode: Mode::live(now) }
    }

    /// Whether the reader drains a backlog in gulps.
    pub fn is_gulping(&self) -> bool {
        matches!(self.mode, Mode::CatchUp { .. })
    }

    /// Data was read, or has been gathered, and the stream is `lag` behind the commits it carries.
    pub fn on_read(&mut self, now: Duration, read: Read, lag: Option<Duration>) -> Turn {
        match &mut self.mode {
            Mode::Live(window) => {
                if self.backlog == Backlog::AtOnce || !window.shows_backlog(now, read.bytes, lag) {
                    return Turn::Read;
                }
                if self.backlog == Backlog::Gather {
                    self.mode = Mode::Gather { small_wakes: 0 };
                    return Turn::Gather;
                }
                self.mode = Mode::CatchUp { woken_bytes: 0, small_wakes: 0, lingered: false };
                Turn::Pause
            }
            Mode::CatchUp { woken_bytes, lingered, .. } => {
                *woken_bytes += read.bytes;
                if read.bytes < SMALL_READ_BYTES && !read.filled {
                    return self.on_drained(now, lag);
                }
                *lingered = false;
                Turn::Drain
            }
            Mode::Gather { small_wakes } => {
                let small = read.bytes < SMALL_READ_BYTES;
                let over = is_over(small_wakes, small, lag);
                if over { self.go_live(now) } else { Turn::Gather }
            }
        }
    }

    /// Nothing was left to read, or nothing came for as long as a reader lingers.
    pub fn on_drained(&mut self, now: Duration, lag: Option<Duration>) -> Turn {
        let Mode::CatchUp { woken_bytes, small_wakes, lingered } = &mut self.mode else {
            return Turn::Read;
        };
        *lingered = !*lingered;
        if *lingered {
            return Turn::Linger;
        }
        let woken = std::mem::take(woken_bytes);
        let small = woken < SMALL_READ_BYTES;
        let over = is_over(small_wakes, small, lag);
        if over { self.go_live(now) } else { Turn::Pause }
    }

    fn go_live(&mut self, now: Duration) -> Turn {
        self.mode = Mode::live(now);
        Turn::Read
    }
}

/// Whether the backlog is gone, after a wake-up that brought little or not.
fn is_over(small_wakes: &mut u8, small: bool, lag: Option<Duration>) -> bool {
    *small_wakes = if small { *small_wakes + 1 } else { 0 };
    *small_wakes >= 2 || lag.is_some_and(|lag| lag < LAG_LEAVE)
}

impl Mode {
    fn live(since: Duration) -> Self {
        Self::Live(Window { since, bytes: 0, reads: 0 })
    }
}

impl Window {
    fn shows_backlog(&mut self, now: Duration, bytes: usize, lag: Option<Duration>) -> bool {
        self.bytes += bytes as u64;
        self.reads += 1;
        let took = now.saturating_sub(self.since);
        let look = bytes >= LOOK_BYTES
            || self.bytes >= RATE_MIN_BYTES
            || self.reads.is_multiple_of(LOOK_READS);
        if !look || took < WINDOW_MIN {
            return false;
        }
        let windows = took.as_micros() as u64 / WINDOW_MIN.as_micros() as u64;
        let fast = self.bytes / windows.max(1) >= RATE_MIN_BYTES;
        let behind = lag.is_some_and(|lag| lag >= LAG_ENTER);
        *self = Window { since: now, bytes: 0, reads: 0 };
        took < WINDOW_MAX && fast && behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEHIND: Option<Duration> = Some(Duration::from_secs(1));

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn brought(bytes: usize) -> Read {
        Read { bytes, filled: false }
    }

    /// Feeds a backlog until the pace changes or 100 reads have passed.
    fn feed(pace: &mut Pace, lag: Option<Duration>) -> bool {
        (1..100).any(|read| pace.on_read(ms(read), brought(8_000), lag) == Turn::Pause)
    }

    #[test]
    fn a_backlog_over_a_short_link_is_drained_in_gulps() {
        let mut pace = Pace::new(ms(0), Backlog::Gulp);
        assert!(feed(&mut pace, BEHIND));
        assert_eq!(pace.on_read(ms(30), brought(200_000), BEHIND), Turn::Drain);
        assert_eq!(pace.on_drained(ms(30), BEHIND), Turn::Linger);
        assert_eq!(pace.on_drained(ms(31), BEHIND), Turn::Pause);
    }

    /// A kernel that paces what it sends hands on a full buffer in pieces.
    #[test]
    fn a_gulp_goes_on_while_what_comes_after_a_wait_is_large() {
        let mut pace = Pace::new(ms(0), Backlog::Gulp);
        assert!(feed(&mut pace, BEHIND));
        for piece in 0..20 {
            let now = ms(40 + piece);
            assert_eq!(pace.on_read(now, brought(129_000), BEHIND), Turn::Drain);
            assert_eq!(pace.on_read(now, brought(1_700), BEHIND), Turn::Linger);
        }
        assert_eq!(pace.on_read(ms(70), brought(300), BEHIND), Turn::Pause);
        assert_eq!(pace.on_read(ms(80), brought(129_000), BEHIND), Turn::Drain);
        assert_eq!(pace.on_drained(ms(80), BEHIND), Turn::Linger);
    }

    #[test]
    fn a_stream_that_keeps_up_is_read_at_once_however_fast_it_is() {
        assert!(!feed(&mut Pace::new(ms(0), Backlog::Gulp), Some(ms(1))));
        assert!(!feed(&mut Pace::new(ms(0), Backlog::Gulp), None));
    }

    /// The live pace, whatever the load: each read is followed by waiting for the next one.
    #[test]
    fn no_read_of_a_stream_that_keeps_up_is_followed_by_a_pause() {
        for backlog in [Backlog::Gulp, Backlog::Gather, Backlog::AtOnce] {
            let mut pace = Pace::new(ms(0), backlog);
            for read in 1..10_000 {
                let (bytes, lag) = (300 << (read % 11), ms(read % 20));
                let turn = pace.on_read(ms(read), brought(bytes), Some(lag));
                assert_eq!(turn, Turn::Read, "{bytes} bytes, {lag:?} late");
            }
        }
    }

    #[test]
    fn a_backlog_over_a_distance_is_gathered_until_it_is_gone() {
        let mut pace = Pace::new(ms(0), Backlog::Gather);
        assert!(
            (1..100).any(|read| pace.on_read(ms(read), brought(8_000), BEHIND) == Turn::Gather)
        );
        assert!(!pace.is_gulping());
        assert_eq!(pace.on_read(ms(40), brought(40_000), BEHIND), Turn::Gather);
        assert_eq!(pace.on_read(ms(45), brought(100), BEHIND), Turn::Gather);
        assert_eq!(pace.on_read(ms(50), brought(100), BEHIND), Turn::Read);
    }

    #[test]
    fn where_nothing_may_be_done_nothing_changes() {
        assert!(!feed(&mut Pace::new(ms(0), Backlog::AtOnce), BEHIND));
    }

    #[test]
    fn a_trickle_after_a_pause_does_not_look_like_a_backlog() {
        let mut pace = Pace::new(ms(0), Backlog::Gulp);
        assert_eq!(pace.on_read(ms(60_000), brought(100_000), BEHIND), Turn::Read);
    }

    #[test]
    fn the_live_pace_returns_when_the_backlog_is_gone() {
        let mut pace = Pace::new(ms(0), Backlog::Gulp);
        assert!(feed(&mut pace, BEHIND));
        assert_eq!(pace.on_read(ms(40), brought(100), Some(ms(1))), Turn::Linger);
        assert_eq!(pace.on_read(ms(40), brought(100), Some(ms(1))), Turn::Read);
        assert!(!pace.is_gulping());

        let mut pace = Pace::new(ms(0), Backlog::Gulp);
        assert!(feed(&mut pace, BEHIND));
        assert_eq!(pace.on_drained(ms(40), BEHIND), Turn::Linger);
        assert_eq!(pace.on_drained(ms(41), BEHIND), Turn::Pause);
        assert_eq!(pace.on_drained(ms(50), BEHIND), Turn::Linger);
        assert_eq!(pace.on_drained(ms(51), BEHIND), Turn::Read);
    }
}
