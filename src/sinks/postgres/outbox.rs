//! Statements under way: sent in order without waiting for the answers, which are judged in order.
//!
//! A statement is on its way as soon as it is pushed. How much may be unanswered is bounded; what
//! the answers have to be, and what it means when they are not, is kept beside each.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio_postgres::Statement;

use super::parameter::Parameters;
use super::progress::Reached;
use crate::event::Batch;
use crate::net::SqlClient;

/// No more than this may be unanswered.
const STATEMENTS_MAX: usize = 512;
/// Nor more than this, in bytes, but for one statement.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// See the [module](self).
pub(super) struct Outbox {
    sql: Arc<SqlClient>,
    asked: VecDeque<Asked>,
    bytes: usize,
}

/// A statement whose answer was not looked at yet.
struct Asked {
    answer: Answer,
    bytes: usize,
    purpose: Purpose,
}

/// How many rows it touched, once the server has said.
type Answer = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + Send>>;

/// What a statement is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// It applies the event of this number of the batch, which has to touch so many rows.
    Change { batch: Batch, event: usize, rows: Option<u64> },
    /// It applies what many changes come to, which has to touch so many rows.
    Run { rows: u64 },
    /// It stores the progress of the one applier there may be.
    Progress,
    /// It begins a transaction.
    Begin,
    /// It ends the one that reaches so far.
    Commit(Reached),
}

/// An answer that is not what it has to be.
#[derive(Debug)]
pub(super) struct Unexpected {
    pub(super) purpose: Purpose,
    pub(super) answer: Result<u64, tokio_postgres::Error>,
}

impl Outbox {
    pub(super) fn new(sql: Arc<SqlClient>) -> Self {
        Self { sql, asked: VecDeque::new(), bytes: 0 }
    }

    /// Send statements without parameters.
    pub(super) fn text(&mut self, purpose: Purpose, text: String) {
        let sql = Arc::clone(&self.sql);
        let bytes = text.len();
        let answer = async move { sql.batch_execute(&text).await.map(|()| 0) };
        self.push(purpose, bytes, Box::pin(answer));
    }

    /// Send a prepared statement.
    pub(super) fn prepared(
        &mut self,
        purpose: Purpose,
        statement: Statement,
        parameters: Parameters,
    ) {
        let sql = Arc::clone(&self.sql);
        let bytes = parameters.weight();
        let answer = async move { sql.execute_raw(&statement, parameters.arguments()).await };
        self.push(purpose, bytes, Box::pin(answer));
    }

    fn push(&mut self, purpose: Purpose, bytes: usize, mut answer: Answer) {
        // The first poll sends it. The server's answer waits for whoever looks.
        let mut context = Context::from_waker(Waker::noop());
        let answer = match answer.as_mut().poll(&mut context) {
            Poll::Ready(answer) => Box::pin(std::future::ready(answer)),
            Poll::Pending => answer,
        };
        self.asked.push_back(Asked { answer, bytes, purpose });
        self.bytes += bytes;
    }

    /// Wait until there is room for more.
    pub(super) async fn make_room(&mut self) -> Result<(), Unexpected> {
        while self.asked.len() >= STATEMENTS_MAX || self.bytes >= BYTES_MAX {
            self.judge_next().await?;
        }
        Ok(())
    }

    /// Wait until everything is answered.
    pub(super) async fn drain(&mut self) -> Result<(), Unexpected> {
        while !self.asked.is_empty() {
            self.judge_next().await?;
        }
        Ok(())
    }

    async fn judge_next(&mut self) -> Result<(), Unexpected> {
        let Some(first) = self.asked.front_mut() else { return Ok(()) };
        let answer = poll_fn(|context| first.answer.as_mut().poll(context)).await;
        let Some(Asked { bytes, purpose, .. }) = self.asked.pop_front() else { return Ok(()) };
        self.bytes -= bytes;
        let expected = match (&purpose, &answer) {
            (_, Err(_)) => false,
            (Purpose::Change { rows, .. }, Ok(found)) => rows.is_none_or(|rows| rows == *found),
            (Purpose::Run { rows }, Ok(found)) => rows == found,
            (Purpose::Progress, Ok(found)) => *found == 1,
            (Purpose::Begin | Purpose::Commit(_), Ok(_)) => true,
        };
        if expected { Ok(()) } else { Err(Unexpected { purpose, answer }) }
    }
}
