//! `walcast slot`: replication slots of a server.

use walcast::{Lsn, Secret, SlotName};

/// List, create, drop or advance replication slots
///
/// Example:
///   walcast slot list postgres://walcast@localhost/shop
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show every slot: its state, who holds it, and the WAL it keeps
    ///
    /// Example:
    ///   walcast slot list postgres://walcast@localhost/shop --json
    #[command(verbatim_doc_comment)]
    List {
        #[command(flatten)]
        server: Server,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Create a logical slot for pgoutput
    ///
    /// Example:
    ///   walcast slot create postgres://walcast@localhost/shop walcast
    #[command(verbatim_doc_comment)]
    Create {
        #[command(flatten)]
        server: Server,
        /// The slot
        slot: SlotName,
        /// Let standbys keep a copy (PostgreSQL 17 and later)
        #[arg(long)]
        failover: bool,
    },
    /// Drop a slot; one that is in use only with --force
    ///
    /// Example:
    ///   walcast slot drop postgres://walcast@localhost/shop walcast
    #[command(verbatim_doc_comment)]
    Drop {
        #[command(flatten)]
        server: Server,
        /// The slot
        slot: SlotName,
        /// End the connection that uses the slot
        #[arg(long)]
        force: bool,
    },
    /// Move a slot forward; what it passes is never sent
    ///
    /// Example:
    ///   walcast slot advance postgres://walcast@localhost/shop walcast --to 16/B374D848
    #[command(verbatim_doc_comment)]
    Advance {
        #[command(flatten)]
        server: Server,
        /// The slot
        slot: SlotName,
        /// Where to; the server's current position when absent
        #[arg(long, value_name = "LSN")]
        to: Option<Lsn>,
    },
}

#[derive(Debug, clap::Args)]
struct Server {
    /// The server: a PostgreSQL URL or key=value string
    #[arg(value_parser = crate::target::parse_url)]
    url: Secret,
}
