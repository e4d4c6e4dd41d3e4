//! A sink for eyes: a line for a transaction now and then, so that one can follow.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt as _, Stdout};
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

impl Kind {
    /// Whether both are about the same single row.
    fn names(&self, other: &Kind) -> bool {
        (&self.table, &self.key, self.rows) == (&other.table, &other.key, other.rows)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows {
            1 => write!(f, "{} {}", self.table, self.key),
            rows => write!(f, "{} ×{rows}", self.table),
        }
    }
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

    /// Whether the transaction made the row of `kind`.
    fn made(&self, kind: &Kind) -> bool {
        let made = |other: &Kind| other.operation == Operation::Insert && other.names(kind);
        self.kinds.iter().any(made)
    }

    /// What the transaction did, and how many there were that nothing was said of.
    fn line(&self) -> String {
        let mut line = String::from("   ");
        let marks = [
            (Operation::Insert, Ink::Green, '+'),
            (Operation::Update, Ink::Yellow, '~'),
            (Operation::Delete, Ink::Red, '-'),
        ];
        for (operation, ink, mark) in marks {
            let same = self.kinds.iter().filter(|kind| kind.operation == operation);
            // What becomes of a row that the transaction itself made is part of making it.
            let same = same.filter(|kind| kind.operation != Operation::Update || !self.made(kind));
            let names: Vec<_> = same.map(Kind::to_string).collect();
            if !names.is_empty() {
                // Writing to a text cannot fail; so below.
                let _ = write!(line, " {} {} ", self.paint.ink(ink, mark), names.join(", "));
            }
        }
        if self.untold > 0 {
            let more = format!(" … {} more", self.untold);
            let _ = write!(line, "{}", self.paint.ink(Ink::Dim, more));
        }
        line.push('\n');
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
                Event::Commit(_) => {
                    let early = self.last_line.is_some_and(|last| last.elapsed() < LINE_EVERY);
                    if early || self.kinds.is_empty() {
                        self.untold += 1;
                        continue;
                    }
                    let line = self.line();
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
    let short = if text.len() > 12 { text.get(..4).unwrap_or_default() } else { &text };
    clean(short).into_owned()
}
