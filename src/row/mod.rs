//! Rows as Rust values.
//!
//! A [`Row`] lends its columns as whatever the caller asks for: one column as a type that
//! `postgres-types` knows to read ([`Row::get`]), or the row as a type that serde knows to build
//! ([`Row::deserialize`]). What came as text gives the same value as what came in binary. A value
//! that the server did not send is never taken for NULL: it is an error, but for a [`Column`],
//! which says so.
//!
//! ```
//! # use walcast::row::{Column, RowError};
//! # use walcast::event::Row;
//! #[derive(serde::Deserialize)]
//! struct Order<'a> {
//!     id: i64,
//!     #[serde(rename = "customer_name")]
//!     customer: &'a str,
//!     note: Column<String>,
//!     shipped: Option<bool>,
//! }
//!
//! fn read(row: Row<'_>) -> Result<(), RowError> {
//!     let id: i64 = row.get("id")?;
//!     let first: &str = row.get(0)?;
//!     let order: Order = row.deserialize()?;
//!     let (id, total): (i64, f64) = row.columns(["id", "total"])?.deserialize()?;
//! #   let _ = (order.id, order.customer, order.note, order.shipped, first);
//!     Ok(())
//! }
//! ```
//!
//! Which type a column is of comes from its oid where the type is built in, and from what the
//! catalogue said of the row's shape where the database defines it; of a type that was gone by then
//! the caller may know it, for [`Row::get_as`]. Nothing here asks a server.

mod column;
mod de;
mod error;
mod get;
mod json;
#[cfg(test)]
mod tests;

pub use column::Column;
pub use de::Columns;
pub use error::{RowError, RowFault};
pub use get::{ColumnIndex, FromColumn};

#[cfg(doc)]
use crate::event::Row;
