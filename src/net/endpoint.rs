//! Where a server is, and where a connection went.
//!
//! A [`Host`] is one entry of the settings; an [`Endpoint`] is the one address of it that a
//! connection is tried at. Resolving names is for `connect`.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The port that is meant where none is given.
pub(super) const DEFAULT_PORT: u16 = 5432;

/// One server of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Host {
    /// A host by name or IP address.
    Tcp {
        /// The name, which TLS certificates are checked against; empty when only an address is
        /// known.
        name: String,
        /// The address to use instead of looking the name up (`hostaddr`).
        address: Option<IpAddr>,
    },
    /// The directory of a Unix-domain socket.
    Unix(PathBuf),
}

impl Host {
    /// A host name, an IP address, or the path of a socket directory.
    pub(super) fn named(name: &str) -> Self {
        if name.starts_with('/') {
            Self::Unix(PathBuf::from(name))
        } else {
            Self::Tcp { name: name.to_owned(), address: None }
        }
    }

    /// The name that a `.pgpass` line is compared with, besides `localhost` for a socket.
    pub(super) fn passfile_name(&self) -> String {
        match self {
            Self::Tcp { name, address: Some(address) } if name.is_empty() => address.to_string(),
            Self::Tcp { name, .. } => name.clone(),
            Self::Unix(directory) => directory.display().to_string(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, address: Some(address) } if name.is_empty() => {
                fmt::Display::fmt(address, f)
            }
            Self::Tcp { name, .. } => f.write_str(name),
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
    /// The entry of the settings.
    pub host: Host,
    /// The address used; `None` for a Unix-domain socket, or before the name is known.
    pub address: Option<IpAddr>,
    /// The port, which for a Unix-domain socket is part of its file name.
    pub port: u16,
}

impl Endpoint {
    /// The socket file, for a Unix-domain socket.
    pub fn socket_path(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Tcp { .. } => None,
            Host::Unix(directory) => Some(socket_path(directory, self.port)),
        }
    }
}

fn socket_path(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.to_string();
        if host.contains(':') {
            write!(f, "[{host}]:{}", self.port)?;
        } else {
            write!(f, "{host}:{}", self.port)?;
        }
        match self.address {
            Some(address) if address.to_string() != host => write!(f, " ({address})"),
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
            Endpoint { host: Host::named(host), address, port: 5433 }
        };
        assert_eq!(at("db1", Some("192.0.2.7")).to_string(), "db1:5433 (192.0.2.7)");
        assert_eq!(at("192.0.2.7", Some("192.0.2.7")).to_string(), "192.0.2.7:5433");
        assert_eq!(at("::1", Some("::1")).to_string(), "[::1]:5433");
        let socket = at("/run/pg", None);
        assert_eq!(socket.to_string(), "/run/pg:5433");
        assert_eq!(socket.socket_path().unwrap(), Path::new("/run/pg/.s.PGSQL.5433"));
    }
}
