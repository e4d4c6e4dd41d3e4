//! Where a server is, and where a connection went.
//!
//! An [`Endpoint`] is one entry of the settings, and, once its name was looked up, the one address
//! of it that a connection is tried at. Looking up is for `connect`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// The port that is meant where none is given.
pub(super) const DEFAULT_PORT: u16 = 5432;

/// What a server is called in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Host {
    /// A host name or an IP address, which TLS certificates are checked against; empty when only
    /// `hostaddr` was given.
    Tcp(String),
    /// The directory of a Unix-domain socket.
    Unix(PathBuf),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(name) => f.write_str(name),
            Self::Unix(directory) => directory.display().fmt(f),
        }
    }
}

/// The server that a connection was tried at, or made to.
///
/// ```text
/// db1:5432 (192.0.2.7)        a name, and the address that it stood for
/// 192.0.2.7:5432              an address
/// /run/postgresql:5432        a Unix-domain socket
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// What it is called.
    pub host: Host,
    /// The address used, or to be used instead of looking the name up; `None` for a Unix-domain
    /// socket.
    pub address: Option<IpAddr>,
    /// The port, which for a Unix-domain socket is part of its file name.
    pub port: u16,
}

impl Endpoint {
    /// The socket file, for a Unix-domain socket.
    pub fn socket_path(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Tcp(_) => None,
            Host::Unix(directory) => Some(directory.join(format!(".s.PGSQL.{}", self.port))),
        }
    }

    /// Its name, or its address where it has none: what a `.pgpass` line is compared with.
    pub(super) fn name(&self) -> String {
        match (&self.host, self.address) {
            (Host::Tcp(name), Some(address)) if name.is_empty() => address.to_string(),
            (host, _) => host.to_string(),
        }
    }

    /// `name:port`.
    pub(super) fn name_and_port(&self) -> String {
        let name = self.name();
        let (open, close) = if name.contains(':') { ("[", "]") } else { ("", "") };
        format!("{open}{name}{close}:{}", self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name_and_port())?;
        match self.address {
            Some(address) if address.to_string() != self.name() => write!(f, " ({address})"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_print_as_people_write_them() {
        let at = |host: &str, address: Option<&str>| {
            let address = address.map(|address| address.parse().unwrap());
            let host = match host.starts_with('/') {
                true => Host::Unix(host.into()),
                false => Host::Tcp(host.into()),
            };
            Endpoint { host, address, port: 5433 }
        };
        assert_eq!(at("db1", Some("192.0.2.7")).to_string(), "db1:5433 (192.0.2.7)");
        assert_eq!(at("192.0.2.7", Some("192.0.2.7")).to_string(), "192.0.2.7:5433");
        assert_eq!(at("::1", Some("::1")).to_string(), "[::1]:5433");
        let socket = at("/run/pg", None);
        assert_eq!(socket.to_string(), "/run/pg:5433");
        assert_eq!(at("", Some("::1")).to_string(), "[::1]:5433");
        assert_eq!(socket.socket_path().unwrap(), PathBuf::from("/run/pg/.s.PGSQL.5433"));
    }
}
