//! A sink for eyes: a line for a transaction now and then, so that one can follow.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt as _, Stdout};
use walcast::Lsn;
use walcast::event::{Batch, Change, Event, OldRow, Operation};
use walcast::sink::{OpenContext, Resume, Sink, SinkError};

use crate::paint::{Ink, Paint, clean};

/// The shortest time between two lines.
const LINE_EVERY: Duration = Duration::from_millis(350);
/// How many kinds of change of one transaction are told.
const KINDS_MAX: usize = 6;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct TerminalSink {
    out: Stdout,
    paint: Paint,
    last_line: Option<Instant>,
    /// Transactions since then.
    untold: u64,
    /// The transaction that is being read.
    kinds: Vec<Kind>,
}

/// Rows of one table that had the same done to them.
#[derive(Debug)]
struct Kind {
    table: String,
    operation: Operation,
    rows: u64,
    /// The first one's key.
    key: String,
}

impl TerminalSink {
    pub(super) fn new(paint: Paint) -> Self {
        let out = tokio::io::stdout();
        Self { out, paint, last_line: None, untold: 0, kinds: Vec::new() }
    }

    fn note(&mut self, change: Change<'_>) {
        let (table, operation) = (&change.relation().name, change.operation());
        let same = |kind: &Kind| kind.operation == operation && kind.table == *table;
        if let Some(at) = self.kinds.iter().position(same) {
            self.kinds[at].rows += 1;
        } else if self.kinds.len() < KINDS_MAX {
            let (table, key) = (table.clone(), key_of(change));
            self.kinds.push(Kind { table, operation, rows: 1, key });
        }
    }

    fn line(&mut self, commit_lsn: Lsn) -> String {
        let mut line = String::from("    ");
        for kind in &self.kinds {
            let (ink, mark) = match kind.operation {
                Operation::Insert => (Ink::Green, '+'),
                Operation::Update => (Ink::Yellow, '~'),
                Operation::Delete => (Ink::Red, '-'),
            };
            // Writing to a text cannot fail.
            let _ = match kind.rows {
                1 => write!(line, "{} {} {}   ", self.paint.ink(ink, mark), kind.table, kind.key),
                rows => write!(line, "{} {} ×{rows}   ", self.paint.ink(ink, mark), kind.table),
            };
        }
        let more = match self.untold {
            0 => String::new(),
            untold => format!(", and {untold} more"),
        };
        let tail = self.paint.ink(Ink::Dim, format!("({commit_lsn}{more})"));
        let _ = writeln!(line, "{tail}");
        line
    }
}

impl Sink for TerminalSink {
    async fn open(&mut self, _: &OpenContext) -> Result<Resume, SinkError> {
        self.kinds.clear();
        Ok(Resume::Delegate)
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        for event in batch.events() {
            match event {
                Event::Begin(_) => self.kinds.clear(),
                Event::Change(change) => self.note(change),
                Event::Commit(transaction) => {
                    let early = self.last_line.is_some_and(|last| last.elapsed() < LINE_EVERY);
                    if early || self.kinds.is_empty() {
                        self.untold += 1;
                        continue;
                    }
                    let line = self.line(transaction.commit_lsn());
                    self.out.write_all(line.as_bytes()).await?;
                    self.last_line = Some(Instant::now());
                    self.untold = 0;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        Ok(self.out.flush().await?)
    }
}

/// The value of the first key column, shortened.
fn key_of(change: Change<'_>) -> String {
    let row = change.old_row().map(OldRow::row).or(change.new_row());
    let key = row.and_then(|row| row.iter().find(|(column, _)| column.in_identity));
    let bytes = key.and_then(|(_, value)| value.bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes).into_owned();
    clean(text.get(..8).unwrap_or(&text)).into_owned()
}
