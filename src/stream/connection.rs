//! From settings to a running wire task: everything that is checked before the first byte streams.
//!
//! An [`Attempt`] says where to go on; [`open`](Attempt::open) connects, judges server, publication
//! and slot against it, and starts the stream. Positions are compared before the server could
//! silently begin at a greater one, and once more when the slot is ours. Each thing that is in the
//! way is an error of its own.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::error::StreamError;
use super::judge::{judge_identity, judge_log};
use super::prepared::{Owner, PreparedTransactions, SlotPast};
use super::source::Source;
use crate::budget::Budget;
use crate::catalog::type_definitions;
use crate::event::Oid;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::{ServerIdentity, SystemId, Timeline};
use crate::net::{
    CommandError, DriverError, Feed, Format, Gauges, QUEUED_RUNS, Request, SlotKind, SqlClient,
    SqlError, StreamOptions, StreamStart, Streaming, Walsender, Wiring, is_shutdown,
    knows_two_phase, sql_connect,
};
use crate::publication::{
    PublicationTables, create_publication, missing_publications, published_tables,
};
use crate::session::{Intervals, Progress};
use crate::slot::{SlotStatus, create_slot, slot_status};
use crate::wire::SqlState;
use crate::{Error, Result};

/// How long the making of a slot may wait for running transactions.
const CREATE_SLOT_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a connection has to go on.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) source: Arc<Source>,
    pub(crate) budget: Budget,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) gauges: Arc<Gauges>,
    /// What was confirmed to the slot, if we used it before.
    pub(crate) confirmed: Option<Lsn>,
    /// Whose positions these are, if we used it before, and how far they reach: up to where
    /// something was delivered.
    pub(crate) reached: Option<(ServerIdentity, Lsn)>,
    /// Whether binary was found not to do.
    pub(crate) text: bool,
    /// Whether large transactions are sent while they run.
    pub(crate) streaming: Streaming,
    /// Where prepared transactions are kept, if they are asked for.
    pub(crate) prepared: Option<PreparedTransactions>,
    /// Whether a temporary slot was made before, and so is gone.
    pub(crate) temporary_used: bool,
    /// How long the server may be silent.
    pub(crate) silence: Duration,
}

/// A stream that runs.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) lineage: Arc<Lineage>,
    /// Where it starts.
    pub(crate) start: Lsn,
    /// The consistent point, if the slot was made now.
    pub(crate) created: Option<Lsn>,
    pub(crate) format: Format,
    /// The server process that sends it.
    pub(crate) walsender: i32,
    /// Where prepared transactions are kept, if this server sends any.
    pub(crate) prepared: Option<PreparedTransactions>,
    pub(crate) feed: mpsc::Receiver<Feed>,
    pub(crate) request: watch::Sender<Request>,
    pub(crate) driver: DriverTask,
    pub(crate) sql: Arc<SqlClient>,
    /// Whether it is a standby, which may be promoted while it streams.
    pub(crate) in_recovery: bool,
    pub(crate) budget: Budget,
}

/// The wire task, ended when dropped.
#[derive(Debug)]
pub(crate) struct DriverTask(pub(crate) JoinHandle<Result<(), DriverError>>);

impl Drop for DriverTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Attempt {
    /// Connect, check, and start.
    ///
    /// # Cancel safety
    /// Dropping the future closes both connections; a slot may have been made.
    pub(crate) async fn open(self) -> Result<Connection> {
        let source = Arc::clone(&self.source);
        let sql = sql_connect(&source.connect).await?;
        answered("read its settings", check_server(&sql)).await?;
        answered("find the publications", ensure_publications(&sql, &source)).await?;
        let mut walsender = Walsender::connect(&source.connect.at(sql.endpoint())).await?;
        walsender.saw_round_trip(sql.handshake());
        let system = walsender.identify_system().await?;
        let lineage = walsender.lineage(system.identity).await?;
        if let Some((was, reached)) = self.reached {
            judge_identity(&lineage, was, reached)?;
            if system.flushed < reached {
                let in_recovery = answered("tell what it is", is_in_recovery(&sql)).await?;
                judge_log(system.flushed, reached, in_recovery)?;
            }
        }
        let system_id = system.identity.system_id;
        let (start, created) = self.ready_slot(&sql, &mut walsender, system_id).await?;
        let format = answered("read the published tables", self.choose_format(&sql)).await?;
        let options = StreamOptions {
            publications: source.publications.clone(),
            format,
            messages: !source.messages.is_empty(),
            local_only: source.local_only,
            streaming: self.streaming,
            two_phase: self.source.two_phase,
        };
        let intervals = answered("read its settings", self.intervals(&sql)).await?;
        if source.catch_up {
            walsender.probe_link().await?;
        }
        let progress = Progress { flush: start, apply: start };
        let stream = StreamStart { slot: &source.slot, options: &options, progress, intervals };
        if let Err(error) = walsender.start_replication(stream).await {
            return Err(self.refused(&sql, error).await);
        }
        answered("read the slot", self.check_again(&sql, start)).await?;
        // A standby may have been promoted since it said on which timeline it is.
        let timeline = lineage.identity().timeline;
        let in_recovery = answered("read its timeline", check_timeline(&sql, timeline)).await?;
        tracing::info!(slot = %source.slot, %start, ?format, at = %sql.endpoint(), "streaming");
        Ok(self.run(walsender, Started { lineage, start, created, format, in_recovery, sql }))
    }

    fn run(self, walsender: Walsender, started: Started) -> Connection {
        let Started { lineage, start, created, format, in_recovery, sql } = started;
        let major_version = sql.parameters().major_version();
        let prepared = self.prepared.filter(|_| knows_two_phase(major_version));
        let (feed_in, feed) = mpsc::channel(QUEUED_RUNS);
        let (request, requested) = watch::channel(Request::Stream);
        let (catch_up, source) = (self.source.catch_up, self.source);
        let budget = self.budget.clone();
        let walsender_pid = walsender.pid();
        let driver = walsender.into_driver(|session, start, input, gulps| Wiring {
            session,
            start,
            input,
            budget: self.budget,
            gulps,
            catch_up,
            messages: source.messages.clone(),
            feed: feed_in,
            progress: self.progress,
            request: requested,
            gauges: self.gauges,
        });
        let sql = Arc::new(sql);
        let driver = tokio::spawn(watched(driver.run(), Arc::clone(&sql), request.clone()));
        Connection {
            lineage: Arc::new(lineage),
            start,
            created,
            format,
            walsender: walsender_pid,
            prepared,
            feed,
            request,
            driver: DriverTask(driver),
            sql,
            in_recovery,
            budget,
        }
    }

    /// Where the slot lets us start; it is made if need be.
    async fn ready_slot(
        &self,
        sql: &SqlClient,
        walsender: &mut Walsender,
        system_id: SystemId,
    ) -> Result<(Lsn, Option<Lsn>)> {
        let slot = &self.source.slot;
        let status = async { Ok(slot_status(sql, slot).await?) };
        match (answered("read the slot", status).await?, self.confirmed) {
            (Some(status), needed) => {
                let start = self.judge_slot(&status, sql, needed)?;
                let past = if status.two_phase { SlotPast::Any } else { SlotPast::NoPrepared };
                self.begin_prepared(system_id, past).await?;
                Ok((start, None))
            }
            (None, Some(last)) if self.temporary_used => {
                let cause = Error::from(StreamError::TaskEnded);
                Err(StreamError::TemporaryGone { slot: slot.clone(), last, cause }.into())
            }
            (None, None) if self.source.create_slot => {
                let major_version = walsender.major_version();
                let kind = SlotKind {
                    temporary: self.source.temporary,
                    failover: self.source.failover && major_version >= 17,
                    two_phase: self.source.two_phase && knows_two_phase(major_version),
                };
                self.begin_prepared(system_id, SlotPast::None).await?;
                let limit = CREATE_SLOT_TIMEOUT;
                let point = create_slot(sql, walsender, slot, kind, limit).await?;
                Ok((point, Some(point)))
            }
            (None, confirmed) => {
                Err(StreamError::SlotMissing { slot: slot.clone(), confirmed }.into())
            }
        }
    }

    /// Have a place for prepared transactions before the slot can send any.
    async fn begin_prepared(&self, system_id: SystemId, past: SlotPast) -> Result<()> {
        let Some(prepared) = self.prepared.clone() else { return Ok(()) };
        let (slot, confirmed) = (self.source.slot.clone(), self.confirmed);
        let beginning = tokio::task::spawn_blocking(move || {
            prepared.begin_stream(Owner { system_id, slot: &slot }, past)?;
            confirmed.map_or(Ok(()), |confirmed| prepared.release(confirmed))
        });
        Ok(beginning.await.map_err(|_| StreamError::TaskEnded)??)
    }

    fn judge_slot(&self, status: &SlotStatus, sql: &SqlClient, needed: Option<Lsn>) -> Result<Lsn> {
        let slot = self.source.slot.clone();
        let wrong = |have: String, want: String| {
            Err(StreamError::SlotWrong { slot: slot.clone(), have, want }.into())
        };
        match status.plugin.as_deref() {
            Some("pgoutput") => {}
            Some(plugin) => {
                return wrong(format!("of plugin {plugin}"), "plugin pgoutput".to_owned());
            }
            None => return wrong("physical".to_owned(), "a logical slot".to_owned()),
        }
        let database = self.source.connect.database();
        if let Some(have) = status.database.as_deref().filter(|have| *have != database) {
            let (have, want) = (format!("of database {have:?}"), format!("one of {database:?}"));
            return wrong(have, want);
        }
        if let Some(reason) = status.lost() {
            let end = status.server_lsn.unwrap_or(Lsn::new(0));
            let confirmed = status.confirmed_flush_lsn.or(needed);
            let missed_bytes = confirmed.map_or(0, |confirmed| end.bytes_since(confirmed));
            let reason = reason.to_owned();
            return Err(StreamError::SlotLost { slot, reason, confirmed, missed_bytes }.into());
        }
        let sends_prepared = status.two_phase && knows_two_phase(sql.parameters().major_version());
        if sends_prepared && !self.source.two_phase {
            return Err(StreamError::SlotTwoPhase { slot }.into());
        }
        if status.active && status.active_pid != Some(sql.pid()) {
            return Err(StreamError::SlotActive { slot, pid: status.active_pid }.into());
        }
        let slot_at = status.confirmed_flush_lsn.unwrap_or(Lsn::new(0));
        match needed {
            Some(needed) if slot_at > needed => {
                Err(StreamError::Gap { slot, slot_at, needed }.into())
            }
            Some(needed) => Ok(needed),
            None => Ok(slot_at),
        }
    }

    async fn choose_format(&self, sql: &SqlClient) -> Result<Format> {
        if self.text {
            return Ok(Format::Text);
        }
        let tables = published_tables(sql, &self.source.publications).await?;
        let types: BTreeSet<Oid> =
            tables.iter().flat_map(|table| &table.column_types).map(|(oid, _)| *oid).collect();
        let registry = type_definitions(sql, types.iter().copied()).await?;
        let all = types.iter().all(|oid| registry.has_binary_decoder(*oid));
        Ok(self.source.first_format(all))
    }

    /// What a refused START_REPLICATION means.
    async fn refused(&self, sql: &SqlClient, error: CommandError) -> Error {
        let slot = self.source.slot.clone();
        match error.server_error().map(|error| error.sqlstate) {
            Some(SqlState::OBJECT_IN_USE) => StreamError::SlotActive { slot, pid: None }.into(),
            Some(SqlState::UNDEFINED_OBJECT) => {
                StreamError::SlotMissing { slot, confirmed: self.confirmed }.into()
            }
            Some(state) if state.as_str() == "0A000" => StreamError::InRecovery.into(),
            Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => {
                let reason = error.to_string();
                let status = slot_status(sql, &slot).await.ok().flatten();
                let confirmed =
                    status.and_then(|status| status.confirmed_flush_lsn).or(self.confirmed);
                StreamError::SlotLost { slot, reason, confirmed, missed_bytes: 0 }.into()
            }
            _ => error.into(),
        }
    }

    /// How often to speak: three times within the server's patience.
    async fn intervals(&self, sql: &SqlClient) -> Result<Intervals> {
        const ASKED: &str =
            "select setting::bigint from pg_settings where name = 'wal_sender_timeout'";
        let row = sql.query_one(ASKED, &[]).await;
        let row = row.map_err(|error| SqlError::new("read wal_sender_timeout", error))?;
        let millis: i64 = row.get(0);
        let patience = u64::try_from(millis).ok().filter(|millis| *millis > 0);
        let Source { status_interval, silence_timeout, .. } = *self.source;
        let (status, silence) = match patience {
            // A server that has patience speaks while it works.
            Some(millis) => {
                (status_interval.min(Duration::from_millis(millis) / 3), silence_timeout)
            }
            None => (status_interval, self.silence),
        };
        Ok(Intervals { status: status.max(STATUS_MIN), silence: silence.max(SILENCE_MIN) })
    }

    /// The slot is ours now and cannot move any more: does it still stand where it has to?
    async fn check_again(&self, sql: &SqlClient, start: Lsn) -> Result<()> {
        let slot = self.source.slot.clone();
        let status = slot_status(sql, &slot).await?;
        match status.and_then(|status| status.confirmed_flush_lsn) {
            Some(slot_at) if slot_at > start => {
                Err(StreamError::Gap { slot, slot_at, needed: start }.into())
            }
            _ => Ok(()),
        }
    }
}

/// What a stream turned out to be.
struct Started {
    lineage: Lineage,
    start: Lsn,
    created: Option<Lsn>,
    format: Format,
    in_recovery: bool,
    sql: SqlClient,
}

/// How long the server may take to answer a question over SQL, unless it may be silent for less.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// However short its silence may be, an answer takes its time.
const ANSWER_TIMEOUT_MIN: Duration = Duration::from_secs(5);

/// What the server is going to say.
pub(super) struct Answer<T>(pub(super) Pin<Box<dyn Future<Output = Result<T>> + Send>>);

impl<T> std::fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

/// What the server answers to a few questions, in time.
pub(super) async fn answered<T>(
    action: &'static str,
    answers: impl Future<Output = Result<T>>,
) -> Result<T> {
    answered_within(ANSWER_TIMEOUT, action, answers).await
}

/// The same of a server that streams, and may be silent for `silence`: while it is asked, nobody
/// looks at its stream.
pub(super) async fn answered_while_streaming<T>(
    silence: Duration,
    action: &'static str,
    answers: impl Future<Output = Result<T>>,
) -> Result<T> {
    let timeout = silence.clamp(ANSWER_TIMEOUT_MIN, ANSWER_TIMEOUT);
    answered_within(timeout, action, answers).await
}

async fn answered_within<T>(
    timeout: Duration,
    action: &'static str,
    answers: impl Future<Output = Result<T>>,
) -> Result<T> {
    let seconds = timeout.as_secs();
    let answers = tokio::time::timeout(timeout, answers).await;
    answers.unwrap_or_else(|_| Err(StreamError::Unanswered { action, seconds }.into()))
}

/// Run the wire task beside a watch for the server's shutdown, which waits for us: a walsender
/// stays until everything sent is confirmed, while ordinary sessions are told at once.
async fn watched(
    driver: impl Future<Output = Result<(), DriverError>>,
    sql: Arc<SqlClient>,
    request: watch::Sender<Request>,
) -> Result<(), DriverError> {
    let mut driver = std::pin::pin!(driver);
    tokio::select! {
        ended = &mut driver => return ended,
        end = sql.closed() => {
            match end {
                Err(error) if is_shutdown(&error) => {
                    tracing::warn!("the server is shutting down: letting go of the slot");
                }
                // Without it nobody would tell us of a shutdown.
                end => tracing::warn!(?end, "the SQL connection is gone: connecting both again"),
            }
            request.send_replace(Request::Close);
        }
    }
    driver.await
}

async fn check_server(sql: &SqlClient) -> Result<()> {
    let major = sql.parameters().major_version();
    if major < 14 {
        return Err(StreamError::Version { major }.into());
    }
    let have = setting(sql, "wal_level").await?;
    if have != "logical" {
        return Err(StreamError::WalLevel { have }.into());
    }
    // Asked before the timeline is: a server that is promoted in between would be taken for one of
    // its old timeline.
    if major < 16 && is_in_recovery(sql).await? {
        return Err(StreamError::InRecovery.into());
    }
    Ok(())
}

async fn is_in_recovery(sql: &SqlClient) -> Result<bool> {
    let row = sql.query_one("select pg_is_in_recovery()", &[]).await;
    Ok(row.map_err(|error| SqlError::new("ask whether it is a standby", error))?.get(0))
}

/// Refuse a server that writes another timeline than `was`. Whether it is in recovery, and writes
/// none.
async fn check_timeline(sql: &SqlClient, was: Timeline) -> Result<bool> {
    const ASKED: &str = "select case when not pg_is_in_recovery()
        then left(pg_walfile_name(pg_current_wal_lsn()), 8) end";
    let row = sql.query_one(ASKED, &[]).await;
    let row = row.map_err(|error| SqlError::new("read its timeline", error))?;
    let Some(file) = row.get::<_, Option<String>>(0) else { return Ok(true) };
    match u32::from_str_radix(&file, 16).map(Timeline::new) {
        Ok(have) if have != was => Err(StreamError::Promoted { was, have: Some(have) }.into()),
        _ => Ok(false),
    }
}

/// Refuse a server that was in recovery and is no more: what it sent since is not of the timeline
/// `was`.
pub(super) async fn check_in_recovery(sql: &SqlClient, was: Timeline) -> Result<()> {
    match is_in_recovery(sql).await? {
        true => Ok(()),
        false => Err(StreamError::Promoted { was, have: None }.into()),
    }
}

async fn setting(sql: &SqlClient, name: &str) -> Result<String> {
    let row = sql.query_one("select current_setting($1)", &[&name]).await;
    Ok(row.map_err(|error| SqlError::new("read a setting", error))?.get(0))
}

async fn ensure_publications(sql: &SqlClient, source: &Source) -> Result<()> {
    let missing = missing_publications(sql, &source.publications).await?;
    if missing.is_empty() {
        return Ok(());
    }
    if source.create_publication == PublicationTables::Never {
        return Err(StreamError::PublicationMissing { names: missing, server: None }.into());
    }
    for name in &missing {
        create_publication(sql, name, &source.create_publication).await?;
        tracing::info!(publication = %name, "publication made");
    }
    Ok(())
}

/// The least of what may be asked for.
const STATUS_MIN: Duration = Duration::from_millis(10);
const SILENCE_MIN: Duration = Duration::from_secs(1);
