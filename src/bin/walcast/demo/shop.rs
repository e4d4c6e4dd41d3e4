//! The shop: tables on both servers, and clients that work on the primary's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use walcast::Error;
use walcast::net::SqlClient;

use super::error::DemoError;
use super::server::{Server, run};

/// The shop's tables, those that others refer to first.
pub(super) const TABLES: [&str; 4] = ["customers", "orders", "order_items", "payments"];

const TABLES_SQL: &str = include_str!("shop/tables.sql");
const WORKLOAD_SQL: &str = include_str!("shop/workload.sql");
/// Clients that place, pay and cancel orders.
const CLIENTS: usize = 4;
/// How long such a client rests between two transactions.
const REST: Duration = Duration::from_millis(25);
/// How often many customers come at once.
const IMPORT_EVERY: Duration = Duration::from_millis(800);

/// An open shop; dropped, its clients stop where they are.
#[derive(Debug)]
pub(super) struct Shop {
    clients: JoinSet<Result<(), Error>>,
    close: watch::Sender<bool>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    committed: AtomicU64,
    rolled_back: AtomicU64,
}

/// Make the tables; on the primary also what works on them, and the role `demo` with `password`.
pub(super) async fn furnish(
    primary: &Server,
    replica: &Server,
    password: &str,
) -> Result<(), Error> {
    run(&replica.sql("shop").await?, TABLES_SQL).await?;
    let sql = primary.sql("shop").await?;
    run(&sql, TABLES_SQL).await?;
    run(&sql, WORKLOAD_SQL).await?;
    let role = format!(
        "create role demo login password {};
         grant select, insert, update, delete on all tables in schema public to demo;
         create publication shop for table {}",
        walcast::quote_literal(password),
        TABLES.join(", ")
    );
    run(&sql, &role).await
}

impl Shop {
    /// Let the clients in.
    pub(super) async fn open(primary: &Server) -> Result<Self, Error> {
        let (close, closed) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        let mut clients = JoinSet::new();
        run(&primary.sql("shop").await?, "select shop_sign_up(50)").await?;
        for _ in 0..CLIENTS {
            let client = Client {
                sql: primary.sql("shop").await?,
                closed: closed.clone(),
                counts: Arc::clone(&counts),
            };
            clients.spawn(client.work("select shop_step()", REST));
        }
        let (sql, counts_) = (primary.sql("shop").await?, Arc::clone(&counts));
        let client = Client { sql, closed, counts: counts_ };
        clients.spawn(client.work("select shop_import()", IMPORT_EVERY));
        Ok(Self { clients, close, counts })
    }

    /// Transactions committed so far.
    pub(super) fn committed(&self) -> u64 {
        self.counts.committed.load(Ordering::Relaxed)
    }

    /// Transactions rolled back so far.
    pub(super) fn rolled_back(&self) -> u64 {
        self.counts.rolled_back.load(Ordering::Relaxed)
    }

    /// Wait until the clients have ended what they do.
    pub(super) async fn close(&mut self) -> Result<(), Error> {
        self.close.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.map_err(|error| DemoError::Shop(error.to_string()))??;
        }
        Ok(())
    }
}

struct Client {
    sql: SqlClient,
    closed: watch::Receiver<bool>,
    counts: Arc<Counts>,
}

impl Client {
    async fn work(mut self, transaction: &'static str, rest: Duration) -> Result<(), Error> {
        while !*self.closed.borrow() {
            match self.sql.batch_execute(transaction).await {
                Ok(()) => self.counts.committed.fetch_add(1, Ordering::Relaxed),
                // A change of mind, or two clients in each other's way: nothing of it happened.
                Err(error) if error.as_db_error().is_some_and(is_rollback) => {
                    self.counts.rolled_back.fetch_add(1, Ordering::Relaxed)
                }
                Err(error) => return Err(super::server::sql_failed(error)),
            };
            // An error means that the shop is gone, which the next look shows.
            let _ = tokio::time::timeout(rest, self.closed.wait_for(|closed| *closed)).await;
            if self.closed.has_changed().is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn is_rollback(error: &tokio_postgres::error::DbError) -> bool {
    use tokio_postgres::error::SqlState;
    [
        SqlState::RAISE_EXCEPTION,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::FOREIGN_KEY_VIOLATION,
    ]
    .contains(error.code())
}
