//! walcast reads a PostgreSQL logical replication slot, decodes `pgoutput` into typed rows and fans
//! every committed change out to any number of sinks.
//!
//! The one property everything else serves: **the slot is never told an LSN that some required sink
//! has not made durable.**

mod error;
mod lineage;
mod lsn;
mod name;
mod table_pattern;
mod timestamp;

#[cfg(feature = "client")]
mod budget;

#[cfg(feature = "client")]
pub mod catalog;
#[cfg(feature = "client")]
pub mod check;
#[cfg(feature = "client")]
pub mod checkpoint;
pub mod codec;
#[cfg(feature = "cli")]
pub mod config;
pub mod event;
#[cfg(feature = "client")]
pub mod fanout;
#[cfg(feature = "client")]
pub mod journal;
#[cfg(feature = "client")]
pub mod message;
#[cfg(feature = "client")]
pub mod monitor;
#[cfg(feature = "client")]
pub mod net;
#[cfg(feature = "client")]
pub mod pipeline;
#[cfg(feature = "client")]
pub mod publication;
#[cfg(feature = "client")]
pub mod recording;
pub mod row;
pub mod session;
#[cfg(feature = "client")]
pub mod shutdown;
#[cfg(feature = "client")]
pub mod sink;
#[cfg(feature = "client")]
pub mod sinks;
#[cfg(feature = "client")]
pub mod slot;
#[cfg(feature = "client")]
pub mod state_dir;
#[cfg(feature = "client")]
pub mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wire;

#[cfg(feature = "client")]
pub use budget::Budget;
pub use error::{Blame, Error, ErrorKind, Result};
pub use lineage::{Lineage, LineageError};
pub use lsn::{Lsn, LsnParseError, Position};
pub use name::{
    NameError, PublicationName, Secret, ServerIdentity, SinkName, SlotName, SystemId, Timeline,
    quote_identifier, quote_literal,
};
#[cfg(feature = "client")]
pub use net::Streaming;
#[cfg(feature = "client")]
pub use pipeline::Pipeline;
#[cfg(feature = "client")]
pub use shutdown::Shutdown;
#[cfg(feature = "client")]
pub use stream::{Confirmer, ReplicationStream, Source, StreamedDelivery, WireFormat};
pub use table_pattern::{TablePattern, TablePatternError};
pub use timestamp::Timestamp;

/// The README's program compiles.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../README.md")]
struct Readme;
