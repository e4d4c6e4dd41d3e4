//! The replication payloads of the wire protocol, as bytes in and views out.
//!
//! `postgres-protocol` knows the frontend and backend messages of an ordinary session. What it
//! lacks is here: the messages inside CopyData ([`copy_both`]) and the output of the `pgoutput`
//! plugin ([`pgoutput`], [`streaming`]), both read through one bounds-checked [`Reader`]. Nothing
//! in this module allocates for what a length on the wire claims, knows a socket, or remembers a
//! message.

pub mod copy_both;
mod field;
pub mod pgoutput;
mod reader;
mod server_error;
pub mod streaming;

pub use field::Field;
pub use reader::{DecodeError, Reader};
pub use server_error::{ServerError, SqlState};
