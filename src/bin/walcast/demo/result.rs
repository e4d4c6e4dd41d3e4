//! The last thing the demo shows: whether source and targets agree, in words.

use std::fmt::Write as _;
use std::time::Duration;

use super::verdict::{FileVerdict, TableVerdict};
use crate::grid::grid;
use crate::human::{Count, Span};
use crate::paint::{Ink, Paint};

/// All that was found.
#[derive(Debug)]
pub(super) struct Result {
    pub(super) tables: Vec<TableVerdict>,
    pub(super) file: FileVerdict,
    pub(super) downtime: Downtime,
    pub(super) rolled_back: u64,
}

/// What became of the killed pipeline.
#[derive(Debug)]
pub(super) struct Downtime {
    pub(super) dead: Duration,
    /// Transactions that were committed meanwhile.
    pub(super) waiting: u64,
    /// From the restart until they had all arrived.
    pub(super) caught_up: Duration,
}

impl Result {
    /// Whether nothing was lost or doubled.
    pub(super) fn is_good(&self) -> bool {
        self.file.is_whole() && self.tables.iter().all(TableVerdict::same)
    }

    pub(super) fn drawn(&self, paint: Paint) -> String {
        let mut text = format!("\n{}\n\n", paint.ink(Ink::Bold, "result"));
        let row = |it: &TableVerdict| {
            let same = if it.same() { "the same rows" } else { "OTHER ROWS" };
            let count = |rows: i64| format!("{:>9}", Count(rows.unsigned_abs()));
            [it.table.to_owned(), count(it.source.rows), count(it.target.rows), same.to_owned()]
        };
        let rows: Vec<_> = self.tables.iter().map(row).collect();
        for line in grid(["table", "  primary", "  replica", ""], &rows).lines() {
            // Writing to a text cannot fail; so below.
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "\n  {}", self.file_line());
        let Downtime { dead, waiting, caught_up } = &self.downtime;
        let _ = writeln!(
            text,
            "  SIGKILL: dead for {}; {} transactions waited in the slot,\n           and all had \
             arrived {} after the restart",
            Span(*dead),
            Count(*waiting),
            Span(*caught_up)
        );
        let _ = writeln!(
            text,
            "  Rollback: {} transactions were rolled back, and left no trace\n",
            Count(self.rolled_back)
        );
        let (ink, verdict) = if self.is_good() {
            (Ink::Green, "Nothing was lost and nothing was doubled.")
        } else {
            (Ink::Red, "Source and targets DIFFER: please report this.")
        };
        let _ = write!(text, "  {}", paint.ink(ink, verdict));
        text
    }

    fn file_line(&self) -> String {
        let FileVerdict { changes, transactions, doubled, missing, unknown, in_order } = self.file;
        let (changes, transactions) = (Count(changes as u64), Count(transactions as u64));
        let lines = format!("JSON file: {changes} changes of {transactions} transactions");
        if self.file.is_whole() {
            return format!(
                "{lines},\n             each one once and in commit order,\n             held \
                 against the server's own list of what it committed"
            );
        }
        let order = if in_order { "" } else { ", not in commit order" };
        format!("{lines}: {doubled} DOUBLED, {missing} MISSING, {unknown} UNKNOWN{order}")
    }
}
