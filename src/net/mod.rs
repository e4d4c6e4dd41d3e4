//! Sockets, TLS and authentication: from settings to a session that is ready.
//!
//! [`connect_replication`] opens a walsender session, [`sql_connect`] an ordinary one, both by the
//! same [`ConnectConfig`] and over the same code, so that they agree on hosts, certificates and
//! credentials. This floor owns the randomness of authentication and every wait before the first
//! command; it refuses to know replication commands, slots and what travels afterwards.
//!
//! ```text
//! conninfo ─► config ─► connect ─┬─► socket, tls ─► startup, auth ─┬─► ReplicationSocket
//!             passfile           └── host after host               └─► handover ─► SqlClient
//! ```

mod advice;
mod auth;
mod binding;
mod blocking;
mod config;
mod connect;
mod conninfo;
mod dialogue;
mod driver;
mod endpoint;
mod error;
mod handover;
mod options;
mod passfile;
mod read_buffer;
mod replication;
mod settings_error;
mod socket;
mod sql;
mod sql_error;
mod start;
mod startup;
mod tcp;
mod tls;
mod walsender;

pub use config::ConnectConfig;
pub(crate) use driver::{DriverError, Feed, Gauges, QUEUED_RUNS, Request, Wiring};
pub use endpoint::{Endpoint, Host};
pub use error::{ConnectError, Stage, TlsFileError};
pub use options::{AuthMethod, ChannelBinding, SslMode, SslNegotiation, TargetSessionAttrs};
pub use passfile::PassfileOutcome;
pub use replication::{ReplicationSocket, connect_replication};
pub use settings_error::SettingsError;
pub use socket::Socket;
pub use sql::{SqlClient, SqlEnd, cancel, sql_connect};
pub use sql_error::SqlError;
pub(crate) use sql_error::is_shutdown;
pub use start::{Format, StreamOptions, Streaming};
pub(crate) use start::{StreamStart, knows_two_phase};
pub use startup::{CancelKey, ServerParameters};
pub use walsender::{CommandError, CreatedSlot, SlotKind, SystemIdentification, Walsender};
