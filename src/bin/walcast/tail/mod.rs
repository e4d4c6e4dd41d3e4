//! `walcast tail`: a server's changes on stdout.
//!
//! With a slot of its own choosing the program vouches for what standard output has taken, and
//! for nothing else: a reader that closes the pipe, a full disk behind it or a signal leave the
//! slot where the last written transaction ended.

mod advice;
mod choice;
mod format;
mod lines;
mod pretty;

use std::future::poll_fn;
use std::io::IsTerminal;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream as _;
use walcast::codec::EventFormat;
use walcast::event::Batch;
use walcast::net::{ConnectConfig, Walsender};
use walcast::publication::PublicationTables;
use walcast::stream::StreamError;
use walcast::{Error, Lsn, PublicationName, ReplicationStream, Secret, SlotName, Source};

use self::choice::Chosen;
pub(crate) use self::choice::{Choice, Wanted, to_publish};
pub(crate) use self::format::{Format, FormatArgs};
use self::lines::Lines;
use self::pretty::Pretty;
use crate::exit::Exit;
use crate::paint::Paint;
use crate::runtime::{Stop, block_on, write_out};
use crate::target::temporary_slot;

/// How long a write in progress may take once the end is wanted.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// How long to wait before another attempt to start anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Stream changes to standard output
///
/// Without --slot a temporary slot is used: it begins now and ends with the connection. With --slot
/// the slot follows what was written, transaction by transaction, and the next call goes on there.
///
/// Example:
///   walcast tail postgres://walcast@localhost/shop --create --tables 'public.orders,shop.*'
///   walcast tail postgres://walcast@localhost/shop --publication shop --format pretty
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The server: a PostgreSQL URL or key=value string
    #[arg(env = "WALCAST_URL", hide_env_values = true, value_parser = crate::target::parse_url)]
    url: Secret,
    /// The slot to read, made when missing with --create; a temporary one when absent
    #[arg(long)]
    slot: Option<SlotName>,
    /// The publication to read; several separated by commas
    #[arg(long, value_delimiter = ',', default_value = "walcast")]
    publication: Vec<PublicationName>,
    /// Make what is missing: the publication, with --tables, and the slot; both stay
    #[arg(long)]
    create: bool,
    /// Only these tables: schema.table, schema.* or * for all, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "TABLE")]
    tables: Vec<Wanted>,
    /// Print the logical messages with these prefixes too, separated by commas; * for all
    #[arg(long, value_delimiter = ',', value_name = "PREFIX")]
    messages: Vec<String>,
    #[command(flatten)]
    format: FormatArgs,
    /// What to do when the connection of a temporary slot breaks
    #[arg(long, value_enum, default_value_t, conflicts_with = "slot")]
    on_disconnect: OnDisconnect,
    /// Stop once every transaction that committed before this LSN was printed
    #[arg(long, value_name = "LSN", conflicts_with = "until_now")]
    until_lsn: Option<Lsn>,
    /// Stop at what the server has written when the command starts
    #[arg(long)]
    until_now: bool,
    /// Stop after this many events; a transaction that is cut off comes again with the same --slot
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU64>,
}

/// What to do when the connection of a temporary slot breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum OnDisconnect {
    /// End with exit code 5, naming the last LSN
    #[default]
    Stop,
    /// Print a gap line and start anew
    Restart,
}

pub(crate) fn run(args: Args) -> crate::Outcome {
    block_on(async move {
        let mut stop = Stop::listen()?;
        match stop.before(Tail::open(&args)).await {
            Some(opened) => opened?.run(&mut stop).await,
            None => Ok(Exit::Done),
        }
    })
}

/// A stream on its way to standard output.
struct Tail<'a> {
    args: &'a Args,
    connect: ConnectConfig,
    choice: Choice,
    printer: Printer,
    stream: ReplicationStream,
}

impl<'a> Tail<'a> {
    async fn open(args: &'a Args) -> Result<Self, Error> {
        let connect: ConnectConfig = args.url.expose().parse()?;
        let until = if args.until_now {
            Some(Walsender::connect(&connect).await?.identify_system().await?.flushed)
        } else {
            args.until_lsn
        };
        let choice = Choice::new(&args.tables, until, args.limit.map(NonZeroU64::get));
        let stream = ReplicationStream::connect(source(args, &connect)).await;
        let stream = stream.map_err(|error| advice::with_command(error, args))?;
        let start = stream.handed_out();
        if choice.ends_at(start) {
            tracing::warn!(%start, "nothing lies between where the slot begins and the end asked for");
        }
        let printer = Printer::new(args.format.format(connect.database())?, choice.is_filter());
        Ok(Self { args, connect, choice, printer, stream })
    }

    async fn run(mut self, stop: &mut Stop) -> crate::Outcome {
        loop {
            let followed = self.follow(stop).await;
            let Err(error) = followed else {
                self.stream.finish().await;
                return Ok(Exit::Done);
            };
            let last = match error.downcast_ref() {
                Some(StreamError::TemporaryGone { last, .. }) if self.restarts() => *last,
                _ => return Err(error),
            };
            tracing::warn!(%error, "starting anew");
            match stop.before(start_anew(self.args, &self.connect)).await {
                Some(stream) => self.stream = stream?,
                None => return Ok(Exit::Done),
            }
            let mut text = Vec::new();
            self.printer.gap(&mut text, last, self.stream.handed_out());
            write_out(text).await?;
        }
    }

    /// Print what comes until the end is reached or wanted.
    async fn follow(&mut self, stop: &mut Stop) -> Result<(), Error> {
        let confirmer = self.stream.confirmer();
        let mut text = Vec::new();
        let mut ends = self.choice.ends_at(self.stream.handed_out());
        while !ends {
            let Some(next) = stop.before(next(&mut self.stream)).await else { break };
            let batch = match next {
                Some(Ok(batch)) => batch,
                Some(Err(error)) => {
                    self.printer.release(&mut text);
                    write_out(text).await?;
                    return Err(error);
                }
                None => break,
            };
            let chosen = self.choice.of(&batch);
            self.printer.print(&batch, &chosen, &mut text)?;
            ends = chosen.ends;
            if !text.is_empty() {
                let mut write = std::pin::pin!(write_out(text));
                text = match stop.before(&mut write).await {
                    Some(written) => written?,
                    None => {
                        ends = true;
                        match tokio::time::timeout(LAST_WRITE, write).await {
                            Ok(written) => written?,
                            Err(_) => return Ok(()),
                        }
                    }
                };
            }
            if let Some(end) = chosen.complete {
                confirmer.vouch_durable(end)?;
            }
        }
        self.printer.release(&mut text);
        write_out(text).await.map(drop)
    }

    fn restarts(&self) -> bool {
        self.args.on_disconnect == OnDisconnect::Restart
    }
}

fn source(args: &Args, connect: &ConnectConfig) -> Source {
    let tables = if args.create { to_publish(&args.tables) } else { PublicationTables::Never };
    let with = |slot| Source::with(connect.clone(), slot, args.publication.clone());
    match &args.slot {
        Some(slot) => with(slot.clone()).create_slot(args.create),
        None => with(temporary_slot("tail")).temporary_slot(true),
    }
    .create_publication(tables)
    .messages(args.messages.clone())
}

/// Connect with another temporary slot, for as long as that may work.
async fn start_anew(args: &Args, connect: &ConnectConfig) -> Result<ReplicationStream, Error> {
    loop {
        match ReplicationStream::connect(source(args, connect)).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "not yet; trying again");
                tokio::time::sleep(RESTART_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn next(stream: &mut ReplicationStream) -> Option<Result<Batch, Error>> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// How batches become text.
pub(crate) enum Printer {
    Lines(Box<Lines>),
    Pretty(Pretty),
}

impl Printer {
    pub(crate) fn new(format: Option<Format>, filters: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let usual = if terminal { Format::Pretty } else { Format::Lines(EventFormat::default()) };
        match format.unwrap_or(usual) {
            Format::Lines(format) => Self::Lines(Box::new(Lines::new(format, filters))),
            Format::Pretty => Self::Pretty(Pretty::new(Paint::stdout())),
        }
    }

    pub(crate) fn print(
        &mut self,
        batch: &Batch,
        chosen: &Chosen,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match self {
            Self::Lines(lines) => lines.print(batch, chosen, out)?,
            Self::Pretty(pretty) => {
                let mut text = String::new();
                pretty.print(batch, chosen, &mut text);
                out.extend_from_slice(text.as_bytes());
            }
        }
        Ok(())
    }

    /// Append what was held back.
    pub(crate) fn release(&mut self, out: &mut Vec<u8>) {
        if let Self::Lines(lines) = self {
            lines.release(out);
        }
    }

    /// Append that what lies between the two positions was missed.
    fn gap(&mut self, out: &mut Vec<u8>, last: Lsn, start: Lsn) {
        let text = match self {
            Self::Lines(_) => {
                let gap = serde_json::json!({ "op": "gap", "after": last, "resumed_at": start });
                format!("{gap}\n")
            }
            Self::Pretty(pretty) => pretty.gap(last, start),
        };
        out.extend_from_slice(text.as_bytes());
    }
}
