//! The demo from beginning to end: the stage is set, the shop opens, the pipeline is killed and
//! started again, the shop closes, and the books are compared.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use walcast::net::SqlClient;
use walcast::{Error, Lsn, SlotName};

use super::Args;
use super::error::DemoError;
use super::owner::Owner;
use super::programs::Programs;
use super::result::{Downtime, Result as Told};
use super::screen::Screen;
use super::server::{Plan, Server, free_port, sql_failed};
use super::shop::Shop;
use super::tether::Tether;
use super::worker::{Recipe, Worker};
use super::{live, pipeline, shop, verdict};
use crate::human::{Bytes, Count, Span};
use crate::paint::Ink;

/// How often the lag is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How long catching up may take.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest path of a directory that a Unix socket fits below.
const SOCKET_DIRECTORY_MAX: usize = 60;

/// Tell it; whether all was as it should be.
pub(super) async fn tell(args: &Args) -> Result<bool, Error> {
    let screen = Screen::new();
    let programs = Programs::find()?;
    let port = free_port(args.port)?;
    let (root, owner) = directory()?;
    // Whatever is made below is dropped before this, which then removes what is left.
    let _removed = Tether::directory(&root)?;
    let major = programs.major;
    screen.say(&format!("starting two throwaway PostgreSQL {major} servers …"));
    let plan = |name, port| {
        let (programs, root) = (programs.clone(), root.clone());
        Plan { name, programs, owner, root, port }.start()
    };
    let (primary, replica) = tokio::try_join!(plan("primary", Some(port)), plan("replica", None))?;
    let password = format!("{:016x}", rand::random::<u64>());
    shop::furnish(&primary, &replica, &password).await?;
    let sql = primary.sql("shop").await?;
    verdict::call_witness(&sql).await?;
    introduce(&screen, major, &primary, &password);
    let recipe = Recipe {
        source: primary.connect("shop"),
        target: replica.connect("shop"),
        directory: root.clone(),
        colours: screen.paint().shows(),
    };
    let play = Play { screen: &screen, sql: &sql, recipe: &recipe, primary: &primary };
    let told = play.perform(Duration::from_secs(args.seconds)).await;
    screen.settle();
    let (downtime, rolled_back) = told?;
    let told = Told {
        tables: verdict::tables(&sql, &replica.sql("shop").await?).await?,
        file: verdict::file(&sql, &pipeline::lines(&root)).await?,
        downtime,
        rolled_back,
    };
    screen.say(&told.drawn(screen.paint()));
    if let Some(keep) = &args.keep {
        keep_file(&pipeline::lines(&root), keep)?;
        screen.say(&format!("  kept: {}", keep.display()));
    }
    Ok(told.is_good())
}

fn introduce(screen: &Screen, major: u32, primary: &Server, password: &str) {
    let url = format!("postgres://demo:{password}@127.0.0.1:{}/shop", primary.port());
    let title = screen.paint().ink(Ink::Bold, "walcast demo");
    screen.say(&format!(
        "
{title}

  A shop works on a PostgreSQL {major}. walcast reads what it commits from a
  replication slot and feeds
    · this terminal: a transaction now and then, for you to follow
    · a file of JSON lines
    · a second PostgreSQL

  Change something yourself while it runs:
    psql '{url}'
"
    ));
}

/// The demo's directory, and the user for the servers in it: where temporary files go, unless that
/// is too long for a socket or closed to that user.
fn directory() -> Result<(PathBuf, Owner), DemoError> {
    let usual = std::env::temp_dir();
    if usual.as_os_str().len() <= SOCKET_DIRECTORY_MAX {
        let (root, owner) = directory_in(&usual)?;
        if owner.can_enter(&root) {
            return Ok((root, owner));
        }
        // It is empty; left behind, it does no harm.
        let _ = std::fs::remove_dir(&root);
    }
    directory_in(Path::new("/tmp"))
}

fn directory_in(parent: &Path) -> Result<(PathBuf, Owner), DemoError> {
    let failed = |source| {
        let path = parent.to_owned();
        DemoError::File { operation: "make a directory in", path, source }
    };
    let made = tempfile::Builder::new().prefix("walcast-demo-").tempdir_in(parent);
    let root = made.map_err(failed)?.keep();
    std::fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).map_err(failed)?;
    // Whoever made it is who we are.
    let uid = std::fs::metadata(&root).map_err(failed)?.uid();
    Ok((root, Owner::of_process(uid)?))
}

fn keep_file(from: &Path, to: &Path) -> Result<(), DemoError> {
    let failed = |source| DemoError::File { operation: "write", path: to.to_owned(), source };
    std::fs::copy(from, to).map(drop).map_err(failed)
}

/// What goes on between the opening of the shop and its close.
struct Play<'a> {
    screen: &'a Screen,
    sql: &'a SqlClient,
    recipe: &'a Recipe,
    primary: &'a Server,
}

impl Play<'_> {
    /// Play for `length`; what became of the killed pipeline, and how many transactions were rolled
    /// back.
    async fn perform(&self, length: Duration) -> Result<(Downtime, u64), Error> {
        let mut worker = self.recipe.start(self.screen)?;
        self.wait_for(&mut worker, Lsn::new(0)).await?;
        let mut shop = Shop::open(self.primary).await?;
        let begun = Instant::now();
        self.screen.scene("the shop opens: orders, payments, cancellations; some are rolled back");
        self.watch(&mut worker, &shop, begun + length.mul_f64(0.4)).await?;

        let (pid, killed) = (worker.pid(), Instant::now());
        let committed = shop.committed();
        worker.kill();
        self.screen.scene(&format!("kill -9 {pid}: the pipeline is dead, the shop stays open"));
        self.watch_dead(&shop, committed, killed + length.mul_f64(0.15)).await?;

        let (behind, end) = self.behind().await?;
        let waiting = shop.committed() - committed;
        let dead = killed.elapsed();
        self.screen.scene(&format!(
            "the pipeline starts again; {} transactions ({}) wait for it",
            Count(waiting),
            Bytes(behind)
        ));
        let restarted = Instant::now();
        let mut worker = self.recipe.start(self.screen)?;
        self.catch_up(&mut worker, &shop, end).await?;
        let downtime = Downtime { dead, waiting, caught_up: restarted.elapsed() };
        self.screen.scene(&format!(
            "caught up {} after the restart: nothing waits any more",
            Span(downtime.caught_up)
        ));
        self.watch(&mut worker, &shop, begun + length).await?;

        shop.close().await?;
        self.screen.scene("the shop closes; what is under way arrives, then the pipeline drains");
        let (_, end) = self.behind().await?;
        self.catch_up(&mut worker, &shop, end).await?;
        worker.drain().await?;
        self.screen.scene("drained; comparing row by row");
        Ok((downtime, shop.rolled_back()))
    }

    /// Show the lag until `end`.
    async fn watch(&self, worker: &mut Worker, shop: &Shop, end: Instant) -> Result<(), Error> {
        while Instant::now() < end {
            if let Some(status) = worker.status().await? {
                self.screen.live(&live::running(&status, shop.committed()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Show how much waits in the slot until `end`.
    async fn watch_dead(&self, shop: &Shop, committed: u64, end: Instant) -> Result<(), Error> {
        let begun = Instant::now();
        while Instant::now() < end {
            let (behind, _) = self.behind().await?;
            let waiting = shop.committed() - committed;
            self.screen.live(&live::dead(shop.committed(), behind, begun.elapsed(), waiting));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Show the lag until everything before `lsn` has arrived.
    async fn catch_up(&self, worker: &mut Worker, shop: &Shop, lsn: Lsn) -> Result<(), Error> {
        let begun = Instant::now();
        while begun.elapsed() < CATCH_UP_TIMEOUT {
            if let Some(status) = worker.status().await? {
                self.screen.live(&live::running(&status, shop.committed()));
                if live::has_passed(&status, lsn) {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(worker.late().into())
    }

    /// Wait until the pipeline streams.
    async fn wait_for(&self, worker: &mut Worker, lsn: Lsn) -> Result<(), Error> {
        let begun = Instant::now();
        while begun.elapsed() < CATCH_UP_TIMEOUT {
            if worker.status().await?.is_some_and(|status| live::has_passed(&status, lsn)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(worker.late().into())
    }

    /// How much log waits in the slot, and where the log ends.
    async fn behind(&self) -> Result<(u64, Lsn), Error> {
        let slot = SlotName::new(pipeline::SLOT)
            .map_err(|error| Error::permanent(walcast::ErrorKind::Config, error))?;
        let status = walcast::slot::slot_status(self.sql, &slot).await?;
        let flushed = self.sql.query_one("select pg_current_wal_flush_lsn()::text", &[]).await;
        let end: Lsn =
            flushed.map_err(sql_failed)?.get::<_, &str>(0).parse().map_err(|_| DemoError::Truth)?;
        let confirmed = status.and_then(|status| status.confirmed_flush_lsn).unwrap_or(end);
        Ok((end.bytes_since(confirmed), end))
    }
}
