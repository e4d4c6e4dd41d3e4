//! A consumer in a process of its own: walcast as a program would use it.
//!
//! It reads one slot up to a position and says on standard output, as JSON, what it saw.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::event::{Batch, Event, Value};
use walcast::{Lsn, ReplicationStream, Source, WireFormat};

use crate::workload::PUBLICATION;

/// What is done with the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Into {
    /// Counted.
    Null,
    /// Written to a file as JSON lines, by the loop that reads the stream.
    Lines,
    /// Their clocks read.
    Clock,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    pub(crate) url: String,
    #[arg(long)]
    pub(crate) slot: String,
    #[arg(long)]
    pub(crate) into: Into,
    /// Where to end; without it, at a clock that says 0.
    #[arg(long)]
    pub(crate) until: Option<Lsn>,
    #[arg(long)]
    pub(crate) text: bool,
    /// Read at once, whatever the backlog.
    #[arg(long)]
    pub(crate) eager: bool,
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
}

impl Options {
    /// The process that does it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.args(["consume", "--url", &self.url, "--slot", &self.slot]);
        command.arg("--into").arg(format!("{:?}", self.into).to_lowercase());
        command.args(self.text.then_some("--text"));
        command.args(self.eager.then_some("--eager"));
        if let Some(until) = self.until {
            command.args(["--until", &until.to_string()]);
        }
        if let Some(file) = &self.file {
            command.arg("--file").arg(file);
        }
        command
    }
}

/// What a consumer saw.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) rows: u64,
    pub(crate) batches: u64,
    /// As received.
    pub(crate) bytes: u64,
    /// From the clock in each row to its arrival, in microseconds.
    pub(crate) micros: Vec<u64>,
}

pub(crate) fn run(options: Options) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let seen = runtime.block_on(consume(options));
    println!("{}", serde_json::to_string(&seen).unwrap());
}

async fn consume(options: Options) -> Seen {
    let format = if options.text { WireFormat::Text } else { WireFormat::Binary };
    let source = Source::new(&options.url, &options.slot, [PUBLICATION]).unwrap();
    let source = source.format(format).catch_up(!options.eager);
    let mut stream = ReplicationStream::connect(source).await.unwrap();
    let confirmer = stream.confirmer();
    let mut lines = options.file.as_deref().map(Lines::create);
    let mut seen = Seen::default();
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        let clock_stopped = match options.into {
            Into::Clock => read_clocks(&batch, &mut seen),
            Into::Null | Into::Lines => {
                let changes = batch.events().filter(|event| matches!(event, Event::Change(_)));
                seen.rows += changes.count() as u64;
                false
            }
        };
        seen.batches += 1;
        if let Some(lines) = &mut lines {
            lines.write(&batch);
        }
        confirmer.vouch_durable(batch.end()).unwrap();
        if clock_stopped || options.until.is_some_and(|until| batch.end() > until) {
            break;
        }
    }
    if let Some(lines) = lines {
        lines.file.sync_all().unwrap();
    }
    seen.bytes = confirmer.bytes();
    stream.finish().await;
    seen
}

/// Notes how old each row's clock is; whether one says that this was the last.
fn read_clocks(batch: &Batch, seen: &mut Seen) -> bool {
    let now = micros_now();
    let mut stopped = false;
    for event in batch.events() {
        let Event::Change(change) = event else { continue };
        let value = change.new_row().and_then(|row| row.value_of("sent"));
        if let Some(Value::Text(text) | Value::Binary(text)) = value {
            let sent = clocks_in(text).next().expect("a row has a clock");
            stopped |= sent == 0;
            if sent > 0 {
                seen.micros.push(now.saturating_sub(sent));
            }
        }
    }
    stopped
}

/// What a clock is written as in a row, so that it can be found in raw bytes too.
pub(crate) fn clock_text(micros: u64) -> String {
    format!("clock:{micros:016}")
}

/// The clocks in `bytes`, whole ones only.
pub(crate) fn clocks_in(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let found = memchr::memmem::find_iter(bytes, b"clock:");
    found.filter_map(|at| {
        let digits = bytes.get(at + 6..at + 22)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    })
}

pub(crate) fn micros_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// A file of JSON lines.
struct Lines {
    file: File,
    encoder: Encoder,
    buffer: Vec<u8>,
}

impl Lines {
    fn create(path: &std::path::Path) -> Lines {
        let encoder = Encoder::new(EventFormat::Json, Arc::new(TypeRegistry::builtin()));
        Lines { file: File::create(path).unwrap(), encoder, buffer: Vec::new() }
    }

    fn write(&mut self, batch: &Batch) {
        self.buffer.clear();
        self.encoder.encode(batch, &mut self.buffer).unwrap();
        self.file.write_all(&self.buffer).unwrap();
    }
}
