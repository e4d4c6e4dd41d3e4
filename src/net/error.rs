//! Why no connection was made.
//!
//! A [`ConnectError`] says at which address what went wrong, whether it may pass by itself, and
//! what to do about it. At the border it becomes a [`crate::Error`]. It never carries a secret.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::advice::certificate_problem;
use super::endpoint::Endpoint;
use super::options::{AuthMethod, TargetSessionAttrs};
use super::passfile::PassfileOutcome;
use super::settings_error::SettingsError;
use crate::error::{Error, ErrorKind};
use crate::wire::{ServerError, SqlState};

/// How far a connection attempt had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Looking the host's name up.
    Resolve,
    /// Opening the socket.
    Connect,
    /// Agreeing on TLS.
    Tls,
    /// Proving who we are, and reading what the server says of itself.
    Startup,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "while looking up the host name",
            Self::Connect => "while opening the socket",
            Self::Tls => "during the TLS handshake",
            Self::Startup => "during authentication and start-up",
        })
    }
}

/// A certificate or key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    /// It holds nothing of the kind, or not in PEM.
    #[error("it holds no {0} in PEM")]
    NothingInside(&'static str),
    /// A private key that group or others may read.
    #[error("group or others have access to it")]
    ReadableByOthers,
    /// TLS has no use for what is in it.
    #[error("it does not fit")]
    Unusable(#[source] rustls::Error),
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings cannot work.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A certificate or key file cannot be used.
    #[error("the {what} {} cannot be used", path.display())]
    TlsFile {
        /// What the file is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: TlsFileError,
    },
    /// `sslmode=verify-ca` without an authority to trust.
    #[error("sslmode={mode} needs a root certificate, and there is none")]
    NoRootCertificate {
        /// The mode.
        mode: &'static str,
    },
    /// The platform's certificate authorities cannot be loaded.
    #[error("the system's certificate authorities cannot be loaded")]
    SystemRoots {
        /// Why not.
        source: Box<rustls::Error>,
    },
    /// Nothing answers there, or the name means nothing.
    #[error("cannot reach {at}")]
    Unreachable {
        /// Where.
        at: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// The server took longer than `connect_timeout`.
    #[error("no answer from {at} within {after:?} {stage}")]
    Timeout {
        /// Where.
        at: Endpoint,
        /// How far it had come.
        stage: Stage,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke before the server was ready.
    #[error("the connection to {at} broke {stage}")]
    BrokenOff {
        /// Where.
        at: Endpoint,
        /// How far it had come.
        stage: Stage,
        /// What the operating system said.
        source: io::Error,
    },
    /// The settings ask for TLS and the server has none.
    #[error("{at} does not offer TLS")]
    TlsRefused {
        /// Where.
        at: Endpoint,
    },
    /// The TLS handshake failed, for another reason than a certificate.
    #[error("no TLS with {at}")]
    Tls {
        /// Where.
        at: Endpoint,
        /// What TLS said.
        source: Box<rustls::Error>,
    },
    /// The server does not speak PostgreSQL after a direct TLS handshake.
    #[error("{at} did not agree to the protocol \"postgresql\" in a direct TLS handshake")]
    NoDirectTls {
        /// Where.
        at: Endpoint,
    },
    /// The server's certificate is not to be trusted.
    #[error("the certificate of {at} is refused: {}", certificate_problem(problem))]
    Certificate {
        /// Where.
        at: Endpoint,
        /// Why.
        problem: Box<rustls::CertificateError>,
    },
    /// The server does not accept our certificate, or wants one.
    #[error("{at} refused our client certificate")]
    ClientCertificate {
        /// Where.
        at: Endpoint,
        /// What TLS said.
        source: Box<rustls::Error>,
    },
    /// The server asks for a password and none was found.
    #[error("{at} asks for the password of user {user:?}, and none is known: {looked}")]
    NoPassword {
        /// Where.
        at: Endpoint,
        /// For whom.
        user: String,
        /// What became of the look-up in the password file.
        looked: PassfileOutcome,
    },
    /// The password is wrong.
    #[error("{at} refused the password of user {user:?}: {server}")]
    PasswordRefused {
        /// Where.
        at: Endpoint,
        /// Whose.
        user: String,
        /// What the server said.
        server: Box<ServerError>,
    },
    /// The server could not prove that it knows the password, or broke the rules of the exchange.
    #[error("{at} failed to prove that it knows the password")]
    ServerNotAuthentic {
        /// Where.
        at: Endpoint,
        /// What was wrong.
        source: io::Error,
    },
    /// The server asks for a proof that walcast cannot give.
    #[error("{at} asks for authentication by {method}, which is not supported")]
    AuthMethodUnsupported {
        /// Where.
        at: Endpoint,
        /// What it asks for.
        method: AuthMethod,
    },
    /// The server asks for a proof that `require_auth` rules out.
    #[error("{at} asks for authentication by {method}, which require_auth rules out")]
    AuthMethodRefused {
        /// Where.
        at: Endpoint,
        /// What it asks for.
        method: AuthMethod,
    },
    /// `channel_binding=require`, and the exchange cannot be bound.
    #[error("channel binding is required, but {why} ({at})")]
    NoChannelBinding {
        /// Where.
        at: Endpoint,
        /// Why not.
        why: &'static str,
    },
    /// The server may not let us in: no right, no line in `pg_hba.conf`, no such role.
    #[error("{at} does not let user {user:?} in: {server}")]
    NotPermitted {
        /// Where.
        at: Endpoint,
        /// Whom.
        user: String,
        /// What the server said.
        server: Box<ServerError>,
    },
    /// There is no such database.
    #[error("{at} has no database {database:?}: {server}")]
    DatabaseMissing {
        /// Where.
        at: Endpoint,
        /// Which one.
        database: String,
        /// What the server said.
        server: Box<ServerError>,
    },
    /// All connections, or all walsenders, are taken.
    #[error("{at} has no free connection: {server}")]
    TooManyConnections {
        /// Where.
        at: Endpoint,
        /// What the server said.
        server: Box<ServerError>,
    },
    /// The server is starting up or shutting down.
    #[error("{at} takes no connections now: {server}")]
    NotAccepting {
        /// Where.
        at: Endpoint,
        /// What the server said.
        server: Box<ServerError>,
    },
    /// The server is not of the kind that `target_session_attrs` asks for.
    #[error("{at} is not what target_session_attrs={wanted} asks for")]
    SessionAttrs {
        /// Where.
        at: Endpoint,
        /// What is asked for.
        wanted: TargetSessionAttrs,
    },
    /// The server reported another error.
    #[error("{at} refused the connection: {server}")]
    Server {
        /// Where.
        at: Endpoint,
        /// What it said.
        server: Box<ServerError>,
    },
    /// What came back is not PostgreSQL's protocol.
    #[error("{at} does not speak PostgreSQL's protocol")]
    Protocol {
        /// Where.
        at: Endpoint,
        /// What was wrong.
        source: io::Error,
    },
    /// `tokio_postgres` did not take over the open session.
    #[error("the SQL session with {at} could not be set up")]
    SqlClient {
        /// Where.
        at: Endpoint,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// None of several addresses would do.
    #[error("no server could be used: {}", listed(attempts))]
    NoHost {
        /// What happened at each, in the order tried.
        attempts: Vec<ConnectError>,
    },
}

impl ConnectError {
    /// The refusal that `server` stands for.
    pub(super) fn refused(at: &Endpoint, user: &str, database: &str, server: ServerError) -> Self {
        let (at, user, server) = (at.clone(), user.to_owned(), Box::new(server));
        match server.sqlstate {
            SqlState::INVALID_PASSWORD => Self::PasswordRefused { at, user, server },
            SqlState::INVALID_AUTHORIZATION | SqlState::INSUFFICIENT_PRIVILEGE => {
                Self::NotPermitted { at, user, server }
            }
            SqlState::INVALID_CATALOG_NAME => {
                Self::DatabaseMissing { at, database: database.to_owned(), server }
            }
            SqlState::TOO_MANY_CONNECTIONS => Self::TooManyConnections { at, server },
            SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => {
                Self::NotAccepting { at, server }
            }
            _ => Self::Server { at, server },
        }
    }

    /// An input or output error at `stage`, which may have a TLS error inside.
    pub(super) fn broken(at: &Endpoint, stage: Stage, source: io::Error) -> Self {
        let at = at.clone();
        match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(why)) => {
                Self::Certificate { at, problem: Box::new(why.clone()) }
            }
            Some(alert @ rustls::Error::AlertReceived(kind)) if blames_our_certificate(*kind) => {
                Self::ClientCertificate { at, source: Box::new(alert.clone()) }
            }
            Some(other) => Self::Tls { at, source: Box::new(other.clone()) },
            None => Self::BrokenOff { at, stage, source },
        }
    }

    /// Whether the same call may succeed later with nothing changed by hand.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
            Self::Timeout { .. }
            | Self::BrokenOff { .. }
            | Self::TooManyConnections { .. }
            | Self::NotAccepting { .. }
            | Self::SqlClient { .. }
            | Self::SessionAttrs { .. } => true,
            Self::Server { server, .. } => server.is_transient(),
            Self::NoHost { attempts } => attempts.iter().any(Self::is_transient),
            _ => false,
        }
    }

    /// Whether another host may do where this one did not. Credentials and certificates are the
    /// same everywhere, so their refusal is final, as in libpq.
    pub(super) fn leaves_other_hosts(&self) -> bool {
        self.is_transient() || matches!(self, Self::Unreachable { .. })
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Settings(_) | Self::DatabaseMissing { .. } => ErrorKind::Config,
            Self::TlsFile { .. }
            | Self::NoRootCertificate { .. }
            | Self::SystemRoots { .. }
            | Self::TlsRefused { .. }
            | Self::Tls { .. }
            | Self::NoDirectTls { .. }
            | Self::Certificate { .. }
            | Self::ClientCertificate { .. } => ErrorKind::Tls,
            Self::NoPassword { .. }
            | Self::PasswordRefused { .. }
            | Self::ServerNotAuthentic { .. }
            | Self::AuthMethodUnsupported { .. }
            | Self::AuthMethodRefused { .. }
            | Self::NoChannelBinding { .. } => ErrorKind::Auth,
            Self::NotPermitted { .. } => ErrorKind::Permission,
            Self::Server { .. } => ErrorKind::Server,
            Self::Protocol { .. } => ErrorKind::Protocol,
            Self::NoHost { attempts } => attempts.last().map_or(ErrorKind::Connect, Self::kind),
            _ => ErrorKind::Connect,
        }
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        let (kind, fix) = (error.kind(), error.fix());
        let made = match error.is_transient() {
            true => Self::transient(kind, error),
            false => Self::permanent(kind, error),
        };
        match fix {
            Some(fix) => made.with_fix(fix),
            None => made,
        }
    }
}

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        Self::permanent(ErrorKind::Config, error)
    }
}

fn blames_our_certificate(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::DecryptError
            | Alert::NoCertificate
            | Alert::AccessDenied
    )
}

fn listed(attempts: &[ConnectError]) -> String {
    let mut text = String::new();
    for attempt in attempts {
        let separator = if text.is_empty() { "" } else { "; " };
        text.push_str(&format!("{separator}{attempt}"));
        let mut cause = std::error::Error::source(attempt);
        while let Some(inner) = cause {
            text.push_str(&format!(": {inner}"));
            cause = inner.source();
        }
    }
    text
}
