//! `walcast slot`: replication slots of a server.

mod list;

use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use walcast::net::{ConnectConfig, SlotKind, SqlClient, Walsender, sql_connect};
use walcast::slot::{
    SlotStatus, advance_slot, create_slot, drop_slot, drop_slot_in_use, slot_status,
};
use walcast::stream::StreamError;
use walcast::{Error, ErrorKind, Lsn, LsnParseError, Secret, SlotName};

use crate::exit::{Exit, output_error};
use crate::human::Bytes;
use crate::runtime::block_on;

/// How long the making of a slot may wait for running transactions.
const CREATE_LIMIT: Duration = Duration::from_secs(60);
/// How long a consumer may come back again and again while its slot is dropped.
const FORCE_LIMIT: Duration = Duration::from_secs(10);

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
    /// Move a slot forward; the changes that it passes are never sent
    ///
    /// Example:
    ///   walcast slot advance postgres://walcast@localhost/shop walcast --to 16/B374D848
    ///   walcast slot advance postgres://walcast@localhost/shop walcast --to current
    #[command(verbatim_doc_comment)]
    Advance {
        #[command(flatten)]
        server: Server,
        /// The slot
        slot: SlotName,
        /// Where to: an LSN, or `current` for the server's present position
        #[arg(long, value_name = "LSN")]
        to: Goal,
    },
}

#[derive(Debug, clap::Args)]
struct Server {
    /// The server: a PostgreSQL URL or key=value string
    #[arg(value_parser = crate::target::parse_url)]
    url: Secret,
}

/// Where a slot is moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// To the end of the server's log as it is now.
    Current,
    /// To this position.
    At(Lsn),
}

impl FromStr for Goal {
    type Err = LsnParseError;

    fn from_str(text: &str) -> Result<Self, LsnParseError> {
        if text == "current" { Ok(Self::Current) } else { text.parse().map(Self::At) }
    }
}

/// What is asked for makes no sense for this slot.
#[derive(Debug, thiserror::Error)]
enum SlotMisuse {
    #[error("replication slot \"{slot}\" exists already, {what}")]
    Exists { slot: SlotName, what: String },
    #[error("replication slot \"{slot}\" stands at {at} already, which is past {to}")]
    Backwards { slot: SlotName, at: Lsn, to: Lsn },
    #[error("the server is PostgreSQL {major}; slots that standbys keep a copy of need 17")]
    NoFailover { major: u32 },
}

impl From<SlotMisuse> for Error {
    fn from(misuse: SlotMisuse) -> Self {
        let fix = match &misuse {
            SlotMisuse::Exists { .. } => "use it as it is, name another, or drop it first",
            SlotMisuse::Backwards { .. } => "a slot moves forward only",
            SlotMisuse::NoFailover { .. } => "leave --failover out",
        };
        Error::permanent(ErrorKind::Config, misuse).with_fix(fix)
    }
}

pub(crate) fn run(args: Args) -> crate::Outcome {
    block_on(async move {
        let said = match args.action {
            Action::List { server, json } => {
                let (_, sql) = server.connect().await?;
                if json { list::as_json(&sql).await? } else { list::as_table(&sql).await? }
            }
            Action::Create { server, slot, failover } => create(&server, &slot, failover).await?,
            Action::Drop { server, slot, force } => drop(&server, &slot, force).await?,
            Action::Advance { server, slot, to } => advance(&server, &slot, to).await?,
        };
        std::io::stdout().write_all(said.as_bytes()).map_err(output_error)?;
        Ok(Exit::Done)
    })
}

impl Server {
    async fn connect(&self) -> Result<(ConnectConfig, SqlClient), Error> {
        let config: ConnectConfig = self.url.expose().parse()?;
        let sql = sql_connect(&config).await?;
        Ok((config, sql))
    }
}

async fn create(server: &Server, slot: &SlotName, failover: bool) -> Result<String, Error> {
    let (config, sql) = server.connect().await?;
    if let Some(status) = slot_status(&sql, slot).await? {
        let plugin = status.plugin.as_deref().unwrap_or("no plugin");
        let database = status.database.as_deref().unwrap_or("no database");
        let what = format!("with {plugin}, of {database}");
        return Err(SlotMisuse::Exists { slot: slot.clone(), what }.into());
    }
    let mut walsender = Walsender::connect(&config.at(sql.endpoint())).await?;
    let major = walsender.major_version();
    if failover && major < 17 {
        return Err(SlotMisuse::NoFailover { major }.into());
    }
    let kind = SlotKind { failover, ..SlotKind::default() };
    let point = create_slot(&sql, &mut walsender, slot, kind, CREATE_LIMIT).await?;
    Ok(format!("made {slot}, which begins at {point}; until it is read or dropped it keeps WAL\n"))
}

async fn drop(server: &Server, slot: &SlotName, force: bool) -> Result<String, Error> {
    let (_, sql) = server.connect().await?;
    let status = existing(&sql, slot).await?;
    match (status.active, force) {
        (false, _) => drop_slot(&sql, slot).await?,
        (true, true) => drop_slot_in_use(&sql, slot, FORCE_LIMIT).await?,
        (true, false) => {
            let error = Error::from(in_use(&status));
            return Err(error.with_fix("stop that consumer first, or end it with --force"));
        }
    }
    let retained = status.retained_bytes.and_then(|bytes| u64::try_from(bytes).ok());
    let freed = retained.map_or(String::new(), |bytes| format!(", which kept {}", Bytes(bytes)));
    Ok(format!("dropped {slot}{freed}\n"))
}

async fn advance(server: &Server, slot: &SlotName, to: Goal) -> Result<String, Error> {
    let (config, sql) = server.connect().await?;
    let status = existing(&sql, slot).await?;
    if let Some(have) = status.database.as_deref().filter(|have| *have != config.database()) {
        let (have, want) =
            (format!("of database {have:?}"), format!("one of {:?}", config.database()));
        return Err(StreamError::SlotWrong { slot: slot.clone(), have, want }.into());
    }
    if let Some(reason) = status.lost() {
        let (reason, confirmed) = (reason.to_owned(), status.confirmed_flush_lsn);
        let slot = slot.clone();
        return Err(StreamError::SlotLost { slot, reason, confirmed, missed_bytes: 0 }.into());
    }
    if status.active {
        return Err(in_use(&status).into());
    }
    let from = status.confirmed_flush_lsn.or(status.restart_lsn).unwrap_or(Lsn::new(0));
    let to = match to {
        Goal::At(to) => to,
        Goal::Current => status.server_lsn.unwrap_or(from),
    };
    if to < from {
        return Err(SlotMisuse::Backwards { slot: slot.clone(), at: from, to }.into());
    }
    let now = advance_slot(&sql, slot, to).await?;
    if now == from {
        return Ok(format!("{slot} stands at {now} already\n"));
    }
    tracing::warn!("changes between {from} and {now} will never be sent through {slot}");
    Ok(format!("moved {slot} from {from} to {now}, past {} of log\n", Bytes(now.bytes_since(from))))
}

async fn existing(sql: &SqlClient, slot: &SlotName) -> Result<SlotStatus, Error> {
    let missing = || {
        let error = StreamError::SlotMissing { slot: slot.clone(), confirmed: None };
        Error::from(error).with_fix("`walcast slot list` shows which there are")
    };
    slot_status(sql, slot).await?.ok_or_else(missing)
}

fn in_use(status: &SlotStatus) -> StreamError {
    StreamError::SlotActive { slot: status.slot_name.clone(), pid: status.active_pid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_moved_to_a_position_or_to_the_end() {
        assert_eq!("current".parse(), Ok(Goal::Current));
        assert_eq!("0/10".parse(), Ok(Goal::At(Lsn::new(16))));
        assert!("now".parse::<Goal>().is_err());
    }
}
