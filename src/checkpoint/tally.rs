//! Where every sink stands, and what that adds up to.
//!
//! A [`Tally`] is plain data: for each sink its cursor, what stands in for it and whether it
//! counts, and the [`Rule`] that says what a quorum is. It folds them into two frontiers. *Retain*
//! is what every required sink, or the spool in its place, has made durable; *quorum* is what
//! enough sinks have made durable themselves. A sink that was left behind counts for neither.
//! Nothing here waits, saves or knows a sink.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SinkProgress;
use crate::lsn::Lsn;
use crate::name::SinkName;

/// Where every sink stands, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The sinks by name.
    pub members: BTreeMap<SinkName, Member>,
    /// What they add up to.
    pub rule: Rule,
}

/// What sinks add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rule {
    /// How many required sinks make a quorum; `None` for all that have not been left behind.
    pub quorum: Option<usize>,
    /// Whose durability lets the slot release WAL.
    pub release: Release,
}

/// Whose durability lets the slot release WAL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Release {
    /// That of every required sink, or of the spool in its place.
    #[default]
    All,
    /// That of a quorum of them. A slower one without a spool would be left behind by a crash; that
    /// is saved before the slot passes it, and taken back when it has caught up.
    Quorum,
}

/// One sink in a [`Tally`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// How far it has come.
    pub progress: SinkProgress,
    /// What of it the slot waits for.
    pub held: Held,
    /// Whether it has ever said where it stands. It holds the slot either way, but is not known by
    /// a position that is not its own.
    pub placed: bool,
}

/// What of a sink holds the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It is required: the slot waits for its cursor.
    ByCursor,
    /// It is required, and a spool that is durable up to here stands in for it.
    BySpool(Lsn),
    /// It is not required.
    Not,
    /// It was left behind: what lies beyond its cursor is not kept for it.
    Detached,
}

/// How a sink takes part that the slot does not wait for although it is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Apart {
    /// A spool, durable up to here, holds what the sink has not proven.
    Spooled(Lsn),
    /// What lies between its cursor and what is confirmed is not kept for it.
    Detached,
}

impl Member {
    /// The position before which nothing is needed again; `None` for a sink that holds nothing.
    fn durable(&self) -> Option<Lsn> {
        match self.held {
            Held::ByCursor => Some(self.progress.cursor),
            Held::BySpool(end) => Some(self.progress.cursor.max(end)),
            Held::Not | Held::Detached => None,
        }
    }

    fn is_spooled(&self) -> bool {
        matches!(self.held, Held::BySpool(_))
    }

    /// How it has to be known once `confirmed` is told; `None` for a sink that needs nothing from
    /// before.
    pub(super) fn apart(&self, confirmed: Lsn) -> Option<Apart> {
        match self.held {
            Held::Detached => Some(Apart::Detached),
            Held::BySpool(end) if end > self.progress.cursor => Some(Apart::Spooled(end)),
            Held::ByCursor if self.progress.cursor < confirmed => Some(Apart::Detached),
            _ => None,
        }
    }
}

impl Tally {
    /// What every required sink, or its spool, has made durable. `None` when no sink is required
    /// that has not been left behind: then it must not move.
    pub fn retain(&self) -> Option<Lsn> {
        self.members.values().filter_map(Member::durable).min()
    }

    /// What a quorum of required sinks has made durable, spools not counted; `None` when there are
    /// fewer of them than it takes.
    pub fn quorum(&self) -> Option<Lsn> {
        let counts = |member: &&Member| member.durable().is_some();
        let required = self.members.values().filter(counts);
        let mut cursors: Vec<Lsn> = required.map(|member| member.progress.cursor).collect();
        cursors.sort_unstable_by(|a, b| b.cmp(a));
        let quorum = self.rule.quorum.unwrap_or(cursors.len());
        cursors.get(quorum.checked_sub(1)?).copied()
    }

    /// What lets the slot release WAL. A spool is never outrun, whatever the rule: it loses nothing
    /// and costs no time.
    pub fn released(&self) -> Option<Lsn> {
        match self.rule.release {
            Release::All => self.retain(),
            Release::Quorum => {
                let spools = self.members.values().filter(|member| member.is_spooled());
                let spooled = spools.filter_map(Member::durable).min();
                self.quorum().map(|end| spooled.map_or(end, |spooled| spooled.min(end)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held() -> impl Strategy<Value = Held> {
        prop_oneof![
            3 => Just(Held::ByCursor),
            2 => (0u64..30).prop_map(|end| Held::BySpool(Lsn::new(end))),
            1 => Just(Held::Not),
            1 => Just(Held::Detached),
        ]
    }

    fn members() -> impl Strategy<Value = Vec<Member>> {
        let member = (0u64..20, held()).prop_map(|(cursor, held)| Member {
            progress: SinkProgress { cursor: Lsn::new(cursor), data_end: None },
            held,
            placed: true,
        });
        prop::collection::vec(member, 1..8)
    }

    fn tally(members: &[Member], rule: Rule) -> Tally {
        let name = |at| SinkName::new(format!("s{at}")).unwrap();
        let members = members.iter().enumerate().map(|(at, member)| (name(at), *member));
        Tally { members: members.collect(), rule }
    }

    fn counting(members: &[Member]) -> Vec<Member> {
        let counts = |it: &&Member| matches!(it.held, Held::ByCursor | Held::BySpool(_));
        members.iter().filter(counts).copied().collect()
    }

    proptest! {
        /// At least `quorum` sinks that count are at the frontier, and fewer beyond it.
        #[test]
        fn a_quorum_has_what_the_frontier_says(members in members(), quorum in 1usize..8) {
            let rule = Rule { quorum: Some(quorum), ..Rule::default() };
            let cursors = counting(&members).into_iter().map(|it| it.progress.cursor);
            let cursors: Vec<Lsn> = cursors.collect();
            match tally(&members, rule).quorum() {
                None => prop_assert!(cursors.len() < quorum),
                Some(frontier) => {
                    prop_assert!(cursors.iter().filter(|at| **at >= frontier).count() >= quorum);
                    prop_assert!(cursors.iter().filter(|at| **at > frontier).count() < quorum);
                }
            }
        }

        /// I1: nothing that counts is behind the retain frontier, and somebody is at it.
        #[test]
        fn what_is_retained_is_durable_for_all_that_count(members in members()) {
            let all = counting(&members);
            let durable = |it: &Member| it.durable().unwrap();
            match tally(&members, Rule::default()).retain() {
                None => prop_assert!(all.is_empty()),
                Some(frontier) => {
                    prop_assert!(all.iter().all(|it| durable(it) >= frontier));
                    prop_assert!(all.iter().any(|it| durable(it) == frontier));
                }
            }
        }

        /// Without spools the quorum of all is the retain frontier.
        #[test]
        fn the_quorum_of_all_is_the_retain_frontier(members in members()) {
            let direct = members.into_iter().map(|it| match it.held {
                Held::BySpool(_) => Member { held: Held::ByCursor, ..it },
                _ => it,
            });
            let tally = tally(&direct.collect::<Vec<_>>(), Rule::default());
            prop_assert_eq!(tally.quorum(), tally.retain());
        }

        /// Whatever is released, a sink that needs something from before it is either held by its
        /// spool or said to be left behind.
        #[test]
        fn nobody_is_passed_without_a_word(members in members(), quorum in 1usize..5) {
            for release in [Release::All, Release::Quorum] {
                let rule = Rule { quorum: Some(quorum), release };
                let Some(released) = tally(&members, rule).released() else { continue };
                for member in counting(&members) {
                    match member.apart(released) {
                        Some(Apart::Detached) => prop_assert!(release == Release::Quorum),
                        Some(Apart::Spooled(end)) => prop_assert!(end >= released),
                        None => prop_assert!(member.progress.cursor >= released),
                    }
                }
            }
        }

        /// I2: when no sink falls back and none leaves, no frontier does.
        #[test]
        fn frontiers_rise_with_the_sinks(
            members in members(), steps in prop::collection::vec(0u64..9, 8), quorum in 1usize..5,
        ) {
            for release in [Release::All, Release::Quorum] {
                let rule = Rule { quorum: Some(quorum), release };
                let before = tally(&members, rule);
                let mut risen = members.clone();
                for (member, step) in risen.iter_mut().zip(&steps) {
                    let cursor = &mut member.progress.cursor;
                    *cursor = Lsn::new(cursor.as_u64() + step);
                }
                let after = tally(&risen, rule);
                prop_assert!(after.released() >= before.released());
                prop_assert!(after.quorum() >= before.quorum());
            }
        }
    }
}
