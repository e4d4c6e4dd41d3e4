//! How a server is reached: a URL or a file with it, the password beside it, certificate files.
//!
//! The primary and the target of a sink are written alike. What they become reads the same
//! variables of the process as `tail` does (`PGSSLMODE` …).

use super::error::ProblemKind;
use super::table::Table;
use crate::net::ConnectConfig;

/// Read how the server of the section `table` is reached.
pub(super) fn read(table: &Table<'_>) -> Option<ConnectConfig> {
    let key = if table.has("url_file") { "url_file" } else { "url" };
    if !table.has(key) {
        table.report_missing("url");
    }
    let url = table.secret("url", "url_file");
    let password = table.secret("password", "password_file");
    let tls = table.section("tls");
    let mut connect = match url?.expose() {
        "" => {
            table.report_missing("url");
            None
        }
        url => match url.parse::<ConnectConfig>() {
            Ok(connect) => Some(connect),
            Err(error) => {
                table.report(key, ProblemKind::Url(error));
                None
            }
        },
    };
    if let Some(password) = password {
        connect = connect.map(|connect| connect.password(password.expose()));
    }
    with_certificates(connect, &tls)
}

fn with_certificates(connect: Option<ConnectConfig>, table: &Table<'_>) -> Option<ConnectConfig> {
    for (one, other) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if table.has(one) && !table.has(other) {
            table.report(one, ProblemKind::Needs { other });
        }
    }
    let paths = ["root_cert", "client_cert", "client_key"].map(|key| table.path(key));
    let set = [ConnectConfig::root_cert, ConnectConfig::client_cert, ConnectConfig::client_key];
    let mut connect = connect?;
    for (path, set) in paths.into_iter().zip(set) {
        if let Some(path) = path {
            connect = set(connect, path);
        }
    }
    Some(connect)
}
