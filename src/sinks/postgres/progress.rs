//! Where the target stands: one row for each sink and source, written in the transaction that
//! brings the changes.
//!
//! Whoever applies owns the row. Opening a session raises its epoch, which waits for whatever the
//! session before still commits, and from then on nothing of that session can commit: each of its
//! transactions ends by writing the row under the epoch it knows. An applier that finds the row
//! owned by another one is fenced, and stays so.

use tokio_postgres::{Client, Statement, types::PgLsn};

use super::error::{PostgresSinkError, failed, kind_of, refusal};
use super::parameter::Parameters;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::{Timeline, quote_identifier};
use crate::sink::{OpenContext, SinkError, SinkErrorKind};
use crate::timestamp::Timestamp;

/// The row is updated with each group of transactions: room on its page keeps that cheap.
const TABLE: &str = "
create schema if not exists walcast;
create table if not exists walcast.progress (
    sink text not null,
    slot text not null,
    system_id text not null,
    end_lsn pg_lsn not null,
    timeline integer not null,
    commit_time timestamptz,
    epoch bigint not null,
    owner text not null,
    backend_pid integer not null,
    backend_start timestamptz not null,
    primary key (sink, slot, system_id)
) with (fillfactor = 20)";

/// A session that is gone for its client may not be gone for its server, and then holds locks on
/// rows. Where the right to end it is missing it ends by itself, or its locks are waited for.
const END_OTHERS: &str = "
select pg_terminate_backend(a.pid, 10000)
from walcast.progress p
join pg_stat_activity a on a.pid = p.backend_pid and a.backend_start = p.backend_start
where p.sink = $1 and p.slot = $2 and p.system_id = $3 and a.pid <> pg_backend_pid()
    and (p.owner = $4 or $5) and pg_has_role(a.usesysid, 'member')";

const TAKE: &str = "
insert into walcast.progress as p
    (sink, slot, system_id, end_lsn, timeline, epoch, owner, backend_pid, backend_start)
select $1::text, $2::text, $3::text, '0/0'::pg_lsn, $4::integer, 1, $5::text, pid, backend_start
from pg_stat_activity where pid = pg_backend_pid()
on conflict (sink, slot, system_id) do update
set epoch = p.epoch + 1, owner = excluded.owner, backend_pid = excluded.backend_pid,
    backend_start = excluded.backend_start
where p.owner = excluded.owner or $6::boolean
returning end_lsn, timeline, epoch";

const STORE: &str = "
update walcast.progress set end_lsn = $1, timeline = $2, commit_time = $3
where sink = $4 and slot = $5 and system_id = $6 and epoch = $7";

/// Whose progress it is.
#[derive(Debug, Clone)]
pub(super) struct Key {
    sink: String,
    slot: String,
    system_id: String,
}

/// Where the last transaction that the target holds ends, and when it was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) commit_lsn: Lsn,
    pub(super) end_lsn: Lsn,
    pub(super) commit_time: Timestamp,
}

/// The row, taken over by this session.
#[derive(Debug)]
pub(super) struct Progress {
    key: Key,
    epoch: i64,
    store: Statement,
    /// Where the target stood when it was taken.
    pub(super) start: Lsn,
}

/// Which applier takes the row, and whether it may take another one's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) owner: &'a str,
    pub(super) is_first: bool,
}

impl Key {
    pub(super) fn of(context: &OpenContext) -> Self {
        Self {
            sink: context.sink.to_string(),
            slot: context.slot.to_string(),
            system_id: context.lineage.system_id().as_u64().to_string(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sink, slot, system_id } = self;
        write!(f, "sink {sink} of slot {slot} of cluster {system_id}")
    }
}

impl Progress {
    /// Take the row, which is made when missing. The session commits synchronously: what is read
    /// here survives a crash of the target.
    pub(super) async fn take(
        sql: &Client,
        key: Key,
        lineage: &Lineage,
        claim: Claim<'_>,
    ) -> Result<Self, SinkError> {
        make_table(sql).await?;
        let Key { sink, slot, system_id } = &key;
        let Claim { owner, is_first } = claim;
        sql.execute(END_OTHERS, &[sink, slot, system_id, &owner, &is_first])
            .await
            .map_err(|error| failed("end the session of the applier before", error))?;
        let timeline = lineage.identity().timeline.as_u32().cast_signed();
        let row = sql
            .query_opt(TAKE, &[sink, slot, system_id, &timeline, &owner, &is_first])
            .await
            .map_err(|error| failed("hand over the row in walcast.progress", error))?;
        let Some(row) = row else { return Err(key.fenced()) };
        let read = |error| failed("answer what is in walcast.progress", error);
        let start = Lsn::new(u64::from(row.try_get::<_, PgLsn>(0).map_err(read)?));
        let timeline = Timeline::new(row.try_get::<_, i32>(1).map_err(read)?.cast_unsigned());
        if !lineage.holds(timeline, start) {
            let error = PostgresSinkError::Diverged { end: start, timeline };
            return Err(SinkError::fatal(error));
        }
        let epoch = row.try_get(2).map_err(read)?;
        let store = sql.prepare(STORE).await;
        let store = store.map_err(|error| failed("prepare the write of its progress", error))?;
        Ok(Self { key, epoch, store, start })
    }

    /// The statement that stores `reached`, which touches one row unless the session is fenced.
    pub(super) fn store(&self, reached: Reached, lineage: &Lineage) -> (Statement, Parameters) {
        let Reached { end_lsn, commit_time, .. } = reached;
        let timeline = lineage.timeline_of(end_lsn).as_u32();
        let mut parameters = Parameters::default();
        parameters.binary(&end_lsn.as_u64().to_be_bytes());
        parameters.binary(&timeline.to_be_bytes());
        parameters.binary(&commit_time.as_postgres_micros().to_be_bytes());
        for part in [&self.key.sink, &self.key.slot, &self.key.system_id] {
            parameters.text(part.as_bytes());
        }
        parameters.binary(&self.epoch.to_be_bytes());
        (self.store.clone(), parameters)
    }

    /// Somebody else owns the row.
    pub(super) fn fenced(&self) -> SinkError {
        self.key.fenced()
    }
}

impl Key {
    fn fenced(&self) -> SinkError {
        let error = PostgresSinkError::Fenced { key: self.to_string() };
        SinkError::new(SinkErrorKind::Fenced, error)
    }
}

async fn make_table(sql: &Client) -> Result<(), SinkError> {
    const LOOK: &str = "look for walcast.progress";
    let there = sql
        .query_one("select to_regclass('walcast.progress') is not null, current_user::text, current_database()::text", &[])
        .await
        .map_err(|error| failed(LOOK, error))?;
    let read = |error| failed(LOOK, error);
    if there.try_get::<_, bool>(0).map_err(read)? {
        return Ok(());
    }
    let Err(error) = sql.batch_execute(TABLE).await else { return Ok(()) };
    const MAKE: &str = "make the table walcast.progress";
    match refusal(&error) {
        Some(said) if said.sqlstate.as_str() == "42501" => {
            let user: String = there.try_get(1).map_err(read)?;
            let database: String = there.try_get(2).map_err(read)?;
            let (user, database) = (quote_identifier(&user), quote_identifier(&database));
            let fix = format!("GRANT CREATE ON DATABASE {database} TO {user}");
            let error = PostgresSinkError::NotPermitted { action: MAKE, said, fix };
            Err(SinkError::fatal(error))
        }
        // Another sink made it at the same moment.
        Some(said) if matches!(said.sqlstate.as_str(), "23505" | "42P06" | "42P07") => {
            Err(SinkError::unavailable(PostgresSinkError::Refused { action: MAKE, said }))
        }
        Some(said) => {
            let kind = kind_of(&said);
            Err(SinkError::new(kind, PostgresSinkError::Refused { action: MAKE, said }))
        }
        None => Err(failed(MAKE, error)),
    }
}
