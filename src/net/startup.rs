//! From an open socket to a session that is ready for its first command.
//!
//! Sends the startup message with every setting pinned that could change what values look like or
//! end a long statement, authenticates, reads what the server says of itself, and checks that the
//! server is of the kind asked for. Replication and SQL sessions begin alike; only the
//! `replication` parameter tells them apart.

use std::collections::BTreeMap;
use std::fmt;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::auth::{self, refused};
use super::config::ConnectConfig;
use super::dialogue::Dialogue;
use super::error::ConnectError;
use super::options::TargetSessionAttrs;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Replication,
    Sql,
}

/// Settings that role, database or server may have otherwise. They win over `options`.
///
/// The first group decides what values look like in text; the second would end long commands; the
/// last keeps a pipeline that is named in `synchronous_standby_names` from waiting for itself.
const PINNED: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("synchronous_commit", "local"),
];

/// Pinned where the server knows them, by the first major version that does.
const PINNED_SINCE: &[(u32, &str)] = &[(17, "SET transaction_timeout = 0")];

/// What the server reports of itself and of the session's settings (`server_version`, `TimeZone`
/// …).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerParameters(BTreeMap<String, String>);

impl ServerParameters {
    /// The value of a parameter, if the server reported it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The server's major version: 15 for `15.14 (Debian 15.14-0+deb12u1)` and for `15beta1`.
    /// 0 if the server did not say.
    pub fn major_version(&self) -> u32 {
        let version = self.get("server_version").unwrap_or_default();
        let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
        version[..digits].parse().unwrap_or(0)
    }
}

/// Which server process serves the session, and the secret that lets us cancel its command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CancelKey {
    /// The process, as in `pg_stat_activity` and `pg_stat_replication`.
    pub pid: i32,
    pub(super) secret: i32,
    /// Whether the session uses TLS: the secret travels as safely as everything else.
    pub(super) over_tls: bool,
}

impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelKey").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// What the server told by the time it was ready.
pub(super) struct Ready {
    pub(super) parameters: ServerParameters,
    pub(super) cancel_key: CancelKey,
}

/// Begin the session.
pub(super) async fn start(
    dialogue: &mut Dialogue,
    config: &ConnectConfig,
    purpose: Purpose,
    wanted: TargetSessionAttrs,
) -> Result<Ready, ConnectError> {
    let parameters = startup_parameters(config, purpose);
    dialogue.send(|buffer| frontend::startup_message(parameters, buffer)).await?;
    auth::authenticate(dialogue, config).await?;
    let ready = read_until_ready(dialogue, config).await?;
    for (since, command) in PINNED_SINCE {
        if ready.parameters.major_version() >= *since {
            ask(dialogue, config, command).await?;
        }
    }
    check_attrs(dialogue, config, &ready.parameters, wanted).await?;
    Ok(ready)
}

fn startup_parameters(config: &ConnectConfig, purpose: Purpose) -> Vec<(&str, &str)> {
    let mut parameters = vec![("user", config.user()), ("database", config.database())];
    if purpose == Purpose::Replication {
        parameters.push(("replication", "database"));
    }
    if let Some(name) = config.pg.get_application_name() {
        parameters.push(("application_name", name));
    }
    if let Some(options) = config.pg.get_options() {
        parameters.push(("options", options));
    }
    parameters.extend_from_slice(PINNED);
    parameters
}

async fn read_until_ready(
    dialogue: &mut Dialogue,
    config: &ConnectConfig,
) -> Result<Ready, ConnectError> {
    let mut parameters = BTreeMap::new();
    let over_tls = dialogue.socket.is_tls();
    let mut cancel_key = CancelKey { pid: 0, secret: 0, over_tls };
    loop {
        match dialogue.receive().await? {
            Message::ParameterStatus(body) => {
                let name = body.name().map_err(|error| dialogue.violation(error))?;
                let value = body.value().map_err(|error| dialogue.violation(error))?;
                parameters.insert(name.to_owned(), value.to_owned());
            }
            Message::BackendKeyData(body) => {
                (cancel_key.pid, cancel_key.secret) = (body.process_id(), body.secret_key());
            }
            Message::ReadyForQuery(_) => {
                return Ok(Ready { parameters: ServerParameters(parameters), cancel_key });
            }
            Message::ErrorResponse(body) => return Err(refused(dialogue, config, (&body).into())),
            _ => return Err(dialogue.unexpected("a message that has no place in the start-up")),
        }
    }
}

/// Run a command and return the first value of its last row, which it need not have.
async fn ask(
    dialogue: &mut Dialogue,
    config: &ConnectConfig,
    command: &str,
) -> Result<Option<String>, ConnectError> {
    dialogue.send(|buffer| frontend::query(command, buffer)).await?;
    let mut answer = None;
    loop {
        match dialogue.receive().await? {
            Message::DataRow(row) => {
                let first = row.ranges().next().map_err(|error| dialogue.violation(error))?;
                answer = first
                    .flatten()
                    .map(|range| String::from_utf8_lossy(&row.buffer()[range]).into_owned());
            }
            Message::ReadyForQuery(_) => return Ok(answer),
            Message::ErrorResponse(body) => return Err(refused(dialogue, config, (&body).into())),
            Message::RowDescription(_)
            | Message::CommandComplete(_)
            | Message::ParameterStatus(_) => {}
            _ => return Err(dialogue.unexpected("a message that does not answer a query")),
        }
    }
}

async fn check_attrs(
    dialogue: &mut Dialogue,
    config: &ConnectConfig,
    parameters: &ServerParameters,
    wanted: TargetSessionAttrs,
) -> Result<(), ConnectError> {
    use TargetSessionAttrs as Attrs;

    if wanted == Attrs::Any {
        return Ok(());
    }
    // Servers say this of themselves; a proxy between may keep it back.
    let standby = match parameters.get("in_hot_standby") {
        Some(value) => value == "on",
        None => {
            let answer = ask(dialogue, config, "SELECT pg_catalog.pg_is_in_recovery()").await?;
            answer.as_deref() == Some("t")
        }
    };
    let read_only = standby
        || match parameters.get("default_transaction_read_only") {
            Some(value) => value == "on",
            None => {
                let answer = ask(dialogue, config, "SHOW transaction_read_only").await?;
                answer.as_deref() == Some("on")
            }
        };
    let suits = match wanted {
        Attrs::ReadWrite => !read_only,
        Attrs::ReadOnly => read_only,
        Attrs::Primary => !standby,
        Attrs::Standby | Attrs::PreferStandby => standby,
        Attrs::Any => true,
    };
    if suits {
        return Ok(());
    }
    Err(ConnectError::SessionAttrs { at: dialogue.at.clone(), wanted })
}
