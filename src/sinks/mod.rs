//! The sinks that come with walcast, one room each.
//!
//! Each keeps the contract of [`sink`](crate::sink) and sees no more of this crate than a sink of
//! somebody else would: events, codecs and the contract. None knows of another, of lanes or of
//! pipelines.

pub mod channel;
pub mod file;
pub mod null;
pub mod postgres;
pub mod stdout;

pub use channel::ChannelSink;
pub use file::FileSink;
pub use null::NullSink;
pub use postgres::PostgresSink;
pub use stdout::WriterSink;
