//! Waiting for a condition with a deadline: the only kind of waiting that the suites do.

use std::time::{Duration, Instant};

/// How long to rest between two looks. Short against what is waited for, long against a look.
const PAUSE: Duration = Duration::from_millis(10);

/// What a look at a condition may answer: `bool`, or `Option` when the look yields a value.
pub(crate) trait Answer {
    type Value;
    fn settled(self) -> Option<Self::Value>;
}

impl Answer for bool {
    type Value = ();
    fn settled(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Answer for Option<T> {
    type Value = T;
    fn settled(self) -> Option<T> {
        self
    }
}

/// Looks until `look` answers `true` or `Some`; fails the test at the deadline, saying `what` did
/// not come. For plain tests: it blocks the thread, and with it a current-thread runtime.
#[track_caller]
pub(crate) fn eventually<A: Answer>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> A,
) -> A::Value {
    let patience = Patience::new(what, deadline);
    loop {
        if let Some(value) = look().settled() {
            return value;
        }
        patience.check();
        std::thread::sleep(PAUSE);
    }
}

/// [`eventually`] for async tests: the runtime goes on while it waits.
pub(crate) async fn eventually_async<A: Answer>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> A,
) -> A::Value {
    let patience = Patience::new(what, deadline);
    loop {
        if let Some(value) = look().await.settled() {
            return value;
        }
        patience.pause().await;
    }
}

/// One wait: what for, and for how long.
pub(crate) struct Patience<'a> {
    what: &'a str,
    deadline: Duration,
    start: Instant,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(what: &'a str, deadline: Duration) -> Self {
        Patience { what, deadline, start: Instant::now() }
    }

    /// Fails the test past the deadline.
    #[track_caller]
    fn check(&self) {
        let (what, deadline) = (self.what, self.deadline);
        assert!(self.start.elapsed() < deadline, "not within {deadline:?}: {what}");
    }

    /// Rests until the next look, or fails the test.
    pub(crate) async fn pause(&self) {
        self.check();
        tokio::time::sleep(PAUSE).await;
    }
}
