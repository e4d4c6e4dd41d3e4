//! A pipeline's status for eyes: server and slot, the lag of every stage, the sinks, and a last
//! line that says whether all is well.

use std::fmt::Write as _;

use walcast::Lsn;
use walcast::monitor::{SinkStatus, Stage, StageLag, Status};

use crate::grid::grid;
use crate::human::{Bytes, Count, Span};
use crate::paint::{Ink, Paint, clean};

/// The text of a status, with what has to be said beside it.
pub(super) fn draw(status: &Status, note: Option<&str>, paint: Paint) -> String {
    let [first, rest @ ..] = head(status);
    let mut text = grid(first.each_ref().map(String::as_str), &rest);
    text.push('\n');
    let rows: Vec<_> = status.lag.iter().map(rung).collect();
    text.push_str(&grid(["STAGE", "SINK", "UP TO", "BEHIND", "LAG"], &rows));
    text.push('\n');
    let rows: Vec<_> = status.replicas.iter().map(sink).collect();
    let headings = ["SINK", "STATE", "SLOT WAITS", "EVENTS", "RETRIES", "SKIPPED", "LAST FLUSH"];
    text.push_str(&grid(headings, &rows));
    text.push('\n');
    if let Some(note) = note {
        line(&mut text, paint, Ink::Yellow, note);
    }
    let troubles = status.troubles();
    if troubles.is_empty() {
        line(&mut text, paint, Ink::Green, verdict(status));
    }
    for trouble in troubles {
        line(&mut text, paint, Ink::Red, &trouble);
    }
    text
}

fn line(text: &mut String, paint: Paint, ink: Ink, said: &str) {
    // Writing to a text cannot fail; what sinks and servers say may have several lines.
    for part in said.lines() {
        let _ = writeln!(text, "{}", paint.ink(ink, clean(part)));
    }
}

/// What to say of a pipeline with nothing wrong.
fn verdict(status: &Status) -> &'static str {
    if status.lag.iter().all(|rung| rung.bytes == Some(0)) {
        "healthy, caught up"
    } else {
        "healthy"
    }
}

fn head(status: &Status) -> [[String; 5]; 3] {
    let (primary, slot, memory) = (&status.primary, &status.slot, &status.memory);
    let answers = match (primary.healthy, primary.in_recovery) {
        (true, Some(true)) => "answers, a standby",
        (true, _) => "answers",
        (false, _) => "does not answer",
    };
    let streaming = match slot.active {
        Some(true) => "streaming",
        Some(false) => "nobody streams",
        None => "unknown",
    };
    let kept = slot.retained_bytes.and_then(|bytes| u64::try_from(bytes).ok());
    [
        [
            "SERVER".to_owned(),
            answers.to_owned(),
            format!("log ends at {}", position(primary.lsn)),
            format!("reconnects {}", Count(status.reconnects)),
            format!("read {}", Bytes(status.bytes)),
        ],
        [
            "SLOT".to_owned(),
            format!("{}, {streaming}", slot.name),
            format!("confirmed {}", position(slot.confirmed_lsn)),
            format!("keeps {}", kept.map_or("-".to_owned(), |kept| Bytes(kept).to_string())),
            format!("WAL {}", slot.wal_status.as_deref().map_or("unknown".into(), clean)),
        ],
        [
            "MEMORY".to_owned(),
            format!("{} in flight", Bytes(memory.inflight_bytes as u64)),
            format!("of {}", Bytes(memory.limit_bytes as u64)),
            format!("peak {}", Bytes(memory.inflight_bytes_peak as u64)),
            format!("{} on disk", Bytes(status.spill_bytes)),
        ],
    ]
}

fn rung(rung: &StageLag) -> [String; 5] {
    let stage = match rung.stage {
        Stage::Received => "received",
        Stage::Decoded => "decoded",
        Stage::Delivered => "delivered",
        Stage::Durable => "durable",
        Stage::Confirmed => "confirmed",
    };
    [
        stage.to_owned(),
        rung.sink.as_ref().map_or(String::new(), ToString::to_string),
        position(rung.lsn),
        rung.bytes.map_or("-".to_owned(), |bytes| Bytes(bytes).to_string()),
        rung.seconds.map_or("-".to_owned(), |seconds| Span::seconds(seconds).to_string()),
    ]
}

fn sink(sink: &SinkStatus) -> [String; 7] {
    [
        sink.name.to_string(),
        sink.state.replace('_', " "),
        if sink.required { "yes" } else { "no" }.to_owned(),
        Count(sink.events).to_string(),
        Count(sink.retries).to_string(),
        Bytes(sink.skipped_bytes).to_string(),
        Span::seconds(sink.flush_seconds).to_string(),
    ]
}

fn position(lsn: Option<Lsn>) -> String {
    lsn.map_or("-".to_owned(), |lsn| lsn.to_string())
}
