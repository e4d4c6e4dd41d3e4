//! What sinks and codecs are proven with.
//!
//! [`Frames`] writes what a server would send, [`Feed`] turns it into batches, so that a sink can
//! be tried without a server. Behind the feature `testing`; nothing else in the crate depends on
//! it.

mod feed;
mod frames;
mod reading;

pub use feed::Feed;
pub use frames::{Frames, OldRowKind};
pub use reading::{Reading, ReadingError};
