//! What to do about a connection that was not made, in words.

use std::borrow::Cow;

use rustls::CertificateError;

use super::error::{ConnectError, TlsFileError};
use super::passfile::PassfileOutcome;
use crate::name::quote_identifier;
use crate::wire::{ServerError, SqlState};

impl ConnectError {
    /// What to do about it, where that is known.
    pub fn fix(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotPermitted { server, user, .. } => Some(not_permitted_fix(server, user)),
            Self::NoHost { attempts } => attempts.iter().find_map(Self::fix),
            _ => self.tls_fix().or_else(|| self.auth_fix()).or_else(|| self.server_fix()),
        }
    }

    fn tls_fix(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::TlsFile { source: TlsFileError::ReadableByOthers, .. } => {
                "chmod 0600 the key file"
            }
            Self::NoRootCertificate { .. } => {
                "set sslrootcert to the authority's certificate, or sslrootcert=system with \
                 sslmode=verify-full"
            }
            Self::TlsRefused { .. } => {
                "set ssl = on in the server's postgresql.conf, or ask for less with sslmode"
            }
            Self::NoDirectTls { .. } => {
                "drop sslnegotiation=direct: it needs PostgreSQL 17 or newer and no proxy between"
            }
            Self::Certificate { problem, .. } => certificate_fix(problem),
            Self::ClientCertificate { .. } => {
                "set sslcert and sslkey to a certificate of an authority that the server trusts \
                 (its ssl_ca_file)"
            }
            _ => return None,
        }))
    }

    fn auth_fix(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::NoPassword { looked: PassfileOutcome::ReadableByOthers(_), .. } => {
                "chmod 0600 the password file"
            }
            Self::NoPassword { .. } => {
                "put the password in the URL, in PGPASSWORD, or in a .pgpass file of mode 0600"
            }
            Self::PasswordRefused { .. } => "check user and password",
            Self::ServerNotAuthentic { .. } => {
                "somebody may stand between: check the host, and use sslmode=verify-full"
            }
            Self::AuthMethodUnsupported { .. } => {
                "give this role scram-sha-256 or cert in the server's pg_hba.conf"
            }
            Self::AuthMethodRefused { .. } => {
                "change require_auth, or the method in the server's pg_hba.conf"
            }
            Self::NoChannelBinding { .. } => {
                "use TLS and scram-sha-256 in pg_hba.conf, or channel_binding=prefer"
            }
            _ => return None,
        }))
    }

    fn server_fix(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Unreachable { .. } => {
                "check host and port, that the server runs, and its listen_addresses"
            }
            Self::DatabaseMissing { .. } => "name an existing database in the URL",
            Self::TooManyConnections { .. } => {
                "raise max_connections or max_wal_senders, or end connections that are not needed"
            }
            Self::SessionAttrs { .. } => "name all servers of the cluster in the URL",
            Self::Protocol { .. } => "check that host and port are those of a PostgreSQL server",
            _ => return None,
        }))
    }
}

fn not_permitted_fix(server: &ServerError, user: &str) -> Cow<'static, str> {
    if server.sqlstate == SqlState::INSUFFICIENT_PRIVILEGE {
        return format!("ALTER ROLE {} REPLICATION", quote_identifier(user)).into();
    }
    "add a line for this user, database and address to the server's pg_hba.conf (a logical \
     replication connection matches the database's name, not the word replication), and check that \
     the role exists with LOGIN"
        .into()
}

/// Why a certificate is refused, as part of a sentence.
pub(super) fn certificate_problem(error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            match presented.as_slice() {
                [] => format!("it names no host (no subjectAltName), and so not {expected:?}"),
                names => format!("it is for {}, not for {expected:?}", names.join(", ")),
            }
        }
        CertificateError::UnknownIssuer => "no trusted authority issued it".to_owned(),
        CertificateError::BadSignature => {
            "no trusted authority issued it (one has the issuer's name, and another key)".to_owned()
        }
        other => other.to_string(),
    }
}

fn certificate_fix(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "connect by a name that the certificate has, or issue it with that name as a \
             subjectAltName"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the server's certificate"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "set sslrootcert to the certificate of the issuing authority"
        }
        _ => "check the server's certificate and sslrootcert",
    }
}
