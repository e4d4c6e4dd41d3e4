//! A consumer in a process of its own: walcast as a program would use it.
//!
//! It reads one slot up to a position, with the stream or with a pipeline, and says on standard
//! output, as JSON, what it saw.

mod sinks;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use walcast::codec::EventFormat;
use walcast::event::{Batch, Event, Value};
use walcast::net::ConnectConfig;
use walcast::pipeline::Membership;
use walcast::sinks::{FileSink, PostgresSink};
use walcast::{Lsn, Pipeline, ReplicationStream, Shutdown, Source, Streaming, WireFormat};

use self::sinks::{Ending, Gauge};
use crate::workload::PUBLICATION;

/// What a pipeline may hold: the figure that peak memory is set against.
pub(crate) const MEMORY_BYTES: usize = 32 * 1024 * 1024;

/// What reads, and what becomes of the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Through {
    /// A `ReplicationStream`; changes are counted.
    Stream,
    /// A `Pipeline` with a sink that counts.
    Null,
    /// A `Pipeline` that writes JSON lines to a file.
    File,
    /// A `Pipeline` with that file and three sinks that count.
    Fan,
    /// A `Pipeline` that applies to `target`.
    Postgres,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    pub(crate) url: String,
    #[arg(long)]
    pub(crate) slot: String,
    #[arg(long)]
    pub(crate) through: Through,
    /// Where to end; without it, at a clock that says 0.
    #[arg(long)]
    pub(crate) until: Option<Lsn>,
    #[arg(long)]
    pub(crate) text: bool,
    /// Read at once, whatever the backlog.
    #[arg(long)]
    pub(crate) eager: bool,
    /// Take large transactions while they are open.
    #[arg(long)]
    pub(crate) streaming: bool,
    /// For how many seconds the sink takes nothing after its first batch.
    #[arg(long)]
    pub(crate) block: Option<u64>,
    /// The database that is applied to.
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// How long a flush is delayed, in milliseconds, where changes are applied.
    #[arg(long, default_value_t = 5)]
    pub(crate) linger_ms: u64,
    /// For state and files.
    #[arg(long)]
    pub(crate) directory: PathBuf,
}

impl Options {
    /// The process that does it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.args(["consume", "--url", &self.url, "--slot", &self.slot]);
        command.arg("--through").arg(format!("{:?}", self.through).to_lowercase());
        command.args(self.text.then_some("--text"));
        command.args(self.eager.then_some("--eager"));
        command.args(self.streaming.then_some("--streaming"));
        command.arg("--directory").arg(&self.directory);
        if let Some(seconds) = self.block {
            command.args(["--block", &seconds.to_string()]);
        }
        if let Some(target) = &self.target {
            command.args(["--target", target, "--linger-ms", &self.linger_ms.to_string()]);
        }
        if let Some(until) = self.until {
            command.args(["--until", &until.to_string()]);
        }
        command
    }
}

/// What a consumer saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) rows: u64,
    pub(crate) batches: u64,
    /// Of log output.
    pub(crate) bytes: u64,
    /// From the clock in each row to its arrival, in microseconds.
    pub(crate) micros: Vec<u64>,
}

pub(crate) fn run(options: Options) {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let seen = match options.through {
        Through::Stream => runtime.block_on(read_stream(options)),
        _ => runtime.block_on(run_pipeline(options)),
    };
    println!("{}", serde_json::to_string(&seen).unwrap());
}

fn source(options: &Options) -> Source {
    let format = if options.text { WireFormat::Text } else { WireFormat::Binary };
    let source = Source::new(&options.url, &options.slot, [PUBLICATION]).unwrap();
    let streaming = if options.streaming { Streaming::On } else { Streaming::Off };
    source.format(format).catch_up(!options.eager).streaming(streaming)
}

async fn read_stream(options: Options) -> Seen {
    let mut stream = ReplicationStream::connect(source(&options)).await.unwrap();
    let confirmer = stream.confirmer();
    let mut seen = Seen::default();
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        let last = seen.take(&batch, options.until);
        confirmer.vouch_durable(batch.end()).unwrap();
        if last {
            break;
        }
    }
    stream.finish().await;
    seen
}

async fn run_pipeline(options: Options) -> Seen {
    let (trigger, shutdown) = Shutdown::new();
    let state = options.directory.join("state");
    let mut pipeline = Pipeline::new(source(&options), state).memory(MEMORY_BYTES);
    let (mut gauge, seen) = Gauge::new(options.until, trigger.clone());
    gauge.block = options.block.map(Duration::from_secs);
    let file = FileSink::new(options.directory.join("lines.jsonl"));
    let lines = Membership { format: Some(EventFormat::Json), ..Membership::default() };
    pipeline = match options.through {
        Through::Stream | Through::Null => pipeline.sink("null", gauge).unwrap(),
        Through::File => pipeline.member("file", Ending::new(file, gauge), lines).unwrap(),
        Through::Postgres => {
            let target: ConnectConfig = options.target.as_deref().unwrap().parse().unwrap();
            let linger = Duration::from_millis(options.linger_ms);
            let mut applies = Membership::default();
            applies.settings.linger = linger;
            let sink = Ending::new(PostgresSink::new(target), gauge);
            pipeline.member("replica", sink, applies).unwrap()
        }
        Through::Fan => {
            let others = ["two", "three"];
            let pipeline = pipeline.member("file", file, lines).unwrap();
            others.iter().fold(pipeline.sink("one", gauge).unwrap(), |pipeline, name| {
                let (other, _) = Gauge::new(None, trigger.clone());
                pipeline.sink(name, other).unwrap()
            })
        }
    };
    pipeline.run(shutdown).await.unwrap();
    let seen = seen.lock().unwrap();
    seen.clone()
}

impl Seen {
    /// Takes note of `batch`; whether it is the last.
    fn take(&mut self, batch: &Batch, until: Option<Lsn>) -> bool {
        self.batches += 1;
        self.bytes += batch.bytes() as u64;
        match until {
            Some(until) => {
                let changes = batch.events().filter(|event| matches!(event, Event::Change(_)));
                self.rows += changes.count() as u64;
                batch.end() > until
            }
            None => self.read_clocks(batch),
        }
    }

    /// Notes how old each row's clock is; whether one says that this was the last.
    fn read_clocks(&mut self, batch: &Batch) -> bool {
        let now = micros_now();
        let mut stopped = false;
        for event in batch.events() {
            let Event::Change(change) = event else { continue };
            let value = change.new_row().and_then(|row| row.value_of("sent"));
            if let Some(Value::Text(text) | Value::Binary(text)) = value {
                let sent = clocks_in(text).next().expect("a row has a clock");
                stopped |= sent == 0;
                if sent > 0 {
                    self.micros.push(now.saturating_sub(sent));
                }
            }
        }
        stopped
    }
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
