//! The formats a sink can write, behind one encoder.
//!
//! An [`Encoder`] is what a sink owns: it appends batches to a buffer, or gets the bytes that
//! another sink of the same pipeline has already made of the same batch.

use std::sync::Arc;

use crate::codec::cloudevents::{CloudEventLines, CloudEventsOptions};
use crate::codec::debezium::{DebeziumLines, DebeziumOptions};
use crate::codec::error::EncodeError;
use crate::codec::json::JsonLines;
use crate::codec::lines;
use crate::codec::value::TypeRegistry;
use crate::codec::wal2json::Wal2JsonLines;
use crate::event::{Batch, Encoded};

/// How events are written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum EventFormat {
    /// One native JSON object per line; see [`json`](crate::codec::json).
    #[default]
    Json,
    /// CloudEvents 1.0 around it; see [`cloudevents`](crate::codec::cloudevents).
    CloudEvents(CloudEventsOptions),
    /// The envelope of Debezium's PostgreSQL connector; see [`debezium`](crate::codec::debezium).
    Debezium(DebeziumOptions),
    /// What the plugin wal2json writes, in its format version 2; see
    /// [`wal2json`](crate::codec::wal2json).
    Wal2Json,
}

impl EventFormat {
    /// Its name, as a config writes it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::CloudEvents(_) => "cloudevents",
            Self::Debezium(_) => "debezium",
            Self::Wal2Json => "wal2json",
        }
    }
}

impl EventFormat {
    /// The same format for events of the database called `name`, where that is not said yet.
    pub fn in_database(mut self, name: &str) -> Self {
        if let Self::Debezium(options) = &mut self
            && options.database.is_empty()
        {
            name.clone_into(&mut options.database);
        }
        self
    }

    /// What tells it, with its options, from every other. `None` where a batch's bytes depend on
    /// the batches before it, so that no two sinks are sure to have the same.
    fn key(&self) -> Option<Arc<str>> {
        match self {
            Self::Debezium(options) if options.transactions => None,
            Self::Debezium(options) => Some(format!("debezium {options:?}").into()),
            Self::CloudEvents(options) => Some(format!("cloudevents {options:?}").into()),
            _ => Some(self.name().into()),
        }
    }
}

/// Writes batches in one format.
#[derive(Debug)]
pub struct Encoder {
    /// What tells its format from every other; `None` when it shares nothing.
    key: Option<Arc<str>>,
    lines: Lines,
}

#[derive(Debug)]
enum Lines {
    Json(JsonLines),
    CloudEvents(CloudEventLines),
    Debezium(DebeziumLines),
    Wal2Json(Wal2JsonLines),
}

impl Encoder {
    /// An encoder of `format` for columns of these types.
    pub fn new(format: EventFormat, types: Arc<TypeRegistry>) -> Self {
        let lines = match &format {
            EventFormat::Json => Lines::Json(JsonLines::new(types)),
            EventFormat::CloudEvents(options) => {
                Lines::CloudEvents(CloudEventLines::new(types, options))
            }
            EventFormat::Debezium(options) => Lines::Debezium(DebeziumLines::new(types, options)),
            EventFormat::Wal2Json => Lines::Wal2Json(Wal2JsonLines::new(types)),
        };
        Self { key: format.key(), lines }
    }

    /// Append the events of `batch` to `out`, each as a line or as a few.
    ///
    /// Answers up to where `out` holds whole transactions: its length after the last line that
    /// belongs to a transaction which this batch completes, or `None` when it completes none.
    ///
    /// # Errors
    /// When a value cannot be written; `out` is then as it was.
    pub fn encode(
        &mut self,
        batch: &Batch,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, EncodeError> {
        self.encode_each(batch, out, |_| {})
    }

    /// [`encode`](Self::encode), with how long `out` is after each event shown to `after_each`. The
    /// bounds of transactions are events too; in some formats they have no line.
    ///
    /// # Errors
    /// As with [`encode`](Self::encode).
    pub fn encode_each(
        &mut self,
        batch: &Batch,
        out: &mut Vec<u8>,
        after_each: impl FnMut(usize),
    ) -> Result<Option<usize>, EncodeError> {
        match &mut self.lines {
            Lines::Json(json) => lines::encode(json, batch, out, after_each),
            Lines::CloudEvents(events) => lines::encode(events, batch, out, after_each),
            Lines::Debezium(envelopes) => lines::encode(envelopes, batch, out, after_each),
            Lines::Wal2Json(actions) => lines::encode(actions, batch, out, after_each),
        }
    }

    /// The events of `batch`, encoded once for all sinks that ask for the same format.
    ///
    /// The bytes live as long as the batch: ask only when other sinks do.
    ///
    /// # Errors
    /// As with [`encode`](Self::encode).
    pub fn encode_shared(&mut self, batch: &Batch) -> Result<Arc<Encoded>, EncodeError> {
        let key = self.key.clone();
        let mut encode = || {
            // A guess that is seldom too small, so that a large batch is not copied as it grows.
            let mut encoded = Encoded::default();
            encoded.bytes.reserve(batch.bytes() * 2);
            encoded.complete = self.encode(batch, &mut encoded.bytes)?;
            encoded.lease = batch.charge(encoded.bytes.capacity());
            Ok(encoded)
        };
        match (batch.shelf(), key) {
            (Some(shelf), Some(key)) => shelf.share(&key, encode),
            _ => encode().map(Arc::new),
        }
    }
}
