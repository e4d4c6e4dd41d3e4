//! What stands between a stream and its slot, each with the way out.

use crate::lsn::Lsn;
use crate::name::{PublicationName, SlotName, SystemId, Timeline};
use crate::wire::ServerError;
use crate::{Error, ErrorKind};

/// Why a stream cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The server is too old.
    #[error("the server is PostgreSQL {major}; walcast needs 14 or newer")]
    Version {
        /// Its major version.
        major: u32,
    },
    /// Logical decoding is off.
    #[error("wal_level is {have}; logical replication needs logical")]
    WalLevel {
        /// Its setting.
        have: String,
    },
    /// There is no such slot.
    #[error("replication slot \"{slot}\" does not exist{}", expected_at(.confirmed))]
    SlotMissing {
        /// The slot.
        slot: SlotName,
        /// Where we left it, if we used it before.
        confirmed: Option<Lsn>,
    },
    /// The slot is there, but not one that can be streamed from.
    #[error("replication slot \"{slot}\" is {have}; walcast needs {want}")]
    SlotWrong {
        /// The slot.
        slot: SlotName,
        /// What it is.
        have: String,
        /// What it has to be.
        want: String,
    },
    /// The slot sends prepared transactions, which was not asked for.
    #[error("replication slot \"{slot}\" sends transactions when they are prepared")]
    SlotTwoPhase {
        /// The slot.
        slot: SlotName,
    },
    /// Prepared transactions are asked for, and there is no place for them.
    #[error("there is no directory to keep prepared transactions in")]
    NoPlaceForPrepared,
    /// Changes are to be given before they commit, and the server is not to send them then.
    #[error("changes cannot be given before they commit while streaming is off")]
    EarlyUnstreamed,
    /// The slot was invalidated.
    #[error("replication slot \"{slot}\" is lost: {reason}; confirmed {}, {missed_bytes} bytes of \
             log are missed", shown(.confirmed))]
    SlotLost {
        /// The slot.
        slot: SlotName,
        /// Why.
        reason: String,
        /// Up to where its changes were confirmed.
        confirmed: Option<Lsn>,
        /// How much log lies between there and the server's end.
        missed_bytes: u64,
    },
    /// Someone else streams from it.
    #[error("replication slot \"{slot}\" is in use{}", by(.pid))]
    SlotActive {
        /// The slot.
        slot: SlotName,
        /// The server process that holds it.
        pid: Option<i32>,
    },
    /// Making the slot took too long.
    #[error(
        "making replication slot \"{slot}\" waited {seconds} s for running transactions: \
             {blockers}"
    )]
    SlotWaits {
        /// The slot.
        slot: SlotName,
        /// How long it was waited for.
        seconds: u64,
        /// Which transactions.
        blockers: String,
    },
    /// A publication is gone, or was made after the changes that it should cover.
    #[error("publication{} {} {}", plural(.names), quoted(.names), reason(.server))]
    PublicationMissing {
        /// Which.
        names: Vec<PublicationName>,
        /// What the server said, when it was the server that noticed.
        server: Option<Box<ServerError>>,
    },
    /// The slot is ahead of what was confirmed to it: someone else moved or remade it.
    #[error("replication slot \"{slot}\" stands at {slot_at}, but {needed} is needed: {} bytes of \
             log were skipped by someone else", slot_at.bytes_since(*.needed))]
    Gap {
        /// The slot.
        slot: SlotName,
        /// Where it stands.
        slot_at: Lsn,
        /// Where we have to go on.
        needed: Lsn,
    },
    /// A temporary slot went with its connection.
    #[error("the temporary slot \"{slot}\" went with its connection; the last position was {last}")]
    TemporaryGone {
        /// The slot.
        slot: SlotName,
        /// How far the stream had come.
        last: Lsn,
        /// What broke the connection.
        #[source]
        cause: Error,
    },
    /// Another cluster answers.
    #[error("the server is cluster {have}, but positions are of cluster {want}")]
    OtherCluster {
        /// The cluster that answered.
        have: SystemId,
        /// The cluster the positions are of.
        want: SystemId,
    },
    /// The server is on a branch that does not contain what was delivered.
    #[error("the server is on timeline {have}, which left timeline {was} at {}; changes up to \
             {confirmed} were delivered or confirmed from there", shown(.switch))]
    Diverged {
        /// The server's timeline.
        have: Timeline,
        /// The timeline the confirmed position is on.
        was: Timeline,
        /// Where they parted, if they are of one lineage.
        switch: Option<Lsn>,
        /// Up to where changes were delivered or confirmed.
        confirmed: Lsn,
    },
    /// The server's log was set back.
    #[error("the server's log ends at {end}, but changes up to {reached} were read from it before")]
    LogShorter {
        /// Where it ends.
        end: Lsn,
        /// How far it was read.
        reached: Lsn,
        /// Whether it is a standby, which may still come that far.
        in_recovery: bool,
    },
    /// The server did not answer.
    #[error("the server did not answer within {seconds} s: could not {action}")]
    Unanswered {
        /// What it was asked for.
        action: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// An end was confirmed that the stream has not handed out.
    #[error("{end} was confirmed, but the stream has handed out no more than {handed_out}")]
    NotHandedOut {
        /// What was confirmed.
        end: Lsn,
        /// The end of the last batch.
        handed_out: Lsn,
    },
    /// A standby answers that cannot decode its log, or a server that is still recovering.
    #[error("the server is in recovery and cannot decode its log")]
    InRecovery,
    /// The server was promoted since it was asked on which timeline it is.
    #[error("the server was promoted and is not on timeline {was} any more{}", now_on(.have))]
    Promoted {
        /// The timeline it said it was on.
        was: Timeline,
        /// The one it writes now, if that is known.
        have: Option<Timeline>,
    },
    /// The wire task is gone.
    #[error("the task that reads the replication connection was ended")]
    TaskEnded,
}

fn shown(lsn: &Option<Lsn>) -> String {
    lsn.map_or_else(|| "unknown".to_owned(), |lsn| lsn.to_string())
}

fn expected_at(confirmed: &Option<Lsn>) -> String {
    confirmed.map_or_else(String::new, |lsn| format!("; we left it at {lsn}"))
}

fn now_on(have: &Option<Timeline>) -> String {
    have.map_or_else(String::new, |timeline| format!(", but on {timeline}"))
}

fn by(pid: &Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by server process {pid}"))
}

fn plural(names: &[PublicationName]) -> &'static str {
    if names.len() == 1 { "" } else { "s" }
}

fn quoted(names: &[PublicationName]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn reason(server: &Option<Box<ServerError>>) -> String {
    match server {
        Some(error) => format!("cannot be used at this point of the log: {error}"),
        None => "does not exist".to_owned(),
    }
}

impl StreamError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Version { .. } | Self::WalLevel { .. } | Self::InRecovery => {
                ErrorKind::ServerConfig
            }
            Self::SlotMissing { .. } | Self::SlotWrong { .. } => ErrorKind::SlotMissing,
            Self::SlotTwoPhase { .. } | Self::NoPlaceForPrepared | Self::EarlyUnstreamed => {
                ErrorKind::Config
            }
            Self::SlotLost { .. } => ErrorKind::SlotLost,
            Self::SlotActive { .. } | Self::SlotWaits { .. } => ErrorKind::SlotInUse,
            Self::PublicationMissing { .. } => ErrorKind::PublicationMissing,
            Self::Gap { .. } | Self::TemporaryGone { .. } => ErrorKind::Gap,
            Self::OtherCluster { .. } | Self::Diverged { .. } | Self::LogShorter { .. } => {
                ErrorKind::Identity
            }
            Self::NotHandedOut { .. } => ErrorKind::State,
            Self::TaskEnded | Self::Unanswered { .. } | Self::Promoted { .. } => ErrorKind::Connect,
        }
    }

    fn fix(&self) -> Option<String> {
        Some(match self {
            Self::Version { .. } => "upgrade the server".to_owned(),
            Self::WalLevel { .. } => {
                "ALTER SYSTEM SET wal_level = logical; then restart the server".to_owned()
            }
            Self::SlotMissing { slot, confirmed: None } => format!(
                "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput'); or let walcast \
                 create it"
            ),
            Self::SlotMissing { .. } => {
                "its changes are gone: give the sinks a new copy of the tables, remove the state \
                 directory and start again"
                    .to_owned()
            }
            Self::SlotWrong { .. } => "name another slot".to_owned(),
            Self::SlotTwoPhase { .. } => {
                "set two_phase = true in [source], or name another slot".to_owned()
            }
            Self::NoPlaceForPrepared => "name one with Source::prepared".to_owned(),
            Self::EarlyUnstreamed => "leave Source::streaming at auto".to_owned(),
            Self::SlotLost { slot, .. } => format!(
                "SELECT pg_drop_replication_slot('{slot}'); give the sinks a new copy of the \
                 tables, remove the state directory and start again; raise max_slot_wal_keep_size"
            ),
            Self::SlotActive { pid: Some(pid), .. } => format!(
                "stop the other consumer, or SELECT pg_terminate_backend({pid}); a dead consumer's \
                 connection ends after wal_sender_timeout"
            ),
            Self::SlotActive { .. } => "stop the other consumer, or use another slot".to_owned(),
            Self::SlotWaits { .. } => "end those transactions, or try again later".to_owned(),
            Self::PublicationMissing { names, .. } => {
                let name = names.first().map_or("p", |name| name.as_str());
                format!(
                    "CREATE PUBLICATION {} FOR TABLE …; it must be older than the slot: changes \
                     from before it cannot be read",
                    crate::name::quote_identifier(name)
                )
            }
            Self::Gap { .. } => {
                "give the sinks a new copy of the tables, remove the state directory and start \
                 again; find out who else uses the slot"
                    .to_owned()
            }
            Self::TemporaryGone { .. } => "use a permanent slot (--slot)".to_owned(),
            Self::OtherCluster { .. } => {
                "check the URL; for a new cluster use a new state directory".to_owned()
            }
            Self::Diverged { .. } => {
                "targets have changes that the new primary never had: copy the tables anew, \
                 remove the state directory and start again"
                    .to_owned()
            }
            Self::LogShorter { in_recovery: true, .. } => {
                "wait until the standby has replayed that far".to_owned()
            }
            Self::LogShorter { .. } => {
                "the server was restored to an earlier state: copy the tables anew, remove the \
                 state directory and start again"
                    .to_owned()
            }
            Self::InRecovery => {
                "name the primary too, with target_session_attrs=read-write; decoding on a standby \
                 needs PostgreSQL 16"
                    .to_owned()
            }
            Self::NotHandedOut { .. } | Self::TaskEnded => return None,
            Self::Promoted { .. } | Self::Unanswered { .. } => return None,
        })
    }
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        let (kind, fix) = (error.kind(), error.fix());
        let transient = match &error {
            StreamError::SlotActive { .. }
            | StreamError::InRecovery
            | StreamError::TaskEnded
            | StreamError::Promoted { .. }
            | StreamError::Unanswered { .. } => true,
            StreamError::LogShorter { in_recovery, .. } => *in_recovery,
            _ => false,
        };
        let error =
            if transient { Error::transient(kind, error) } else { Error::permanent(kind, error) };
        match fix {
            Some(fix) => error.with_fix(fix),
            None => error,
        }
    }
}
