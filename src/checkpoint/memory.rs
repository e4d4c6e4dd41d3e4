//! A checkpoint that lives as long as its process: for temporary slots, which do the same, and for
//! tests.

use super::{Checkpoint, CheckpointStore, StoreFuture};

/// Keeps a checkpoint in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    saved: Option<Checkpoint>,
}

impl CheckpointStore for MemoryStore {
    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>> {
        Box::pin(async { Ok(self.saved.clone()) })
    }

    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()> {
        Box::pin(async {
            self.saved = Some(checkpoint.clone());
            Ok(())
        })
    }
}
