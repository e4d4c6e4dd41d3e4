//! The demo's pipeline, in a process of its own so that it can really be killed: one slot into a
//! terminal, a file and a second PostgreSQL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use walcast::codec::EventFormat;
use walcast::net::ConnectConfig;
use walcast::pipeline::Membership;
use walcast::shutdown::Trigger;
use walcast::sinks::{FileSink, PostgresSink};
use walcast::{Error, Pipeline, Secret, Shutdown, Source};

use super::terminal::TerminalSink;
use crate::exit::Exit;
use crate::paint::Paint;
use crate::runtime::block_on;

/// The slot, and the publication.
pub(super) const SLOT: &str = "walcast_demo";
pub(super) const PUBLICATION: &str = "shop";
/// What the one who started us says when it is time to drain. The end of our input is the other
/// end.
pub(super) const DRAIN: &str = "drain\n";

/// The pipeline of `walcast demo`
///
/// Started by the demo itself; ends with its standard input.
///
/// Example:
///   walcast demo
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The primary
    #[arg(long, value_parser = crate::target::parse_url)]
    source: Secret,
    /// The second PostgreSQL
    #[arg(long, value_parser = crate::target::parse_url)]
    target: Secret,
    /// Where state and file lie
    #[arg(long)]
    directory: PathBuf,
    /// Show colours
    #[arg(long)]
    colours: bool,
}

/// The state directory below the demo's.
pub(super) fn state(directory: &Path) -> PathBuf {
    directory.join("state")
}

/// The JSON lines file below the demo's directory.
pub(super) fn lines(directory: &Path) -> PathBuf {
    directory.join("changes.jsonl")
}

pub(crate) fn run(args: Args) -> crate::Outcome {
    block_on(async move {
        let (trigger, shutdown) = Shutdown::new();
        let pipeline = pipeline(&args)?;
        let listening = tokio::spawn(listen(trigger));
        let ended = pipeline.run(shutdown).await;
        listening.abort();
        ended.map(|()| Exit::Done)
    })
}

fn pipeline(args: &Args) -> Result<Pipeline, Error> {
    let source = Source::new(args.source.expose(), SLOT, [PUBLICATION])?
        .create_slot(true)
        .status_interval(Duration::from_secs(1));
    let target: ConnectConfig = args.target.expose().parse()?;
    let terminal = TerminalSink::new(Paint::when(args.colours));
    // A terminal never holds the slot.
    let spectator = Membership { required: false, ..Membership::default() };
    let json = Membership { format: Some(EventFormat::Json), ..Membership::default() };
    Pipeline::new(source, state(&args.directory))
        .member("terminal", terminal, spectator)?
        .member("file", FileSink::new(lines(&args.directory)), json)?
        .sink("replica", PostgresSink::new(target))
}

/// Drain when told to; let go when whoever started us is gone.
async fn listen(trigger: Trigger) {
    let mut orders = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    while let Ok(1..) = orders.read_line(&mut line).await {
        if line == DRAIN {
            trigger.drain();
        }
        line.clear();
    }
    trigger.abort();
}
