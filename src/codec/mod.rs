//! Turning values and events into bytes for a sink.
//!
//! Everything here is pure: borrowed views in, bytes appended to a caller's buffer, no I/O and no
//! clock. [`value`] knows the types and writes one column's value; the event formats stand on it:
//! [`json`], [`debezium`], [`cloudevents`], [`wal2json`].
//! [`transcode`] makes a value's text into its binary form, which is what Rust types read.
//! Nothing here knows where a value came from or which sink the bytes go to.

pub mod cloudevents;
pub mod debezium;
mod error;
mod format;
pub mod json;
mod lines;
mod place;
mod plans;
mod scan;
mod scratch;
mod string;
#[cfg(test)]
mod tests;
mod transcode;
pub mod value;
pub mod wal2json;

pub use error::{EncodeError, EncodeFault};
pub use format::{Encoder, EventFormat};
pub(crate) use scratch::with_scratch;
pub use string::{NotUtf8, write_json_str, write_json_utf8};
pub(crate) use transcode::Transcoder;
pub use transcode::{TranscodeError, text_is_binary, transcode};
