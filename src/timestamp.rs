//! A point in time as the server states it.
//!
//! PostgreSQL counts microseconds from 2000-01-01 00:00 UTC. Commit times and send times are of the
//! server's clock; comparing them with this machine's is the caller's risk.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds from the Unix epoch to PostgreSQL's.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Microseconds since 2000-01-01 00:00 UTC, by the clock of whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `micros` microseconds after 2000-01-01 00:00 UTC.
    pub const fn from_postgres_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 2000-01-01 00:00 UTC.
    pub const fn as_postgres_micros(self) -> i64 {
        self.0
    }

    /// Microseconds since 1970-01-01 00:00 UTC.
    pub const fn as_unix_micros(self) -> i64 {
        self.0.saturating_add(POSTGRES_EPOCH_MICROS)
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros)
            }
        };
        Self(micros.saturating_sub(POSTGRES_EPOCH_MICROS))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let micros = time.as_unix_micros();
        let distance = Duration::from_micros(micros.unsigned_abs());
        if micros >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_thirty_years_apart() {
        let time = Timestamp::from_postgres_micros(0);
        assert_eq!(time.as_unix_micros(), 946_684_800_000_000);
        let system = SystemTime::from(time);
        assert_eq!(system, UNIX_EPOCH + Duration::from_secs(946_684_800));
        assert_eq!(Timestamp::from(system), time);
    }
}
