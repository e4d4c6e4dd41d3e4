//! The line that shows the lag, while the pipeline lives and while it does not.

use std::time::Duration;

use walcast::Lsn;
use walcast::monitor::{Stage, StageLag, Status};

use crate::human::{Bytes, Count, Span};

/// How far a running pipeline is behind, stage by stage.
pub(super) fn running(status: &Status, committed: u64) -> String {
    let lag = |stage, sink: Option<&str>| {
        let found = status.lag.iter().find(|rung| {
            rung.stage == stage && rung.sink.as_ref().map(|name| name.as_str()) == sink
        });
        found.map_or("?".to_owned(), shown)
    };
    format!(
        "   lag  received {}   file {}   replica {}   confirmed {}   {} transactions",
        lag(Stage::Received, None),
        lag(Stage::Durable, Some("file")),
        lag(Stage::Durable, Some("replica")),
        lag(Stage::Confirmed, None),
        Count(committed),
    )
}

fn shown(rung: &StageLag) -> String {
    let bytes = rung.bytes.map_or("?".to_owned(), |bytes| Bytes(bytes).to_string());
    match rung.seconds {
        Some(seconds) if seconds > 0.0 => format!("{bytes} {}", Span::seconds(seconds)),
        _ => bytes,
    }
}

/// What waits in the slot of a dead one.
pub(super) fn dead(behind: u64, since: Duration, waiting: u64) -> String {
    format!(
        "   lag  {} in the slot, growing for {}   {} transactions wait",
        Bytes(behind),
        Span(since),
        Count(waiting)
    )
}

/// Whether everything before `lsn` has arrived for good everywhere.
pub(super) fn has_passed(status: &Status, lsn: Lsn) -> bool {
    let durable = |rung: &&StageLag| matches!(rung.stage, Stage::Durable | Stage::Confirmed);
    let passed = |rung: StageLag| rung.bytes == Some(0) || rung.lsn.is_some_and(|at| at >= lsn);
    status.lag.iter().filter(durable).cloned().all(passed)
}
