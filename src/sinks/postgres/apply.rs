//! From the events of batches to transactions on the target.
//!
//! Whole transactions of the source that come together are applied in one of the target's, up to a
//! bound; one that comes in parts is applied in one of its own, which stays open between batches.
//! So whatever is committed is what the source had committed at some moment, and nothing else. Each
//! group ends by storing how far it reaches. Before it may commit, every answer has been looked at:
//! each update and delete has found its one row, and the progress is still ours.
//!
//! ```text
//!           first change               Commit
//!   Closed ───────────────► Open(None) ────────► Open(Some(reached)) ─┐ more of them
//!     ▲                                            │           ▲      │
//!     │      full, flush, or a part comes next     │           └──────┘
//!     └────────────────────────────────────────────┘
//! ```

use std::sync::Arc;

use tokio_postgres::Statement;

use super::describe;
use super::error::{FailedChange, PostgresSinkError, failed, refusal};
use super::outbox::{Outbox, Purpose, Unexpected};
use super::parameter::Parameters;
use super::progress::Reached;
use super::session::Session;
use super::statement::{Unwritable, compose};
use super::tables::{NoPlan, Tables};
use super::truncate::Emptied;
use crate::codec::value::TypeRegistry;
use crate::event::{Batch, Change, Event, Relation, Transaction, Truncate};
use crate::lineage::Lineage;
use crate::lsn::{Lsn, Position};
use crate::sink::{OpenContext, SinkError, SinkErrorKind};

/// A group is full with this many statements: its locks have been held long enough.
const GROUP_STATEMENTS_MAX: usize = 4096;

/// See the [module](self).
pub(super) struct Applier {
    session: Session,
    outbox: Outbox,
    tables: Tables,
    types: Arc<TypeRegistry>,
    lineage: Arc<Lineage>,
    group: Group,
    /// Tables of one TRUNCATE, the last of which may not have come.
    emptied: Vec<Emptied>,
    /// The last transaction whose commit is not proven to be on disk.
    unproven: Option<Reached>,
    /// Up to here each transaction is a group of its own, because some were refused together.
    one_by_one: Option<Lsn>,
    /// The end of those that were refused together, once some were.
    pub(super) refused_through: Option<Lsn>,
}

/// The transaction that is open on the target.
#[derive(Debug, Clone, Copy)]
enum Group {
    Closed,
    Open {
        /// The last transaction of the source that is in it as a whole.
        reached: Option<Reached>,
        statements: usize,
    },
}

/// How a group ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    /// A crash of the target may undo it, and all after it.
    Soon,
    /// It, and all before it, is on disk.
    Proven,
}

impl Applier {
    pub(super) fn new(session: Session, context: &OpenContext, one_by_one: Option<Lsn>) -> Self {
        Self {
            outbox: Outbox::new(Arc::clone(&session.sql)),
            session,
            tables: Tables::default(),
            types: Arc::clone(&context.types),
            lineage: Arc::clone(&context.lineage),
            group: Group::Closed,
            emptied: Vec::new(),
            unproven: None,
            one_by_one,
            refused_through: None,
        }
    }

    /// Send what `batch` holds.
    pub(super) async fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.tables.forget_addresses();
        for (at, event) in batch.events().enumerate() {
            let continues = matches!(event, Event::Truncate(next)
                if self.emptied.first().is_some_and(|first| first.lsn == next.lsn()));
            if !continues && !self.emptied.is_empty() {
                self.truncate().await?;
            }
            match event {
                Event::Begin(transaction) => self.begin(transaction).await?,
                Event::Change(change) => self.change(batch, at, change).await?,
                Event::Truncate(next) => self.emptied(batch, at, next).await?,
                Event::Commit(transaction) => self.whole(transaction).await?,
                Event::SchemaChange(_) | Event::Message(_) => {}
            }
        }
        Ok(())
    }

    /// Commit whole transactions, and wait until all that was committed is on disk.
    pub(super) async fn flush(&mut self) -> Result<(), SinkError> {
        if let Group::Open { reached: Some(reached), .. } = self.group {
            return self.commit(reached, Commit::Proven).await;
        }
        // A part of a transaction stays open. What is wrong with it is told now.
        self.drain().await?;
        match (self.group, self.unproven) {
            (Group::Closed, Some(reached)) => self.commit_again(reached).await,
            // Everything before a part was proven when the part began.
            _ => Ok(()),
        }
    }

    /// Say goodbye. What is open is rolled back.
    pub(super) async fn close(self) {
        let Self { session, outbox, .. } = self;
        drop(outbox);
        if let Some(sql) = Arc::into_inner(session.sql) {
            sql.close().await;
        }
    }

    async fn begin(&mut self, transaction: Transaction<'_>) -> Result<(), SinkError> {
        if transaction.end_lsn().is_some() {
            return Ok(());
        }
        // A part: it cannot be committed with what came before it, nor before its end.
        self.flush().await
    }

    async fn whole(&mut self, transaction: Transaction<'_>) -> Result<(), SinkError> {
        let (Group::Open { reached, statements }, Some(end_lsn)) =
            (&mut self.group, transaction.end_lsn())
        else {
            // Nothing in it was for this sink.
            return Ok(());
        };
        let now = Reached {
            commit_lsn: transaction.commit_lsn(),
            end_lsn,
            commit_time: transaction.commit_time(),
        };
        *reached = Some(now);
        let is_full = *statements >= GROUP_STATEMENTS_MAX;
        if is_full || self.one_by_one.is_some_and(|through| end_lsn <= through) {
            self.commit(now, Commit::Soon).await?;
        }
        Ok(())
    }

    async fn change(
        &mut self,
        batch: &Batch,
        at: usize,
        change: Change<'_>,
    ) -> Result<(), SinkError> {
        let place = match self.tables.place_of(change.relation()) {
            Some(place) => place,
            None => self.meet(change.relation(), describe::change(change, &self.types)).await?,
        };
        let composed = compose(&self.tables.at(place).plan, change);
        let composed = composed.map_err(|why| unwritable(change, why, &self.types))?;
        let Some(composed) = composed else { return Ok(()) };
        let sql = Arc::clone(&self.session.sql);
        let statement = match self.tables.prepared(&sql, place, &composed.shape).await {
            Ok(statement) => statement,
            Err(error) => {
                // In a transaction that has failed, what failed first is the reason.
                self.drain().await?;
                return Err(refused(describe::change(change, &self.types), error));
            }
        };
        let purpose = Purpose::Change { batch: batch.clone(), event: at, rows: Some(1) };
        self.send(purpose, statement, composed.parameters).await
    }

    async fn send(
        &mut self,
        purpose: Purpose,
        statement: Statement,
        parameters: Parameters,
    ) -> Result<(), SinkError> {
        self.open_group();
        self.outbox.prepared(purpose, statement, parameters);
        let room = self.outbox.make_room().await;
        room.map_err(|unexpected| self.explain(unexpected))
    }

    fn open_group(&mut self) {
        match &mut self.group {
            Group::Open { statements, .. } => *statements += 1,
            Group::Closed => {
                self.outbox.text(Purpose::Begin, "BEGIN".to_owned());
                self.group = Group::Open { reached: None, statements: 1 };
            }
        }
    }

    /// Take note of an emptied table. Those of one TRUNCATE may refer to each other: they are
    /// emptied together, once all are known.
    async fn emptied(
        &mut self,
        batch: &Batch,
        at: usize,
        next: Truncate<'_>,
    ) -> Result<(), SinkError> {
        let place = match self.tables.place_of(next.relation()) {
            Some(place) => place,
            None => self.meet(next.relation(), describe::truncate(next)).await?,
        };
        self.emptied.push(Emptied::new(batch, at, place, next));
        Ok(())
    }

    async fn truncate(&mut self) -> Result<(), SinkError> {
        let emptied = std::mem::take(&mut self.emptied);
        let Some(first) = emptied.first() else { return Ok(()) };
        self.open_group();
        let sql = first.sql(emptied.iter().map(|it| &self.tables.at(it.place).plan));
        let (batch, event) = (first.batch.clone(), first.event);
        self.outbox.text(Purpose::Change { batch, event, rows: None }, sql);
        Ok(())
    }

    /// Look a table up at its first change, which is told as `failed` when it cannot be applied.
    async fn meet(
        &mut self,
        relation: &Relation,
        failed: FailedChange,
    ) -> Result<usize, SinkError> {
        let met = self.tables.meet(&self.session.sql, relation, &self.types).await;
        let why = match met {
            Ok(place) => return Ok(place),
            Err(why) => why,
        };
        let kind = SinkErrorKind::Rejected(failed.position);
        let change = Box::new(failed);
        let error = match why {
            NoPlan::Missing => PostgresSinkError::TableMissing { change },
            NoPlan::NoTable => PostgresSinkError::NoTable { change },
            NoPlan::Lacks(column) => PostgresSinkError::ColumnMissing { change, column },
            NoPlan::Asking(error) => {
                self.drain().await?;
                return Err(refused(*change, error));
            }
        };
        Err(SinkError::new(kind, error))
    }

    async fn commit(&mut self, reached: Reached, how: Commit) -> Result<(), SinkError> {
        if let Some(mark) = &self.session.mark {
            let mut time = Parameters::default();
            time.binary(&reached.commit_time.as_postgres_micros().to_be_bytes());
            self.outbox.prepared(Purpose::Begin, mark.clone(), time);
        }
        let (store, parameters) = self.session.progress.store(reached, &self.lineage);
        self.outbox.prepared(Purpose::Progress, store, parameters);
        // Nothing may commit before every row was found and the progress is known to be ours.
        self.drain().await?;
        let text = match how {
            Commit::Soon => "COMMIT",
            Commit::Proven => "SET LOCAL synchronous_commit = local; COMMIT",
        };
        self.outbox.text(Purpose::Commit, text.to_owned());
        let ended = self.outbox.drain().await;
        ended.map_err(|unexpected| self.explain(unexpected))?;
        self.group = Group::Closed;
        self.unproven = match how {
            Commit::Soon => Some(reached),
            Commit::Proven => None,
        };
        Ok(())
    }

    /// Commit no more than `reached`, which is committed already, for the wait on the disk.
    async fn commit_again(&mut self, reached: Reached) -> Result<(), SinkError> {
        self.open_group();
        self.commit(reached, Commit::Proven).await
    }

    async fn drain(&mut self) -> Result<(), SinkError> {
        let drained = self.outbox.drain().await;
        drained.map_err(|unexpected| self.explain(unexpected))
    }

    /// What an answer means that is not what it has to be.
    fn explain(&mut self, unexpected: Unexpected) -> SinkError {
        let Unexpected { purpose, answer } = unexpected;
        match (purpose, answer) {
            (Purpose::Change { batch, event, .. }, answer) => {
                let Some(change) = describe::event(&batch, event, &self.types) else {
                    return SinkError::fatal(PostgresSinkError::NotOpen);
                };
                match answer {
                    Err(error) => refused(change, error),
                    Ok(found) => {
                        let kind = SinkErrorKind::Rejected(change.position);
                        let change = Box::new(change);
                        SinkError::new(kind, PostgresSinkError::Rows { change, found })
                    }
                }
            }
            (Purpose::Progress, Ok(_)) => self.session.progress.fenced(),
            (Purpose::Progress, Err(error)) => failed("store its progress", error),
            (Purpose::Begin, Err(error)) => failed("begin a transaction", error),
            (Purpose::Commit, Err(error)) => self.not_committed(error),
            (Purpose::Begin | Purpose::Commit, Ok(_)) => {
                SinkError::fatal(PostgresSinkError::NotOpen)
            }
        }
    }

    fn not_committed(&mut self, error: tokio_postgres::Error) -> SinkError {
        let said = refusal(&error).filter(|said| !said.is_transient());
        let (Some(said), Group::Open { reached: Some(reached), .. }) = (said, self.group) else {
            return failed("commit", error);
        };
        if self.one_by_one.is_some_and(|through| reached.end_lsn <= through) {
            let commit_lsn = reached.commit_lsn;
            let position = Position::Logged { commit_lsn, index: 1 };
            let error = PostgresSinkError::Commit { commit_lsn, said };
            return SinkError::new(SinkErrorKind::Rejected(position), error);
        }
        let through = reached.end_lsn;
        self.refused_through = Some(through);
        SinkError::unavailable(PostgresSinkError::Together { through, said })
    }
}

/// The target refused a change, or the connection broke over it.
fn refused(change: FailedChange, error: tokio_postgres::Error) -> SinkError {
    let Some(said) = refusal(&error) else {
        return SinkError::unavailable(PostgresSinkError::Broken(error));
    };
    let kind = match said.is_transient() {
        true => SinkErrorKind::Unavailable,
        false => SinkErrorKind::Rejected(change.position),
    };
    SinkError::new(kind, PostgresSinkError::Change { change: Box::new(change), said })
}

/// There is no statement for a change.
fn unwritable(change: Change<'_>, why: Unwritable, types: &TypeRegistry) -> SinkError {
    let name = |at: usize| change.relation().columns.get(at).map(|column| column.name.clone());
    let kind = SinkErrorKind::Rejected(change.position());
    let described = Box::new(describe::change(change, types));
    let error = match why {
        Unwritable::KeyMissing(at) => PostgresSinkError::KeyMissing {
            change: described,
            column: name(at).unwrap_or_default(),
        },
        Unwritable::Value(at, fault) => PostgresSinkError::Value {
            change: described,
            column: name(at).unwrap_or_default(),
            fault,
        },
    };
    SinkError::new(kind, error)
}
