//! The lanes as a tally: what all of them have proven, at one moment.
//!
//! The [`Ledger`] looks at lanes from outside and asks them for nothing. What a [`Tally`] adds up
//! to, the tally itself knows.

use std::task::Poll;

use tokio::sync::watch;

use super::progress::{LaneState, LaneStatus};
use crate::checkpoint::{Held, Member, Rule, Tally};
use crate::name::SinkName;

/// Folds what the lanes have proven into what may be told.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    members: Vec<LedgerMember>,
    rule: Rule,
}

/// A lane, seen from outside.
#[derive(Debug, Clone)]
pub(crate) struct LedgerMember {
    pub(crate) name: SinkName,
    pub(crate) required: bool,
    pub(crate) status: watch::Receiver<LaneStatus>,
}

impl Ledger {
    pub(crate) fn new(members: Vec<LedgerMember>, rule: Rule) -> Self {
        Self { members, rule }
    }

    pub(crate) fn members(&self) -> &[LedgerMember] {
        &self.members
    }

    /// Where every sink stands now.
    pub(crate) fn tally(&self) -> Tally {
        let members = self.members.iter().map(|member| (member.name.clone(), member.stands()));
        Tally { members: members.collect(), rule: self.rule }
    }

    /// Wait until some lane has something to tell.
    pub(crate) async fn changed(&mut self) {
        let mut waits: Vec<_> =
            self.members.iter_mut().map(|member| Some(Box::pin(member.status.changed()))).collect();
        std::future::poll_fn(|cx| {
            for wait in &mut waits {
                match wait.as_mut().map(|wait| wait.as_mut().poll(cx)) {
                    Some(Poll::Ready(Ok(()))) => return Poll::Ready(()),
                    // A lane that is gone has nothing more to tell.
                    Some(Poll::Ready(Err(_))) => *wait = None,
                    Some(Poll::Pending) | None => {}
                }
            }
            Poll::Pending
        })
        .await;
    }
}

impl LedgerMember {
    /// Whether the slot waits for it.
    pub(crate) fn counts(&self) -> bool {
        self.required && self.status.borrow().state != LaneState::Detached
    }

    fn stands(&self) -> Member {
        let status = self.status.borrow();
        let held = match status.state {
            LaneState::Detached => Held::Detached,
            _ if self.required => Held::ByCursor,
            _ => Held::Not,
        };
        Member { progress: status.progress, held, placed: status.placed }
    }
}
