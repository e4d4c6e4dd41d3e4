//! The line that shows the lag, while the pipeline lives and while it does not.

use std::time::Duration;

use walcast::Lsn;
use walcast::monitor::{Stage, StageLag, Status};

use crate::human::{Bytes, Count, Span};

/// How far a running pipeline is behind: each sink, and what the slot may forget.
pub(super) fn running(status: &Status, committed: u64) -> String {
    let lag = |stage, sink: Option<&str>| {
        let found = status.lag.iter().find(|rung| {
            rung.stage == stage && rung.sink.as_ref().map(|name| name.as_str()) == sink
        });
        found.map_or_else(String::new, shown)
    };
    format!(
        "{:>8} committed │ lag  file {} │ replica {} │ slot {}",
        Count(committed).to_string(),
        lag(Stage::Durable, Some("file")),
        lag(Stage::Durable, Some("replica")),
        lag(Stage::Confirmed, None),
    )
}

/// Time and bytes, in columns that stay where they are.
fn shown(rung: &StageLag) -> String {
    let bytes = rung.bytes.map_or("?".to_owned(), |bytes| Bytes(bytes).to_string());
    let seconds = rung.seconds.map_or("?".to_owned(), whole);
    format!("{seconds:>6} {bytes:>8}")
}

/// Without digits that nobody could read before they change.
fn whole(seconds: f64) -> String {
    match seconds {
        ..0.0005 => "0 ms".to_owned(),
        ..0.9995 => format!("{:.0} ms", seconds * 1e3),
        _ => Span::seconds(seconds).to_string(),
    }
}

/// What waits in the slot of a dead one.
pub(super) fn dead(committed: u64, behind: u64, since: Duration, waiting: u64) -> String {
    format!(
        "{:>8} committed │ pipeline dead for {:.1} s │ {} transactions, {} wait in the slot",
        Count(committed).to_string(),
        since.as_secs_f64(),
        Count(waiting),
        Bytes(behind),
    )
}

/// Whether everything before `lsn` has arrived for good everywhere.
pub(super) fn has_passed(status: &Status, lsn: Lsn) -> bool {
    let lasting = |rung: &&StageLag| matches!(rung.stage, Stage::Durable | Stage::Confirmed);
    let passed = |rung: &StageLag| rung.bytes == Some(0) || rung.lsn.is_some_and(|at| at >= lsn);
    status.lag.iter().filter(lasting).all(passed)
}
