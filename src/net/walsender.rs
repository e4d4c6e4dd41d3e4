//! A walsender session and the replication commands it takes.
//!
//! A [`Walsender`] runs [replication
//! commands](https://www.postgresql.org/docs/current/protocol-replication.html) one at a time,
//! until START_REPLICATION turns it into a stream that a wire task drives. It measures the round
//! trips of its commands; it refuses to know what a slot is needed for.

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::config::ConnectConfig;
use super::driver::{Driver, Wiring};
use super::endpoint::Endpoint;
use super::error::ConnectError;
use super::replication::connect_replication;
use super::socket::Socket;
use super::sql::cancel;
use super::start::{StreamStart, start_command};
use super::startup::{CancelKey, ServerParameters};
use super::tcp::Gulps;
use crate::lineage::{Lineage, LineageError};
use crate::lsn::Lsn;
use crate::name::{ServerIdentity, SlotName, SystemId, Timeline};
use crate::session::{Now, Output, ROUND_TRIP_MAX, Rows, Session, SessionError};
use crate::wire::ServerError;
use crate::{Error, ErrorKind};

/// How long a command other than CREATE_REPLICATION_SLOT may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a link that may be short is tried.
const PROBES: usize = 8;
/// A link whose best round trip is longer is not: no server on it is that busy.
const PROBE_MAX: Duration = Duration::from_millis(5);

/// A command could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No session could be had.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refused the command.
    #[error("{command} failed: {source}")]
    Refused {
        /// The command's name.
        command: &'static str,
        /// What the server says.
        source: ServerError,
    },
    /// The conversation broke down.
    #[error("{command} failed: {source}")]
    Session {
        /// The command's name.
        command: &'static str,
        /// How.
        source: SessionError,
    },
    /// The connection broke.
    #[error("{command} failed: the connection broke: {source}")]
    Broken {
        /// The command's name.
        command: &'static str,
        /// How.
        source: std::io::Error,
    },
    /// The server did not answer in time.
    #[error("{command} was not answered within {} s", limit.as_secs_f32())]
    Timeout {
        /// The command's name.
        command: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The answer is not of the documented form.
    #[error("{command} was answered with {what} missing or malformed")]
    Answer {
        /// The command's name.
        command: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The timeline history cannot be read.
    #[error(transparent)]
    History(#[from] LineageError),
}

/// What IDENTIFY_SYSTEM says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentification {
    /// The cluster and its timeline.
    pub identity: ServerIdentity,
    /// Up to where its log is written and flushed.
    pub flushed: Lsn,
}

/// What kind of slot CREATE_REPLICATION_SLOT makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotKind {
    /// It goes with the session that made it.
    pub temporary: bool,
    /// It is copied to standbys (PostgreSQL 17 and newer).
    pub failover: bool,
    /// Prepared transactions are decoded when they are prepared.
    pub two_phase: bool,
}

/// A slot that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Everything that commits after this is in the slot.
    pub consistent_point: Lsn,
}

/// A walsender session between commands.
#[derive(Debug)]
pub struct Walsender {
    socket: Socket,
    session: Session,
    input: BytesMut,
    parameters: ServerParameters,
    endpoint: Endpoint,
    config: ConnectConfig,
    cancel_key: CancelKey,
    start: Instant,
    round_trip: Option<Duration>,
}

impl Walsender {
    /// Connect to a walsender of the configured database.
    ///
    /// # Cancel safety
    /// Dropping the future closes whatever it had opened.
    pub async fn connect(config: &ConnectConfig) -> Result<Self, ConnectError> {
        let ready = connect_replication(config).await?;
        Ok(Self {
            round_trip: ready.stream.handshake(),
            socket: ready.stream,
            session: Session::new(),
            input: ready.unread,
            parameters: ready.parameters,
            endpoint: ready.endpoint,
            config: config.clone(),
            cancel_key: ready.cancel_key,
            start: Instant::now(),
        })
    }

    /// The server's major version.
    pub fn major_version(&self) -> u32 {
        self.parameters.major_version()
    }

    /// The server process at the other end.
    pub(crate) fn pid(&self) -> i32 {
        self.cancel_key.pid
    }

    /// The server that it is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The shortest round trip so far: of a command, or of the TCP handshake.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// A round trip to the same server was seen elsewhere.
    pub(crate) fn saw_round_trip(&mut self, took: Option<Duration>) {
        self.round_trip = self.round_trip.into_iter().chain(took).min();
    }

    /// Ask for a trifle until the link shows to be short, a few times at most: the server may have
    /// other things to do than to answer at once.
    pub(crate) async fn probe_link(&mut self) -> Result<(), CommandError> {
        const NAME: &str = "SHOW";
        let doubtful = ROUND_TRIP_MAX..PROBE_MAX;
        for _ in 0..PROBES {
            if !self.socket.is_tcp() || !self.round_trip.is_some_and(|it| doubtful.contains(&it)) {
                break;
            }
            self.command(NAME, "SHOW server_version", COMMAND_TIMEOUT).await?;
        }
        Ok(())
    }

    /// Ask which cluster and timeline this is.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the session in mid-command: drop it too. So for all commands.
    pub async fn identify_system(&mut self) -> Result<SystemIdentification, CommandError> {
        const NAME: &str = "IDENTIFY_SYSTEM";
        let rows = self.command(NAME, NAME, COMMAND_TIMEOUT).await?;
        let system_id = SystemId::new(cell(&rows, 0, NAME, "systemid")?);
        let timeline = Timeline::new(cell(&rows, 1, NAME, "timeline")?);
        let flushed = cell(&rows, 2, NAME, "xlogpos")?;
        Ok(SystemIdentification { identity: ServerIdentity { system_id, timeline }, flushed })
    }

    /// Ask which timelines led to the present one. The first has no history.
    pub async fn lineage(&mut self, identity: ServerIdentity) -> Result<Lineage, CommandError> {
        const NAME: &str = "TIMELINE_HISTORY";
        if identity.timeline.as_u32() <= 1 {
            return Ok(Lineage::single(identity));
        }
        let command = format!("{NAME} {}", identity.timeline);
        let rows = self.command(NAME, &command, COMMAND_TIMEOUT).await?;
        let content: String = cell(&rows, 1, NAME, "content")?;
        Ok(Lineage::parse(identity, &content)?)
    }

    /// Make a logical slot of `pgoutput`. Waits for every transaction that runs now, `limit` at
    /// most.
    pub async fn create_slot(
        &mut self,
        slot: &SlotName,
        kind: SlotKind,
        limit: Duration,
    ) -> Result<CreatedSlot, CommandError> {
        const NAME: &str = "CREATE_REPLICATION_SLOT";
        let temporary = if kind.temporary { " TEMPORARY" } else { "" };
        let options = if self.major_version() >= 15 {
            let mut options = "(SNAPSHOT 'nothing'".to_owned();
            let failover = if kind.failover { ", FAILOVER" } else { "" };
            let two_phase = if kind.two_phase { ", TWO_PHASE" } else { "" };
            options.extend([failover, two_phase, ")"]);
            options
        } else {
            let two_phase = if kind.two_phase { " TWO_PHASE" } else { "" };
            format!("NOEXPORT_SNAPSHOT{two_phase}")
        };
        let command = format!("{NAME} \"{slot}\"{temporary} LOGICAL pgoutput {options}");
        let rows = self.command(NAME, &command, limit).await?;
        Ok(CreatedSlot { consistent_point: cell(&rows, 1, NAME, "consistent_point")? })
    }

    /// Drop a slot that nobody uses.
    pub async fn drop_slot(&mut self, slot: &SlotName) -> Result<(), CommandError> {
        const NAME: &str = "DROP_REPLICATION_SLOT";
        self.command(NAME, &format!("{NAME} \"{slot}\""), COMMAND_TIMEOUT).await.map(drop)
    }

    /// Change whether a slot is copied to standbys (PostgreSQL 17 and newer).
    pub async fn alter_slot(
        &mut self,
        slot: &SlotName,
        failover: bool,
    ) -> Result<(), CommandError> {
        const NAME: &str = "ALTER_REPLICATION_SLOT";
        let command = format!("{NAME} \"{slot}\" (FAILOVER {failover})");
        self.command(NAME, &command, COMMAND_TIMEOUT).await.map(drop)
    }

    /// Ask the server to give up the command that runs, from a connection of its own.
    pub async fn cancel(&self) -> Result<(), ConnectError> {
        cancel(&self.config, &self.endpoint, self.cancel_key).await
    }

    /// Begin to stream. What comes next is for a [`Driver`] made of
    /// [`into_driver`](Self::into_driver).
    pub(crate) async fn start_replication(
        &mut self,
        start: StreamStart<'_>,
    ) -> Result<(), CommandError> {
        const NAME: &str = "START_REPLICATION";
        let command = start_command(NAME, start, self.major_version());
        self.session.start_replication(&command, start.intervals, start.progress);
        match self.next_output(NAME, COMMAND_TIMEOUT).await? {
            Output::Started => Ok(()),
            _ => Err(CommandError::Answer { command: NAME, what: "CopyBothResponse" }),
        }
    }

    /// Hand the socket over to a wire task.
    pub(crate) fn into_driver(
        self,
        wiring: impl FnOnce(Session, Instant, BytesMut, Option<Gulps>) -> Wiring,
    ) -> Driver<Socket> {
        let near = self.round_trip.is_some_and(|round_trip| round_trip <= ROUND_TRIP_MAX);
        let gulps = if near { self.socket.gulps() } else { None };
        tracing::debug!(round_trip = ?self.round_trip, gulps = gulps.is_some(), "link");
        let wiring = wiring(self.session, self.start, self.input, gulps);
        Driver::new(self.socket, wiring)
    }

    async fn command(
        &mut self,
        name: &'static str,
        command: &str,
        limit: Duration,
    ) -> Result<Rows, CommandError> {
        let begin = Instant::now();
        self.session.query(command);
        let Output::Answer(answer) = self.next_output(name, limit).await? else {
            return Err(CommandError::Answer { command: name, what: "ReadyForQuery" });
        };
        self.saw_round_trip(Some(begin.elapsed()));
        answer.map_err(|source| CommandError::Refused { command: name, source })
    }

    /// Converse until there is an output other than a notice.
    async fn next_output(
        &mut self,
        command: &'static str,
        limit: Duration,
    ) -> Result<Output, CommandError> {
        let converse = async {
            loop {
                self.socket.write_all_buf(self.session.transmit()).await?;
                let now = Now { elapsed: self.start.elapsed(), wall: SystemTime::now().into() };
                match self.session.handle_input(now, &mut self.input) {
                    Ok(Some(Output::Notice(notice))) => tracing::info!(%notice, "the server says"),
                    Ok(Some(output)) => return Ok(Ok(output)),
                    Ok(None) => {
                        if self.socket.read_buf(&mut self.input).await? == 0 {
                            return Err(std::io::ErrorKind::UnexpectedEof.into());
                        }
                    }
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        match tokio::time::timeout(limit, converse).await {
            Ok(Ok(Ok(output))) => Ok(output),
            Ok(Ok(Err(SessionError::Server(source)))) => {
                Err(CommandError::Refused { command, source })
            }
            Ok(Ok(Err(source))) => Err(CommandError::Session { command, source }),
            Ok(Err(source)) => Err(CommandError::Broken { command, source }),
            Err(_) => Err(CommandError::Timeout { command, limit }),
        }
    }
}

fn cell<T: std::str::FromStr>(
    rows: &Rows,
    column: usize,
    command: &'static str,
    what: &'static str,
) -> Result<T, CommandError> {
    let text = rows.first().and_then(|row| row.get(column)).and_then(Option::as_deref);
    text.and_then(|text| text.parse().ok()).ok_or(CommandError::Answer { command, what })
}

impl CommandError {
    /// What the server said, if it refused.
    pub fn server_error(&self) -> Option<&ServerError> {
        match self {
            Self::Refused { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Connect(source) => source.into(),
            CommandError::Refused { ref source, .. } if source.is_transient() => {
                Error::transient(ErrorKind::Server, error)
            }
            CommandError::Refused { ref source, .. } => {
                let kind = match source.sqlstate {
                    crate::wire::SqlState::INSUFFICIENT_PRIVILEGE => ErrorKind::Permission,
                    _ => ErrorKind::Server,
                };
                Error::permanent(kind, error)
            }
            CommandError::Broken { .. } | CommandError::Timeout { .. } => {
                Error::transient(ErrorKind::Connect, error)
            }
            CommandError::Session { .. } => Error::transient(ErrorKind::Protocol, error),
            CommandError::Answer { .. } | CommandError::History(_) => {
                Error::permanent(ErrorKind::Protocol, error)
            }
        }
    }
}
