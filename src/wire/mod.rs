//! What travels: bytes in, borrowed views out.
//!
//! Nothing here reads a socket, waits, or keeps state between messages. The start-up and query
//! messages are `postgres-protocol`'s; this floor adds what that crate lacks.

mod server_error;

pub use server_error::{ServerError, SqlState};
