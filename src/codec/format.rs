//! The formats a sink can write, behind one encoder.
//!
//! An [`Encoder`] is what a sink owns: it appends batches to a buffer, or gets the bytes that
//! another sink of the same pipeline has already made of the same batch.

use std::sync::Arc;

use crate::codec::error::EncodeError;
use crate::codec::json::JsonLines;
use crate::codec::value::TypeRegistry;
use crate::event::{Batch, Encoded};

/// How events are written.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EventFormat {
    /// One native JSON object per line; see [`json`](crate::codec::json).
    #[default]
    Json,
}

impl EventFormat {
    /// Its name, as a config writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
        }
    }

    /// Its place on a batch's shelf.
    const fn place(self) -> usize {
        match self {
            Self::Json => 0,
        }
    }
}

/// Writes batches in one format.
#[derive(Debug)]
pub struct Encoder {
    format: EventFormat,
    lines: JsonLines,
}

impl Encoder {
    /// An encoder of `format` for columns of these types.
    pub fn new(format: EventFormat, types: Arc<TypeRegistry>) -> Self {
        Self { format, lines: JsonLines::new(types) }
    }

    /// Append the events of `batch` to `out`; see [`JsonLines::encode`].
    pub fn encode(
        &mut self,
        batch: &Batch,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, EncodeError> {
        match self.format {
            EventFormat::Json => self.lines.encode(batch, out),
        }
    }

    /// The events of `batch`, encoded once for all sinks that ask for the same format.
    ///
    /// The bytes live as long as the batch: ask only when other sinks do.
    pub fn encode_shared(&mut self, batch: &Batch) -> Result<Arc<Encoded>, EncodeError> {
        let place = self.format.place();
        let mut encode = || {
            // A guess that is seldom too small, so that a large batch is not copied as it grows.
            let mut encoded = Encoded::default();
            encoded.bytes.reserve(batch.bytes() * 2);
            encoded.complete = self.encode(batch, &mut encoded.bytes)?;
            encoded.lease = batch.charge(encoded.bytes.capacity());
            Ok(encoded)
        };
        match batch.shelf() {
            Some(shelf) => shelf.share(place, encode),
            None => encode().map(Arc::new),
        }
    }
}
