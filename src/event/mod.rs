//! What changed: batches of committed changes and the borrowed views into them.
//!
//! A `Batch` owns the bytes as they came; an `Event`, a `Row` and a `Value` are small copies that
//! point into it. Nothing here knows where a batch came from or where it goes.

mod relation;
mod value;

pub use relation::{Column, Oid, Relation, ReplicaIdentity};
pub use value::Value;
