//! A source and a target that shall become the same.

use std::time::Duration;

use walcast::net::ConnectConfig;
use walcast::sinks::PostgresSink;

use super::pipeline::{Place, Running, caught_up, source, start};
use super::primary::Primary;
use super::server::Server;

const DEADLINE: Duration = Duration::from_secs(120);

/// Two servers of one major version.
pub(crate) struct Twins {
    pub(crate) source: Primary,
    pub(crate) target: Primary,
}

impl Twins {
    pub(crate) fn start() -> Twins {
        Twins { source: Primary::start(), target: Primary::start() }
    }

    pub(crate) fn start_on(server: &Server) -> Twins {
        let start = || Primary::builder().start_on(server.clone());
        Twins { source: start(), target: start() }
    }

    /// Runs statements on both.
    #[track_caller]
    pub(crate) fn both(&self, statements: &str) {
        self.source.sql(statements);
        self.target.sql(statements);
    }

    /// A sink of the target, as the superuser.
    pub(crate) fn sink(&self) -> PostgresSink {
        PostgresSink::new(connect(&self.target.url()))
    }

    /// Starts applying what publication `p` publishes, and waits until it streams.
    pub(crate) async fn apply(&self, place: &Place) -> Running {
        let pipeline = place.pipeline(source(&self.source.url()));
        let running = start(pipeline.sink("replica", self.sink()).unwrap());
        running.streams().await;
        running
    }

    /// Waits until everything that is committed by now is applied, and ends the pipeline.
    pub(crate) async fn finish(&self, running: Running) {
        caught_up(&self.source, DEADLINE).await;
        running.drain().await.unwrap();
    }

    /// Fails the test when a table differs, naming rows that only one side has.
    #[track_caller]
    pub(crate) fn assert_same(&self, tables: &[&str]) {
        for table in tables {
            let (source, target) = (rows(&self.source, table), rows(&self.target, table));
            if source != target {
                panic!("{table} differs: {}", difference(&source, &target));
            }
        }
    }
}

pub(crate) fn connect(url: &str) -> ConnectConfig {
    url.parse().unwrap()
}

/// Every row of `table` as text, in an order of its own.
pub(crate) fn rows(primary: &Primary, table: &str) -> Vec<String> {
    let query = format!(
        "select string_agg(r, chr(1) order by r collate \"C\") from (select t::text r from {table} t) q"
    );
    let text = primary.query_one_text(&query).unwrap_or_default();
    text.split('\u{1}').map(String::from).collect()
}

fn difference(source: &[String], target: &[String]) -> String {
    let only = |these: &[String], others: &[String]| -> Vec<String> {
        let others: std::collections::HashSet<_> = others.iter().collect();
        these
            .iter()
            .filter(|row| !others.contains(row))
            .take(5)
            .map(|row| format!("{row:.300}"))
            .collect()
    };
    format!(
        "{} and {} rows; only the source has {:#?}, only the target {:#?}",
        source.len(),
        target.len(),
        only(source, target),
        only(target, source)
    )
}
