//! The stream of a slot in a directory, to be read again without a server.
//!
//! A [`Recorder`] writes what a [`ReplicationStream`](crate::ReplicationStream) assembles into a
//! [journal](crate::journal) and confirms to the slot what is synced there, and nothing else. A
//! [`Replay`] makes the same batches of it: frames go through the same assembler, and a connection
//! that followed another leaves out what that one had handed out, as it did when it was recorded.

mod error;
mod keeper;
mod record;
mod replay;

pub use error::RecordingError;
pub use record::{Recorded, Recorder};
pub use replay::{Progress, Replay};
