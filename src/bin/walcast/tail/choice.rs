//! Which events are printed, and after which one it ends.

use std::fmt;
use std::str::FromStr;

use walcast::event::{Batch, Event};
use walcast::publication::PublicationTables;
use walcast::{Lsn, Position, TablePattern, TablePatternError};

/// One item of `--tables`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `*`: every table.
    Every,
    /// `public.orders` or `shop.*`.
    These(TablePattern),
}

impl FromStr for Wanted {
    type Err = TablePatternError;

    fn from_str(text: &str) -> Result<Self, TablePatternError> {
        if text == "*" { Ok(Self::Every) } else { text.parse().map(Self::These) }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("*"),
            Self::These(pattern) => pattern.fmt(f),
        }
    }
}

/// What a publication for these tables has; none is made for an empty list.
pub(crate) fn to_publish(tables: &[Wanted]) -> PublicationTables {
    if tables.is_empty() {
        return PublicationTables::Never;
    }
    match patterns(tables) {
        Some(patterns) => PublicationTables::Tables(patterns),
        None => PublicationTables::All,
    }
}

/// The patterns; `None` when every table is meant.
fn patterns(tables: &[Wanted]) -> Option<Vec<TablePattern>> {
    let pattern = |wanted: &Wanted| match wanted {
        Wanted::Every => None,
        Wanted::These(pattern) => Some(pattern.clone()),
    };
    tables.iter().map(pattern).collect()
}

/// Which events are printed, batch after batch.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Empty for every table.
    tables: Vec<TablePattern>,
    /// Transactions that commit from here on are left out, and end it.
    until: Option<Lsn>,
    /// How many events may still be printed.
    left: Option<u64>,
}

/// What is printed of one batch.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// For each event, transaction bounds included, whether it is printed; shorter than the batch
    /// when the end comes before the batch's.
    pub(crate) picks: Vec<bool>,
    /// Up to where everything wanted is printed once this is; `None` for no further than before.
    pub(crate) complete: Option<Lsn>,
    /// Nothing comes after this.
    pub(crate) ends: bool,
}

impl Choice {
    pub(crate) fn new(tables: &[Wanted], until: Option<Lsn>, limit: Option<u64>) -> Self {
        Self { tables: patterns(tables).unwrap_or_default(), until, left: limit }
    }

    /// Whether events of some tables are left out.
    pub(crate) fn is_filter(&self) -> bool {
        !self.tables.is_empty()
    }

    /// Whether nothing more is printed once everything before `end` is.
    pub(crate) fn ends_at(&self, end: Lsn) -> bool {
        self.left == Some(0) || self.until.is_some_and(|until| end >= until)
    }

    /// Choose from the next batch.
    pub(crate) fn of(&mut self, batch: &Batch) -> Chosen {
        let mut picks = Vec::with_capacity(batch.len());
        let mut complete = None;
        for event in batch.events() {
            let past = |commit_lsn: Lsn| self.until.is_some_and(|until| commit_lsn >= until);
            let picked = match event {
                Event::Begin(transaction) if past(transaction.commit_lsn()) => {
                    return Chosen { picks, complete, ends: true };
                }
                Event::Commit(transaction) => {
                    complete = transaction.end_lsn().or(complete);
                    false
                }
                _ => self.wants(event),
            };
            if picked {
                let late = event.position().is_some_and(|at| past(commit_of(at)));
                if late || self.left == Some(0) {
                    return Chosen { picks, complete, ends: true };
                }
                // A change of shape comes with the event that has it.
                let counts = u64::from(!matches!(event, Event::SchemaChange(_)));
                self.left = self.left.map(|left| left - counts);
            }
            picks.push(picked);
        }
        let end = batch.end();
        Chosen { picks, complete: Some(end), ends: self.ends_at(end) }
    }

    fn wants(&self, event: Event<'_>) -> bool {
        let relation = match event {
            Event::SchemaChange(change) => change.new_relation(),
            Event::Change(change) => change.relation(),
            Event::Truncate(truncate) => truncate.relation(),
            Event::Message(_) => return !self.is_filter(),
            _ => return false,
        };
        let matches = |table: &TablePattern| table.matches(&relation.schema, &relation.name);
        !self.is_filter() || self.tables.iter().any(matches)
    }
}

fn commit_of(position: Position) -> Lsn {
    match position {
        Position::Logged { commit_lsn, .. } => commit_lsn,
        Position::Read { point, .. } => point,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_a_star_and_none_makes_no_publication() {
        let wanted = |text: &str| text.parse::<Wanted>().unwrap();
        assert_eq!(to_publish(&[]), PublicationTables::Never);
        assert_eq!(to_publish(&[wanted("a.b"), wanted("*")]), PublicationTables::All);
        let PublicationTables::Tables(tables) = to_publish(&[wanted("a.b"), wanted("c.*")]) else {
            panic!("two patterns");
        };
        assert_eq!(tables.len(), 2);
        assert!(!Choice::new(&[wanted("*")], None, None).is_filter());
        assert!("orders".parse::<Wanted>().is_err());
    }
}
