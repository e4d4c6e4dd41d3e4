//! A sink of one's own: rows per table, kept in a file with the position they belong to.
//!
//! ```text
//! cargo run --example custom_sink -- postgres://localhost/shop my_publication counts.json
//! ```
//! Because position and counts are replaced together, each change counts exactly once, however
//! often the process is killed. Ends at SIGINT.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use walcast::event::{Batch, Event};
use walcast::sink::{OpenContext, Resume, Sink, SinkError};
use walcast::{Lsn, Pipeline, Shutdown, Source};

struct CountSink {
    path: PathBuf,
    /// What was in the file, and what was written since.
    counts: Counts,
    /// Rows of a transaction whose Commit has not come yet.
    open: BTreeMap<String, u64>,
}

#[derive(Default, Clone, Serialize, Deserialize)]
struct Counts {
    end: Option<Lsn>,
    rows: BTreeMap<String, u64>,
}

impl Sink for CountSink {
    async fn open(&mut self, _: &OpenContext) -> Result<Resume, SinkError> {
        self.open.clear();
        self.counts = match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(SinkError::fatal)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Counts::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(self.counts.end.map_or(Resume::Delegate, Resume::After))
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        for event in batch.events() {
            match event {
                Event::Change(change) => {
                    *self.open.entry(change.relation().to_string()).or_default() += 1;
                }
                Event::Commit(transaction) => {
                    for (table, rows) in std::mem::take(&mut self.open) {
                        *self.counts.rows.entry(table).or_default() += rows;
                    }
                    self.counts.end = transaction.end_lsn();
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        let temporary = self.path.with_extension("new");
        std::fs::write(&temporary, serde_json::to_vec(&self.counts).map_err(SinkError::fatal)?)?;
        std::fs::File::open(&temporary)?.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        std::fs::File::open(self.path.parent().unwrap_or(".".as_ref()))?.sync_all()?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, publication, path] = &arguments[..] else {
        return Err("give a URL, a publication and a file".into());
    };
    let source = Source::new(url, "custom_sink", [publication])?.create_slot(true);
    let path = std::path::absolute(path)?;
    let sink = CountSink { path, counts: Counts::default(), open: BTreeMap::new() };
    let pipeline = Pipeline::new(source, "custom_sink-state").sink("counts", sink)?;
    Ok(pipeline.run(Shutdown::on_signals()?).await?)
}
