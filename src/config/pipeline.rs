//! `[pipeline]`: progress, limits and what lets WAL go.
//!
//! Rules that span the pipeline and its sinks (a quorum that can be reached, a release that loses
//! nothing) are checked here, where both sides are known.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::error::ProblemKind;
use super::sink::SinkRead;
use super::table::Table;
use super::units::ByteSize;
use crate::checkpoint::Release;

/// Progress, limits and what lets WAL go.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// The directory of checkpoint, lock and control socket.
    pub state: PathBuf,
    /// How many required sinks must be durable before `apply` moves; `None` for all of them.
    pub quorum: Option<NonZeroUsize>,
    /// Whose durability lets the slot release WAL.
    pub release: Release,
    /// The most bytes in flight.
    pub memory: ByteSize,
    /// The most disk for large open transactions.
    pub spill: ByteSize,
    /// The longest time between two status updates.
    pub status_interval: Duration,
    /// How long sinks may take to prove what they have once the end is asked for.
    pub drain_timeout: Duration,
}

/// Read `[pipeline]` and hold it against the sinks.
pub(super) fn read(table: &Table<'_>, sinks: &[SinkRead]) -> Option<PipelineConfig> {
    let state = table.path("state");
    let release = read_release(table, sinks);
    check_checkpoint(table);
    let memory = table.bytes("memory");
    let spill = table.bytes("spill");
    let status_interval = table.duration_above_zero("status_interval");
    let drain_timeout = table.duration_above_zero("drain_timeout");
    let quorum = read_quorum(table, sinks);
    Some(PipelineConfig {
        state: state?,
        quorum,
        release: release?,
        memory: memory?,
        spill: spill?,
        status_interval: status_interval?,
        drain_timeout: drain_timeout?,
    })
}

fn read_quorum(table: &Table<'_>, sinks: &[SinkRead]) -> Option<NonZeroUsize> {
    let quorum = table.count("quorum")?.value;
    table.more_than_zero("quorum", quorum, 0)?;
    let required = sinks.iter().filter(|sink| sink.required).count();
    if quorum > required as u64 {
        table.report("quorum", ProblemKind::QuorumUnreachable { quorum, required });
    }
    usize::try_from(quorum).ok().and_then(NonZeroUsize::new)
}

fn read_release(table: &Table<'_>, sinks: &[SinkRead]) -> Option<Release> {
    if table.word("release")? != "quorum" {
        return Some(Release::All);
    }
    let losing = sinks.iter().filter(|sink| sink.required && !sink.outlives_lag);
    let sinks: Vec<String> = losing.map(|sink| sink.label.clone()).collect();
    if !sinks.is_empty() {
        table.report("release", ProblemKind::ReleaseNeedsSpool { sinks });
    }
    Some(Release::Quorum)
}

/// `file`, or a URL whose text may hold a password.
fn check_checkpoint(table: &Table<'_>) {
    let Some(text) = table.text("checkpoint") else { return };
    if text.value == "file" {
        return;
    }
    let url = text.value.contains("://") || text.value.contains('=');
    let kind = if url {
        ProblemKind::WordNotYet { word: "postgres://…", available: vec!["file"] }
    } else {
        let found = "the value".to_owned();
        ProblemKind::UnknownWord { found, allowed: vec!["file", "postgres://…"], near: None }
    };
    table.report("checkpoint", kind);
}
