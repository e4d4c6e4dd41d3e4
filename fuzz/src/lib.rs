//! What must hold for any input, one property a module: each `check` takes bytes and panics when
//! something of walcast does not keep its word. The targets in `fuzz_targets` only call them.

#![forbid(unsafe_code)]

pub mod copy_both;
pub mod journal;
pub mod pgoutput;
pub mod reader;
mod rewritten;
pub mod session;
pub mod settings;
mod steering;
pub mod streamed;
pub mod values;

use allocation_counter::AllocationInfo;

/// The most bytes that `work` held at once, of what it allocated, must stay below a share that the
/// length of its input allows.
#[track_caller]
fn bounded<T>(input_bytes: usize, per_byte: usize, work: impl FnOnce() -> T) -> T {
    const ALWAYS: usize = 64 * 1024;
    let mut result = None;
    let AllocationInfo { bytes_max, .. } = allocation_counter::measure(|| result = Some(work()));
    let allowed = ALWAYS + per_byte * input_bytes;
    assert!(
        bytes_max <= allowed as u64,
        "{bytes_max} bytes allocated at once for {input_bytes} bytes of input, {allowed} allowed"
    );
    result.expect("the work was done")
}
