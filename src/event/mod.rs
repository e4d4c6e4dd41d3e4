//! What changed: batches of committed changes and the borrowed views into them.
//!
//! A [`Batch`] owns the bytes as they came; an [`Event`], a [`Row`] and a [`Value`] are small
//! copies that point into it. Nothing here knows where a batch came from or where it goes.

mod arena;
mod batch;
mod catalog;
mod chunk;
mod early;
mod encoded;
#[cfg(feature = "client")]
mod given;
#[cfg(feature = "client")]
mod mark;
mod relation;
mod row;
mod schema_change;
mod transaction;
mod typed;
mod value;
mod versions;

pub(crate) use arena::{Arena, Head, HeadKind, RowHead, RowShape, Span, to_u32};
pub use batch::{Batch, Change, Event, Message, Operation, Truncate};
pub use catalog::{CatalogEntry, TableAttribute, TableEntry};
#[cfg(feature = "client")]
pub(crate) use chunk::Lender;
pub use chunk::{Chunk, Lease};
pub(crate) use early::StreamHead;
pub use early::{Abort, EarlyChange, EarlyKind, EarlyMessage, EarlyRow, EarlyTruncate};
pub use encoded::Encoded;
#[cfg(feature = "client")]
pub(crate) use given::{Broken, Given};
#[cfg(feature = "client")]
pub(crate) use mark::Mark;
pub use relation::{Column, Oid, Relation, ReplicaIdentity};
pub use row::{OldRow, Row};
pub use schema_change::SchemaChange;
pub(crate) use schema_change::ShapeChange;
pub use transaction::Transaction;
pub(crate) use transaction::{TransactionEnd, TransactionHead};
pub use value::Value;
pub use versions::RelationVersions;
