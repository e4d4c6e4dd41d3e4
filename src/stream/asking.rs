//! What a stream asks over SQL before it goes on: whether the publications are still there, whether
//! a standby still is one, what the tables are.
//!
//! A batch that waits for the answer is handed out with it, or dropped: then it comes again on the
//! next connection.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::connection::{Answer, answered_while_streaming, check_in_recovery};
use super::error::StreamError;
use super::{ReplicationStream, State};
use crate::Result;
use crate::catalog;
use crate::event::{Batch, CatalogEntry};
use crate::net::SqlClient;
use crate::publication::missing_publications;

impl ReplicationStream {
    /// Idle progress looks the same when the publications are gone: ask before handing it out.
    pub(super) fn verify_idle(&mut self) {
        let State::Streaming(live) = &mut self.state else { return };
        if let Some(batch) = live.take() {
            self.verify(Some(batch));
        }
    }

    /// Ask whether the publications exist before `batch` is handed out, or anything else.
    pub(super) fn verify(&mut self, batch: Option<Batch>) {
        let source = Arc::clone(&self.source);
        self.ask(batch, "find the publications", |sql| async move {
            let names = missing_publications(&sql, &source.publications).await?;
            if names.is_empty() {
                return Ok(());
            }
            Err(StreamError::PublicationMissing { names, server: None }.into())
        });
    }

    /// Ask a standby whether it still is one before `batch` is handed out.
    pub(super) fn verify_timeline(&mut self, batch: Batch) {
        self.ask(Some(batch), "tell what it is", |_| std::future::ready(Ok(())));
    }

    /// Hand `batch` out, or go on without one, after an answer that all is well. A standby is on
    /// the timeline that it says as long as it is one.
    fn ask<F: Future<Output = Result<()>> + Send + 'static>(
        &mut self,
        batch: Option<Batch>,
        what: &'static str,
        question: impl FnOnce(Arc<SqlClient>) -> F,
    ) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let State::Streaming(live) = state else { return };
        let sql = Arc::clone(&live.connection.sql);
        let silence = self.source.silence_timeout;
        let (was, in_recovery) = (self.identity.timeline, live.connection.in_recovery);
        let question = question(Arc::clone(&sql));
        let verdict = answered_while_streaming(silence, what, async move {
            if in_recovery {
                check_in_recovery(&sql, was).await?;
            }
            question.await
        });
        self.state = State::Verifying(live, batch, Answer(Box::pin(verdict)));
    }

    /// Ask the catalogue about the tables whose rows come next.
    pub(super) fn describe(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let State::Streaming(live) = state else { return };
        let sql = Arc::clone(&live.connection.sql);
        let relations = live.undescribed().to_vec();
        let silence = self.source.silence_timeout;
        let answer = answered_while_streaming(silence, "describe its tables", async move {
            Ok(catalog::look_up(&sql, &relations).await?)
        });
        self.state = State::Describing(live, Answer(Box::pin(answer)));
    }

    /// Go on once the publications are known to exist, with the batch that waited for it.
    pub(super) fn poll_verdict(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Batch>>> {
        let State::Verifying(_, _, verdict) = &mut self.state else { return Poll::Ready(Ok(None)) };
        let verdict = ready!(verdict.0.as_mut().poll(cx));
        let state = std::mem::replace(&mut self.state, State::Ended);
        let State::Verifying(mut live, batch, _) = state else { return Poll::Ready(Ok(None)) };
        if let Err(error) = verdict {
            return Poll::Ready(self.retry(error).map(|()| None));
        }
        self.handed = live.hand_out(&self.shared);
        if batch.is_some() {
            live.release_tapped(&mut self.tapped);
        }
        self.state = State::Streaming(live);
        Poll::Ready(Ok(batch.map(|batch| {
            match batch.is_empty() {
                true => self.last_idle = Some(Instant::now()),
                false => self.works(),
            }
            self.hand_out(batch)
        })))
    }

    /// Go on with what the catalogue says of the tables that were asked about.
    pub(super) fn described(&mut self, answer: Result<Vec<CatalogEntry>>) -> Result<()> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let State::Describing(mut live, _) = state else { return Ok(()) };
        match answer {
            Ok(entries) => {
                live.catalogued(entries);
                self.state = State::Streaming(live);
                Ok(())
            }
            Err(error) => self.retry(error),
        }
    }
}
