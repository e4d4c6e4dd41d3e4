//! `walcast record`: what a slot sends, into a directory.

use std::num::NonZeroU64;
use std::path::PathBuf;

use walcast::net::{ConnectConfig, Walsender};
use walcast::publication::PublicationTables;
use walcast::recording::Recorder;
use walcast::{Error, Lsn, PublicationName, Secret, SlotName, Source};

use crate::exit::Exit;
use crate::human::Bytes;
use crate::runtime::{Stop, block_on, write_out};
use crate::tail::{Wanted, to_publish};
use crate::target::temporary_slot;

/// Record the raw stream of a slot
///
/// With --slot the slot follows what is synced in the directory, and the next call goes on there,
/// however this one ended. Without it a temporary slot is used: it begins now and ends with the
/// connection. `walcast replay` reads it, with no server.
///
/// Example:
///   walcast record postgres://walcast@localhost/shop --slot shop --create --out ./recording
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The server: a PostgreSQL URL or key=value string
    #[arg(env = "WALCAST_URL", hide_env_values = true, value_parser = crate::target::parse_url)]
    url: Secret,
    /// The directory, made when missing; a recording that is there goes on
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The slot to read, made when missing with --create; a temporary one when absent
    #[arg(long)]
    slot: Option<SlotName>,
    /// The publication to read; several separated by commas
    #[arg(long, value_delimiter = ',', default_value = "walcast")]
    publication: Vec<PublicationName>,
    /// Make what is missing: the publication, with --tables, and the slot; both stay
    #[arg(long)]
    create: bool,
    /// What the publication that --create makes has: schema.table, schema.* or * for all tables,
    /// separated by commas
    #[arg(long, value_delimiter = ',', value_name = "TABLE", requires = "create")]
    tables: Vec<Wanted>,
    /// Record the logical messages with these prefixes too, separated by commas; * for all
    #[arg(long, value_delimiter = ',', value_name = "PREFIX")]
    messages: Vec<String>,
    /// Have transactions sent when they are prepared; the slot stays so. They wait in the directory
    /// until they commit
    #[arg(long)]
    two_phase: bool,
    /// Stop once every transaction that committed before this LSN is recorded
    #[arg(long, value_name = "LSN", conflicts_with = "until_now")]
    until_lsn: Option<Lsn>,
    /// Stop at what the server has written when the command starts
    #[arg(long)]
    until_now: bool,
    /// Stop after this many events, with the transaction of the last one; a few more may come
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU64>,
}

pub(crate) fn run(args: Args) -> crate::Outcome {
    block_on(async move {
        let mut stop = Stop::listen()?;
        let Some(opened) = stop.before(open(&args)).await else { return Ok(Exit::Done) };
        let (mut recorder, until) = opened?;
        if let Some(limit) = args.limit {
            recorder = recorder.limit(limit.get());
        }
        let directory = args.out.display();
        if recorder.torn_bytes() > 0 {
            let bytes = Bytes(recorder.torn_bytes());
            tracing::warn!(%directory, %bytes, "the last write was cut off, and is read again");
        }
        tracing::info!(%directory, from = %recorder.begins_at(), "recording");
        let recorded = recorder.run(until, stop.wanted()).await?;
        let text = format!("recorded up to {} in {directory}\n", recorded.end);
        write_out(text.into_bytes()).await?;
        Ok(Exit::Done)
    })
}

async fn open(args: &Args) -> Result<(Recorder, Option<Lsn>), Error> {
    let connect: ConnectConfig = args.url.expose().parse()?;
    let until = if args.until_now {
        Some(Walsender::connect(&connect).await?.identify_system().await?.flushed)
    } else {
        args.until_lsn
    };
    let with = |slot| Source::with(connect, slot, args.publication.clone());
    let source = match &args.slot {
        Some(slot) => with(slot.clone()).create_slot(args.create),
        None => with(temporary_slot("record")).temporary_slot(true),
    };
    let tables = if args.create { to_publish(&args.tables) } else { PublicationTables::Never };
    let source =
        source.create_publication(tables).messages(args.messages.clone()).two_phase(args.two_phase);
    Ok((Recorder::start(source, &args.out).await?, until))
}
