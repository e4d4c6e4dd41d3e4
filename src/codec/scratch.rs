//! A buffer for what is made of a value and used at once.

use std::cell::Cell;

/// A buffer that grows beyond this is not kept for the next value.
const SCRATCH_KEPT_BYTES: usize = 64 * 1024;

/// Give `use_it` an empty buffer that this thread uses again and again.
pub(crate) fn with_scratch<T>(use_it: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    // Taken out while in use: what is called meanwhile may want one too.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let result = use_it(&mut scratch);
    if scratch.capacity() <= SCRATCH_KEPT_BYTES {
        SCRATCH.set(scratch);
    }
    result
}
