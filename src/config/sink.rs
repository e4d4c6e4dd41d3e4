//! `[[sink]]`: where changes go, and how long the slot waits for it.
//!
//! Settings every sink has are read once; what only one type has lives in its [`SinkKind`]. Names
//! and targets are unique across sinks.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::connect;
use super::error::ProblemKind;
use super::format;
use super::reading::{Reading, Written};
use super::table::Table;
use super::units::ByteSize;
use crate::codec::EventFormat;
use crate::name::SinkName;
use crate::net::ConnectConfig;
use crate::pipeline::OnLag;

/// One sink.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// Its name, unique; it keys the sink's progress.
    pub name: SinkName,
    /// What it writes to.
    pub kind: SinkKind,
    /// How it writes events.
    pub format: EventFormat,
    /// Whether the slot waits for it. One that is not required skips ahead when it falls behind.
    pub required: bool,
    /// What happens when it falls behind; `None` where nothing is said about it.
    pub on_lag: Option<OnLag>,
    /// How much is gathered before a flush.
    pub batch: BatchConfig,
    /// How a failing target is tried again.
    pub retry: RetryConfig,
    /// The longest one call of the sink may take.
    pub timeout: Duration,
}

/// What a sink writes to, with the settings only that type has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SinkKind {
    /// A file of lines.
    File(FileConfig),
    /// The process's standard output.
    Stdout,
    /// The tables of another PostgreSQL.
    Postgres(Box<PostgresConfig>),
}

/// The settings of a `postgres` sink.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// How the target is reached.
    pub connect: ConnectConfig,
}

/// The settings of a `file` sink.
#[derive(Debug, Clone)]
pub struct FileConfig {
    /// The file.
    pub path: PathBuf,
    /// When a new file is started; `None` for never.
    pub rotation: Option<Rotation>,
}

/// When a `file` sink starts a new file; at least one of `bytes` and `age` is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Once the file is this large.
    pub bytes: Option<ByteSize>,
    /// Once the file is this old.
    pub age: Option<Duration>,
    /// How many rotated files stay; `None` for all.
    pub keep: Option<NonZeroU32>,
}

/// How much is gathered before a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchConfig {
    /// Flush after this many bytes.
    pub bytes: ByteSize,
    /// Delay a flush this long at most.
    pub linger: Duration,
}

/// How a failing target is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// How often to try; `None` for no limit.
    pub attempts: Option<NonZeroU32>,
}

/// One sink as read, with what the pipeline's rules ask about it even when it cannot be used.
pub(super) struct SinkRead {
    pub(super) config: Option<SinkConfig>,
    /// Its name, or where it stands.
    pub(super) label: String,
    pub(super) required: bool,
    /// Whether WAL may go before this sink has it.
    pub(super) outlives_lag: bool,
    name: Option<Written<SinkName>>,
    target_at: usize,
}

/// Read every `[[sink]]`.
pub(super) fn read_all(reading: &Reading<'_>, root: &Table<'_>) -> Vec<SinkRead> {
    let tables = root.sections("sink");
    let sinks: Vec<SinkRead> = tables.iter().map(read).collect();
    if !root.has("sink") || tables.is_empty() {
        root.report("sink", ProblemKind::NoSink);
    } else if !sinks.iter().any(|sink| sink.required) {
        tables[0].report("required", ProblemKind::NoRequiredSink);
    }
    for (index, (sink, table)) in sinks.iter().zip(&tables).enumerate() {
        for earlier in &sinks[..index] {
            if let (Some(name), Some(other)) = (&sink.name, &earlier.name)
                && name.value == other.value
            {
                let line = reading.line(other.at);
                table.report("name", ProblemKind::DuplicateSink { line });
            }
            if same_target(sink, earlier) {
                let line = reading.line(earlier.target_at);
                table.report(target_key(table), ProblemKind::SharedTarget { line });
            }
        }
    }
    sinks
}

fn same_target(one: &SinkRead, other: &SinkRead) -> bool {
    match (&one.config, &other.config) {
        (Some(one), Some(other)) => match (&one.kind, &other.kind) {
            (SinkKind::File(one), SinkKind::File(other)) => one.path == other.path,
            (SinkKind::Stdout, SinkKind::Stdout) => true,
            (SinkKind::Postgres(one), SinkKind::Postgres(other)) => {
                one.connect.display_target() == other.connect.display_target()
            }
            _ => false,
        },
        _ => false,
    }
}

fn read(table: &Table<'_>) -> SinkRead {
    for required in ["name", "type"] {
        if !table.has(required) {
            table.report_missing(required);
        }
    }
    let name = table.has("name").then(|| table.name("name", SinkName::new)).flatten();
    let kind_word = if table.has("type") { table.word("type") } else { None };
    if !table.has("type") || matches!(kind_word, Some("file" | "stdout" | "postgres")) {
        table.refuse_unknown_keys();
    }
    let kind = read_kind(table, kind_word);
    let format = format::read(table);
    let _only_one_choice_yet = table.word("on_reject");
    let required = table.flag("required");
    let on_lag = table.word("on_lag");
    if required == Some(false) && on_lag == Some("block") {
        table.report("on_lag", ProblemKind::BlockNotRequired);
    }
    let lag_limit = table.duration_above_zero("lag_limit");
    let lag_policy = match on_lag {
        Some("block") => Some(Some(OnLag::Block)),
        Some("detach") => lag_limit.map(|after| Some(OnLag::Detach { after })),
        _ => Some(None),
    };
    let batch = read_batch(&table.section("batch"));
    let retry = read_retry(&table.section("retry"));
    let timeout = table.duration_above_zero("timeout");
    let config = || {
        Some(SinkConfig {
            name: name.as_ref()?.value.clone(),
            kind: kind?,
            format: format?,
            required: required?,
            on_lag: lag_policy?,
            batch: batch?,
            retry: retry?,
            timeout: timeout?,
        })
    };
    SinkRead {
        config: config(),
        label: name.as_ref().map_or("a sink", |name| name.value.as_str()).to_owned(),
        required: required.unwrap_or(true),
        outlives_lag: matches!(on_lag, Some("spool" | "detach")),
        target_at: table.place_of(target_key(table)),
        name,
    }
}

/// The key that says what a sink writes to.
fn target_key(table: &Table<'_>) -> &'static str {
    ["path", "url", "url_file"].into_iter().find(|key| table.has(key)).unwrap_or("type")
}

/// The keys that only one type has.
const OWN_KEYS: &[(&str, &[&str])] = &[
    ("file", &["path", "rotate"]),
    ("postgres", &["url", "url_file", "password", "password_file", "tls"]),
];

fn refuse_keys_of_others(table: &Table<'_>, word: &str) {
    for (of, keys) in OWN_KEYS.iter().filter(|(of, _)| *of != word) {
        for key in keys.iter().filter(|key| table.has(key)) {
            table.report(key, ProblemKind::OtherType { of });
        }
    }
    let unused = ["format", "cloudevents", "debezium"];
    for key in unused.into_iter().filter(|key| word == "postgres" && table.has(key)) {
        table.report(key, ProblemKind::NoUse { of: "postgres" });
    }
}

fn read_kind(table: &Table<'_>, word: Option<&str>) -> Option<SinkKind> {
    let rotation = read_rotation(&table.section("rotate"));
    let word = word?;
    if matches!(word, "file" | "stdout" | "postgres") {
        refuse_keys_of_others(table, word);
    }
    match word {
        "file" => {
            if !table.has("path") {
                table.report_missing("path");
            }
            let path = table.path("path");
            let rotation = if table.has("rotate") { Some(rotation?) } else { None };
            Some(SinkKind::File(FileConfig { path: path?, rotation }))
        }
        "stdout" => Some(SinkKind::Stdout),
        "postgres" => {
            let connect = connect::read(table)?;
            Some(SinkKind::Postgres(Box::new(PostgresConfig { connect })))
        }
        _ => None,
    }
}

fn read_rotation(table: &Table<'_>) -> Option<Rotation> {
    if !table.is_written() {
        return None;
    }
    if !table.has("bytes") && !table.has("age") {
        table.report_missing("bytes");
    }
    let keep = table.count("keep");
    if let Some(keep) = &keep {
        table.more_than_zero("keep", keep.value, 0);
    }
    Some(Rotation {
        bytes: table.has("bytes").then(|| table.bytes("bytes")).flatten(),
        age: table.duration_above_zero_or_absent("age"),
        keep: keep.and_then(|keep| u32::try_from(keep.value).ok()).and_then(NonZeroU32::new),
    })
}

fn read_batch(table: &Table<'_>) -> Option<BatchConfig> {
    let bytes = table.bytes("bytes");
    let linger = table.duration("linger");
    Some(BatchConfig { bytes: bytes?, linger: linger? })
}

fn read_retry(table: &Table<'_>) -> Option<RetryConfig> {
    let first = table.duration_above_zero("first");
    let max = table.duration("max");
    let attempts = table.count("attempts");
    let (first, max) = (first?, max?);
    if max < first {
        table.report("max", ProblemKind::RetryOrder);
    }
    let attempts = u32::try_from(attempts?.value).ok().and_then(NonZeroU32::new);
    Some(RetryConfig { first, max, attempts })
}
