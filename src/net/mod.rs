//! Sockets.

mod driver;
mod read_buffer;
