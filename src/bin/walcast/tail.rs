//! `walcast tail`: a server's changes on stdout.

use std::num::NonZeroU64;

use walcast::config::TableName;
use walcast::{Lsn, PublicationName, Secret, SlotName};

/// Stream changes to standard output
///
/// Without --slot a temporary slot is used: it begins now and ends with the connection.
///
/// Example:
///   walcast tail postgres://walcast@localhost/shop --publication shop --format pretty
///   walcast tail postgres://walcast@localhost/shop --create --tables 'public.orders,shop.*'
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The server: a PostgreSQL URL or key=value string
    #[arg(env = "WALCAST_URL", hide_env_values = true, value_parser = crate::target::parse_url)]
    url: Secret,
    /// The slot to read, created when missing; a temporary one when absent
    #[arg(long)]
    slot: Option<SlotName>,
    /// The publication to read; several separated by commas
    #[arg(long, value_delimiter = ',', default_value = "walcast")]
    publication: Vec<PublicationName>,
    /// Create the publication when it is missing, for --tables or else for all tables
    #[arg(long)]
    create: bool,
    /// Only these tables: schema.table or schema.*, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "TABLE")]
    tables: Vec<TableName>,
    /// How events are printed [default: pretty on a terminal, else json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What to do when the connection of a temporary slot breaks
    #[arg(long, value_enum, default_value_t)]
    on_disconnect: OnDisconnect,
    /// Stop once everything before this LSN was printed
    #[arg(long, value_name = "LSN", conflicts_with = "until_now")]
    until_lsn: Option<Lsn>,
    /// Stop at what the server has written when the command starts
    #[arg(long)]
    until_now: bool,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU64>,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The native JSON event, one a line
    Json,
    /// For eyes
    Pretty,
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
