//! How long to wait before trying again.

use std::time::Duration;

/// Waits that double from `first` to `max`, each cut by a random share so that many who were cut
/// off together do not come back together.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    tries: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, tries: 0 }
    }

    /// How often [`next`](Self::next) was asked since the last success.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// The next wait: between a half and the whole of the doubled one.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.first.saturating_mul(1 << self.tries.min(20)).min(self.max);
        self.tries = self.tries.saturating_add(1);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_start_over_after_a_success() {
        let (first, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, max);
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next();
            let whole = Duration::from_millis(whole);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
