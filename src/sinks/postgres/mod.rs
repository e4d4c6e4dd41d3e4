//! A sink that applies changes to the tables of another PostgreSQL: a replica over SQL.
//!
//! Tables are matched by schema and name, columns by name. How far the target is stands in its
//! table `walcast.progress` and is written in the transaction that brings the changes, so each
//! change is applied once, whatever is killed when, and the target is at every moment what the
//! source had committed at some moment. A large value that an update left alone is not touched;
//! an update or delete that does not find its row is an error, never an insert and never nothing.
//!
//! ```text
//! batch ─► apply ─► statement ─► outbox ─► target     open: session ─► progress
//!            │          ▲                     │                          (fence, cursor)
//!            ▼          │                     ▼
//!          tables ─► plan ◄─ target ◄──── catalogue
//! ```

mod apply;
mod describe;
mod error;
mod merged;
mod outbox;
mod parameter;
mod plan;
mod progress;
mod run;
mod session;
mod statement;
mod tables;
mod target;
mod truncate;

use std::fmt;

pub use error::{FailedChange, PostgresSinkError, Together};

use self::apply::Applier;
use self::progress::Claim;
use self::session::Session;
use crate::event::Batch;
use crate::lsn::Lsn;
use crate::net::ConnectConfig;
use crate::sink::{OpenContext, Resume, Sink, SinkError};

/// See the [module](self).
///
/// ```no_run
/// use walcast::net::ConnectConfig;
/// use walcast::sinks::PostgresSink;
/// use walcast::{Pipeline, Source};
///
/// # fn main() -> walcast::Result<()> {
/// let target: ConnectConfig = "postgres://walcast@replica/shop".parse()?;
/// let source = Source::new("postgres://walcast@db1/shop", "walcast", ["shop"])?;
/// let pipeline = Pipeline::new(source, "./state").sink("replica", PostgresSink::new(target))?;
/// # Ok(())
/// # }
/// ```
pub struct PostgresSink {
    connect: ConnectConfig,
    /// Tells the progress this one stores from another applier's.
    owner: String,
    /// Whether the progress was taken once: from then on, who takes it is another applier.
    is_owner: bool,
    /// Up to here transactions are applied one by one.
    one_by_one: Option<Lsn>,
    applier: Option<Applier>,
}

impl PostgresSink {
    /// A sink that applies to the database that `connect` leads to.
    pub fn new(connect: ConnectConfig) -> Self {
        let owner = format!("{:032x}", rand::random::<u128>());
        Self { connect, owner, is_owner: false, one_by_one: None, applier: None }
    }

    fn applier(&mut self) -> Result<&mut Applier, SinkError> {
        self.applier.as_mut().ok_or_else(|| SinkError::fatal(PostgresSinkError::NotOpen))
    }

    /// After an error nothing more goes over the session, and what is open on it is rolled back.
    fn judge(&mut self, done: Result<(), SinkError>) -> Result<(), SinkError> {
        if done.is_err()
            && let Some(applier) = self.applier.take()
        {
            self.one_by_one = self.one_by_one.max(applier.refused_through);
        }
        done
    }
}

impl Sink for PostgresSink {
    async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        self.applier = None;
        let claim = Claim { owner: &self.owner, is_first: !self.is_owner };
        let session = Session::open(&self.connect, context, claim).await?;
        self.is_owner = true;
        let start = session.progress.start;
        self.applier = Some(Applier::new(session, context, self.one_by_one));
        Ok(Resume::After(start))
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        let written = self.applier()?.write(&batch).await;
        self.judge(written)
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        let flushed = self.applier()?.flush().await;
        self.judge(flushed)
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        if let Some(applier) = self.applier.take() {
            applier.close().await;
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSink")
            .field("connect", &self.connect)
            .field("is_open", &self.applier.is_some())
            .finish_non_exhaustive()
    }
}
