//! A pipeline inside the test's process: started, watched, drained, and aborted when it drops.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use walcast::monitor::{Monitor, Status};
use walcast::shutdown::Trigger;
use walcast::sinks::file::FileSink;
use walcast::{Lsn, Pipeline, Shutdown, Source};

use super::primary::Primary;
use super::wait::eventually_async;

/// Enough for anything that is not the point of a test.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The slot and the publication that tests use.
pub(crate) const SLOT: &str = "s";
pub(crate) const PUBLICATION: &str = "p";

/// `p` through slot `s`, made when missing, with a status interval that tests can wait for.
pub(crate) fn source(url: &str) -> Source {
    let source = Source::new(url, SLOT, [PUBLICATION]).unwrap();
    source.create_slot(true).status_interval(Duration::from_secs(1))
}

/// Where one test keeps a pipeline's state and files.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A pipeline of `source` that keeps its state here, without sinks.
    pub(crate) fn pipeline(&self, source: Source) -> Pipeline {
        Pipeline::new(source, self.state())
    }

    /// The same with one JSON lines file, `out.jsonl`.
    pub(crate) fn to_file(&self, source: Source) -> Pipeline {
        self.pipeline(source).sink("out", FileSink::new(self.file("out.jsonl"))).unwrap()
    }
}

/// A pipeline at work; aborted on drop.
pub(crate) struct Running {
    task: JoinHandle<walcast::Result<()>>,
    trigger: Trigger,
    pub(crate) monitor: Monitor,
}

/// Runs `pipeline` on the caller's runtime.
pub(crate) fn start(pipeline: Pipeline) -> Running {
    // A failed test shows what the pipeline had to say. It is there already for the second one.
    let _ = tracing_subscriber::fmt().with_test_writer().with_ansi(false).try_init();
    let monitor = pipeline.monitor();
    let (trigger, shutdown) = Shutdown::new();
    Running { task: tokio::spawn(pipeline.run(shutdown)), trigger, monitor }
}

impl Running {
    /// Asks for the end in order, and waits for it.
    pub(crate) async fn drain(mut self) -> walcast::Result<()> {
        self.trigger.drain();
        self.ended(SOON).await
    }

    /// Waits for the end, whatever its reason.
    pub(crate) async fn end(mut self, deadline: Duration) -> walcast::Result<()> {
        self.ended(deadline).await
    }

    async fn ended(&mut self, deadline: Duration) -> walcast::Result<()> {
        let ended = tokio::time::timeout(deadline, &mut self.task).await;
        ended.unwrap_or_else(|_| panic!("the pipeline runs on after {deadline:?}")).unwrap()
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// The end as a crash would have it: nothing is proven any more.
    pub(crate) async fn abort(self) {
        self.task.abort();
        let mut this = self;
        let _ = (&mut this.task).await;
    }

    /// Waits until changes flow: from then on a broken connection is made again.
    pub(crate) async fn streams(&self) {
        self.status().await;
    }

    pub(crate) async fn status(&self) -> Status {
        eventually_async("the pipeline has a status", SOON, async || self.monitor.status().await)
            .await
    }

    /// Waits until `look` is content with the status.
    pub(crate) async fn wait_for_status(
        &self,
        what: &str,
        deadline: Duration,
        look: impl Fn(&Status) -> bool,
    ) {
        eventually_async(what, deadline, async || match self.monitor.status().await {
            Some(status) => look(&status),
            None => false,
        })
        .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the slot stands.
pub(crate) async fn slot_at(primary: &Primary) -> Option<Lsn> {
    let client = primary.client().await;
    let query = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1";
    let row = client.query_opt(query, &[&SLOT]).await.unwrap()?;
    Some(row.get::<_, String>(0).parse().unwrap())
}

/// Runs `pipeline` until its slot is made and its state saved.
pub(crate) async fn prepare(pipeline: Pipeline) {
    let running = start(pipeline);
    running.streams().await;
    running.drain().await.unwrap();
}

/// Waits until the slot has nothing left to stream of what the server has logged by now.
pub(crate) async fn caught_up(primary: &Primary, deadline: Duration) {
    let now = primary.query_one_text("select pg_current_wal_lsn()").unwrap();
    let condition = format!(
        "exists (select from pg_replication_slots where slot_name = '{SLOT}' and active
            and confirmed_flush_lsn >= '{now}')"
    );
    primary.wait_for_sql(&condition, deadline).await;
}
