//! A batch's bytes in one format, made once for every sink that writes it.

use std::sync::{Arc, OnceLock};

use crate::event::chunk::Lease;

/// A batch in one format.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Its events.
    pub bytes: Vec<u8>,
    /// Up to where `bytes` holds whole transactions; `None` when the batch completes none.
    pub complete: Option<usize>,
    /// The memory of `bytes`, which may live as long as the batch.
    pub(crate) lease: Lease,
}

/// How many formats there are to share.
pub(crate) const FORMATS: usize = 1;

/// Where a batch keeps what was encoded, one place for each format.
///
/// A lane that comes while another encodes waits for it: that takes no longer than doing the same
/// work beside it. `None` stands for a batch that could not be encoded.
#[derive(Debug, Default)]
pub(crate) struct Shelf([OnceLock<Option<Arc<Encoded>>>; FORMATS]);

impl Shelf {
    /// What stands at `place`, made by `encode` if nobody has yet.
    pub(crate) fn share<E>(
        &self,
        place: usize,
        mut encode: impl FnMut() -> Result<Encoded, E>,
    ) -> Result<Arc<Encoded>, E> {
        let mut failure = None;
        let shared = self.0[place].get_or_init(|| match encode() {
            Ok(encoded) => Some(Arc::new(encoded)),
            Err(error) => {
                failure = Some(error);
                None
            }
        });
        match (shared, failure) {
            (Some(encoded), _) => Ok(Arc::clone(encoded)),
            (None, Some(error)) => Err(error),
            // Another lane met the failure; this one needs its own account of it.
            (None, None) => encode().map(Arc::new),
        }
    }
}
