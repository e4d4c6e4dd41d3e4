//! From the events of batches to transactions on the target.
//!
//! Whole transactions of the source that come together are applied in one of the target's, up to a
//! bound; one that comes in parts is applied in one of its own, which stays open between batches.
//! So whatever is committed is what the source had committed at some moment, and nothing else. Each
//! group ends by storing how far it reaches. Before it may commit, every answer has been looked at:
//! each row was found, and the progress is still ours. While the target works on one group the next
//! one is gathered.
//!
//! Where that changes nothing but the cost, the rows of a group are merged and written together.
//! What is refused together comes again and is applied change by change, so that what is wrong is
//! named, and what is only wrong together is not.
//!
//! ```text
//!          first statement        full, flush          answers looked at, COMMIT
//!   Idle ──────────────────► Begun ────────────► Sealed ─────────────────────────► Idle
//!                            (a part stays so between batches)
//! ```

use std::sync::Arc;

use tokio_postgres::Statement;

use super::describe;
use super::error::{FailedChange, PostgresSinkError, Together, failed, refusal};
use super::merged::{Merged, Taken};
use super::outbox::{Outbox, Purpose, Unexpected};
use super::parameter::Parameters;
use super::plan::Merging;
use super::progress::Reached;
use super::run::runs;
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
/// A group is full with merged rows of this many bytes.
const GROUP_BYTES_MAX: usize = 1024 * 1024;

/// See the [module](self).
pub(super) struct Applier {
    session: Session,
    outbox: Outbox,
    tables: Tables,
    types: Arc<TypeRegistry>,
    lineage: Arc<Lineage>,
    merged: Merged,
    target: Target,
    /// The last transaction of the source that the group at hand holds as a whole.
    reached: Option<Reached>,
    /// Tables of one TRUNCATE, the last of which may not have come.
    emptied: Vec<Emptied>,
    /// The last transaction whose commit is not proven to be on disk.
    unproven: Option<Reached>,
    /// The transaction whose changes came last.
    current: Lsn,
    /// Up to this transaction each is a group of its own and nothing is merged, because some were
    /// refused together.
    one_by_one: Option<Lsn>,
    /// The last of those that were refused together, once some were.
    pub(super) refused_through: Option<Lsn>,
}

/// What is open on the target.
#[derive(Debug, Clone, Copy)]
enum Target {
    Idle,
    Begun {
        statements: usize,
    },
    /// Everything is sent but the COMMIT.
    Sealed(Reached),
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
            merged: Merged::default(),
            target: Target::Idle,
            reached: None,
            emptied: Vec::new(),
            unproven: None,
            current: Lsn::new(0),
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
                // Shapes are looked up when they are met; nothing else is for tables.
                _ => {}
            }
        }
        Ok(())
    }

    /// Commit whole transactions, and wait until all that was committed is on disk.
    pub(super) async fn flush(&mut self) -> Result<(), SinkError> {
        if let Some(reached) = self.reached {
            self.seal(reached).await?;
        }
        match (self.target, self.unproven) {
            (Target::Sealed(reached), _) => self.commit(reached, Commit::Proven).await,
            (Target::Idle, Some(reached)) => {
                // Committed already: once more, for the wait on the disk.
                self.seal(reached).await?;
                self.commit(reached, Commit::Proven).await
            }
            // Of a part nothing is committed, and all before it was proven when it began. What is
            // wrong with it is told now.
            _ => self.drain().await,
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
        self.current = transaction.commit_lsn();
        if transaction.end_lsn().is_some() {
            return Ok(());
        }
        // A part: it cannot be committed with what came before it, nor before its end.
        self.flush().await
    }

    async fn whole(&mut self, transaction: Transaction<'_>) -> Result<(), SinkError> {
        let is_empty = self.merged.weight() == 0 && !matches!(self.target, Target::Begun { .. });
        let Some(end_lsn) = transaction.end_lsn().filter(|_| !is_empty) else {
            // Nothing in it was for this sink.
            return Ok(());
        };
        let (commit_lsn, commit_time) = (transaction.commit_lsn(), transaction.commit_time());
        let reached = Reached { commit_lsn, end_lsn, commit_time };
        self.reached = Some(reached);
        if self.is_one_by_one() {
            self.seal(reached).await?;
            self.commit(reached, Commit::Soon).await?;
            return self.drain().await;
        }
        let is_long = matches!(self.target, Target::Begun { statements }
            if statements >= GROUP_STATEMENTS_MAX);
        if is_long || self.merged.weight() >= GROUP_BYTES_MAX {
            self.seal(reached).await?;
        }
        Ok(())
    }

    /// Whether the transaction at hand is applied change by change.
    fn is_one_by_one(&self) -> bool {
        self.one_by_one.is_some_and(|through| self.current <= through)
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
        let plan = &self.tables.at(place).plan;
        if plan.merging != Merging::Never && !self.is_one_by_one() {
            let taken = self.merged.add(place, plan, change);
            if taken.map_err(|why| unwritable(change, why, &self.types))? == Taken::Yes {
                if self.merged.weight() >= 2 * GROUP_BYTES_MAX {
                    self.write_merged().await?;
                }
                return Ok(());
            }
            self.write_table(place).await?;
        }
        let composed = compose(&self.tables.at(place).plan, change);
        let composed = composed.map_err(|why| unwritable(change, why, &self.types))?;
        let Some(composed) = composed else { return Ok(()) };
        self.ready_target().await?;
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

    /// Write what the merged rows of all tables come to.
    async fn write_merged(&mut self) -> Result<(), SinkError> {
        for place in self.merged.places() {
            self.write_table(place).await?;
        }
        Ok(())
    }

    async fn write_table(&mut self, place: usize) -> Result<(), SinkError> {
        let rows = self.merged.take_out(place);
        let runs = runs(&self.tables.at(place).plan, &rows);
        // One by one it will be known which change it is.
        let runs = runs.map_err(|_| self.refused_together(Together::Unreadable))?;
        for run in runs {
            self.ready_target().await?;
            let sql = Arc::clone(&self.session.sql);
            let statement = match self.tables.prepared_run(&sql, place, &run.shape).await {
                Ok(statement) => statement,
                Err(error) => {
                    self.drain().await?;
                    return Err(self.run_refused(Err(error)));
                }
            };
            self.send(Purpose::Run { rows: run.rows }, statement, run.parameters).await?;
        }
        Ok(())
    }

    /// Send a statement of the group at hand.
    async fn send(
        &mut self,
        purpose: Purpose,
        statement: Statement,
        parameters: Parameters,
    ) -> Result<(), SinkError> {
        if let Target::Begun { statements } = &mut self.target {
            *statements += 1;
        }
        self.outbox.prepared(purpose, statement, parameters);
        let room = self.outbox.make_room().await;
        room.map_err(|unexpected| self.explain(unexpected))
    }

    /// Have a transaction open, after the one before is committed.
    async fn ready_target(&mut self) -> Result<(), SinkError> {
        if let Target::Sealed(reached) = self.target {
            self.commit(reached, Commit::Soon).await?;
        }
        if let Target::Idle = self.target {
            self.outbox.text(Purpose::Begin, "BEGIN".to_owned());
            self.target = Target::Begun { statements: 0 };
        }
        Ok(())
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
        self.write_merged().await?;
        self.ready_target().await?;
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
        // What is merged is of the tables as they were.
        self.write_merged().await?;
        let triggers = self.session.triggers;
        let met = self.tables.meet(&self.session.sql, relation, &self.types, triggers).await;
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

    /// Send all of the group at hand but its COMMIT.
    async fn seal(&mut self, reached: Reached) -> Result<(), SinkError> {
        self.write_merged().await?;
        self.ready_target().await?;
        if let Some(mark) = &self.session.mark {
            let mut time = Parameters::default();
            time.binary(&reached.commit_time.as_postgres_micros().to_be_bytes());
            self.outbox.prepared(Purpose::Begin, mark.clone(), time);
        }
        let (store, parameters) = self.session.progress.store(reached, &self.lineage);
        self.outbox.prepared(Purpose::Progress, store, parameters);
        self.target = Target::Sealed(reached);
        self.reached = None;
        Ok(())
    }

    /// Commit the group that is sealed.
    async fn commit(&mut self, reached: Reached, how: Commit) -> Result<(), SinkError> {
        // Nothing may commit before every row was found and the progress is known to be ours.
        self.drain().await?;
        let text = match how {
            Commit::Soon => "COMMIT",
            Commit::Proven => "SET LOCAL synchronous_commit = local; COMMIT",
        };
        self.outbox.text(Purpose::Commit(reached), text.to_owned());
        self.target = Target::Idle;
        self.unproven = Some(reached);
        if how == Commit::Proven {
            self.drain().await?;
            self.unproven = None;
        }
        Ok(())
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
            (Purpose::Run { .. }, answer) => self.run_refused(answer),
            (Purpose::Progress, Ok(_)) => self.session.progress.fenced(),
            (Purpose::Progress, Err(error)) => failed("store its progress", error),
            (Purpose::Begin, Err(error)) => failed("begin a transaction", error),
            (Purpose::Commit(reached), Err(error)) => self.not_committed(reached, error),
            (Purpose::Begin | Purpose::Commit(_), Ok(_)) => {
                SinkError::fatal(PostgresSinkError::NotOpen)
            }
        }
    }

    fn not_committed(&mut self, reached: Reached, error: tokio_postgres::Error) -> SinkError {
        let Some(said) = refusal(&error).filter(|said| !said.is_transient()) else {
            return failed("commit", error);
        };
        let commit_lsn = reached.commit_lsn;
        if self.one_by_one.is_none_or(|through| commit_lsn > through) {
            return self.refused_together(Together::Said(said));
        }
        let position = Position::Logged { commit_lsn, index: 1 };
        let error = PostgresSinkError::Commit { commit_lsn, said };
        SinkError::new(SinkErrorKind::Rejected(position), error)
    }

    fn run_refused(&mut self, answer: Result<u64, tokio_postgres::Error>) -> SinkError {
        match answer {
            Ok(found) => self.refused_together(Together::Found(found)),
            Err(error) => match refusal(&error) {
                Some(said) if !said.is_transient() => self.refused_together(Together::Said(said)),
                _ => failed("apply changes", error),
            },
        }
    }

    /// What came together is not taken. It comes again, one by one.
    fn refused_together(&mut self, why: Together) -> SinkError {
        let through = self.current;
        self.refused_through = Some(through);
        SinkError::unavailable(PostgresSinkError::Together { through, why })
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
