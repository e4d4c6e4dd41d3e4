//! The bytes a batch stands on, and the memory they hold.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A share of a memory budget, given back when its last clone is dropped.
///
/// What it is a share of is not known here: whoever lends it wraps its own guard.
#[derive(Clone, Default)]
pub struct Lease {
    /// Held for its `Drop` alone.
    _guard: Option<Arc<dyn Any + Send + Sync>>,
    lender: Option<Arc<dyn Lender>>,
}

/// Lends more of what a lease is a share of.
pub(crate) trait Lender: Send + Sync {
    /// A share of `bytes`, had whether they fit or not.
    fn charge(&self, bytes: usize) -> Lease;
}

impl Lease {
    /// A lease that counts against nothing.
    pub fn free() -> Self {
        Self::default()
    }

    /// A lease that drops `guard` with its last clone.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self { _guard: Some(Arc::new(guard)), lender: None }
    }

    /// The same lease, which `lender` has given.
    #[cfg(feature = "client")]
    pub(crate) fn of(mut self, lender: impl Lender + 'static) -> Self {
        self.lender = Some(Arc::new(lender));
        self
    }

    /// A share of its own for `bytes` that are made of what this one covers.
    pub(crate) fn more(&self, bytes: usize) -> Lease {
        self.lender.as_ref().map_or_else(Lease::free, |lender| lender.charge(bytes))
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

/// A run of whole CopyData messages, as they were read.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The messages, headers included.
    pub bytes: Bytes,
    /// The memory of the read buffer that `bytes` is a part of.
    pub lease: Lease,
}

impl Chunk {
    /// Cut it in two at byte `at`; the answer is the latter part.
    pub(crate) fn split_off(&mut self, at: usize) -> Chunk {
        Chunk { bytes: self.bytes.split_off(at), lease: self.lease.clone() }
    }
}
