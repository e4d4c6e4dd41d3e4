//! `walcast replay`: a recording on stdout, or into sinks, with no server.

use std::io::IsTerminal as _;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use walcast::config::Config;
use walcast::recording::{Progress, Replay};
use walcast::{Budget, Error, ErrorKind, Lsn, Shutdown};

use crate::exit::Exit;
use crate::runtime::{Stop, block_on, write_out};
use crate::tail::{Choice, FormatArgs, Printer, Wanted};

/// Bytes in flight on their way to standard output.
const BUDGET_BYTES: usize = 64 * 1024 * 1024;

/// Print a recording, or feed it to sinks
///
/// Prints what `walcast tail` would have printed of the same changes, byte for byte. With --config
/// the sinks of that file take them instead, each from where it says that it stands; the file's
/// source and state directory are not touched.
///
/// Example:
///   walcast replay ./recording --format json
///   walcast replay ./recording --config walcast.toml
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The directory of the recording
    #[arg(value_name = "DIR")]
    recording: PathBuf,
    /// Feed the sinks of this config file
    #[arg(long, conflicts_with_all = [
        "tables", "format", "debezium", "cloudevents_source", "until_lsn", "limit",
    ])]
    config: Option<PathBuf>,
    /// Only these tables: schema.table, schema.* or * for all, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "TABLE")]
    tables: Vec<Wanted>,
    #[command(flatten)]
    format: FormatArgs,
    /// Stop once every transaction that committed before this LSN was printed
    #[arg(long, value_name = "LSN")]
    until_lsn: Option<Lsn>,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU64>,
}

pub(crate) fn run(args: Args) -> crate::Outcome {
    block_on(async move {
        match &args.config {
            Some(config) => feed(&args.recording, config).await,
            None => print(&args).await,
        }
    })
}

/// Print what was chosen.
async fn print(args: &Args) -> crate::Outcome {
    let mut stop = Stop::listen()?;
    let mut replay = Replay::open(&args.recording, Budget::new(BUDGET_BYTES)).await?;
    let bar = (!std::io::stdout().is_terminal()).then(|| Bar::show(replay.progress()));
    let limit = args.limit.map(NonZeroU64::get);
    let mut choice = Choice::new(&args.tables, args.until_lsn, limit);
    let mut printer = Printer::new(args.format.format(replay.database())?, choice.is_filter());
    let mut text = Vec::new();
    let mut ended = Ok(());
    let mut ends = choice.ends_at(replay.start());
    while !ends {
        let batch = match stop.before(replay.next()).await {
            Some(Ok(Some(batch))) => batch,
            Some(Err(error)) => {
                ended = Err(error);
                break;
            }
            Some(Ok(None)) | None => break,
        };
        let chosen = choice.of(&batch);
        printer.print(&batch, &chosen, &mut text)?;
        ends = chosen.ends;
        let Some(written) = stop.before(write_out(text)).await else { return Ok(Exit::Done) };
        text = written?;
    }
    printer.release(&mut text);
    write_out(text).await?;
    drop(bar);
    if let Some(torn) = replay.torn() {
        let (file, at, bytes) = (torn.path.display(), torn.at, torn.bytes);
        tracing::warn!(%file, at, bytes, "the recording ends in a write that was cut off");
    }
    ended.map(|()| Exit::Done)
}

/// Feed the sinks of the config file.
async fn feed(recording: &Path, config: &Path) -> crate::Outcome {
    let shutdown =
        Shutdown::on_signals().map_err(|error| Error::permanent(ErrorKind::Io, error))?;
    let config = Config::load(config)?;
    let memory = usize::try_from(config.pipeline.memory.bytes()).unwrap_or(usize::MAX);
    let replay = Replay::open(recording, Budget::new(memory)).await?;
    let bar = Bar::show(replay.progress());
    let fed = config.build()?.replay(replay, shutdown).await;
    drop(bar);
    fed.map(|()| Exit::Done)
}

/// How far it is, on a terminal.
struct Bar {
    bar: ProgressBar,
    follows: JoinHandle<()>,
}

impl Bar {
    fn show(mut progress: watch::Receiver<Progress>) -> Self {
        let total = progress.borrow().total_bytes;
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new(total),
            false => ProgressBar::hidden(),
        };
        let template = "{bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let shown = bar.clone();
        let follows = tokio::spawn(async move {
            while progress.changed().await.is_ok() {
                shown.set_position(progress.borrow_and_update().read_bytes);
            }
        });
        Self { bar, follows }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.follows.abort();
        self.bar.finish_and_clear();
    }
}
