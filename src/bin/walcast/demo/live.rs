//! The line that shows the lag, while the pipeline lives and while it does not.

use std::time::Duration;

use walcast::Lsn;
use walcast::monitor::{Stage, StageLag, Status};

use crate::human::{Bytes, Count, Span};

/// How far a running pipeline is behind: each sink, and what the slot may forget. Fits 80 columns.
pub(super) fn running(status: &Status, committed: u64) -> String {
    let rung = |stage, sink: Option<&str>| {
        status.lag.iter().find(|rung| {
            rung.stage == stage && rung.sink.as_ref().map(|name| name.as_str()) == sink
        })
    };
    let late =
        |rung: Option<&StageLag>| rung.and_then(|rung| rung.seconds).map_or("?".to_owned(), whole);
    let slot = rung(Stage::Confirmed, None);
    let behind = slot.and_then(|slot| slot.bytes).unwrap_or_default();
    format!(
        "  lag  file {:>6} │ replica {:>6} │ slot {:>6} {:>8} │ {} committed",
        late(rung(Stage::Durable, Some("file"))),
        late(rung(Stage::Durable, Some("replica"))),
        late(slot),
        Bytes(behind),
        Count(committed),
    )
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
        "  dead for {:.1} s │ {} transactions wait, {} │ {} committed",
        since.as_secs_f64(),
        Count(waiting),
        Bytes(behind),
        Count(committed),
    )
}

/// Whether everything before `lsn` has arrived for good everywhere.
pub(super) fn has_passed(status: &Status, lsn: Lsn) -> bool {
    let lasting = |rung: &&StageLag| matches!(rung.stage, Stage::Durable | Stage::Confirmed);
    let passed = |rung: &StageLag| rung.bytes == Some(0) || rung.lsn.is_some_and(|at| at >= lsn);
    status.lag.iter().filter(lasting).all(passed)
}
