//! Which address to try, and how: the road from settings to a ready session.
//!
//! ```text
//! hosts (in order, or shuffled) ─► addresses of the name ─► encryption: TLS, then plain (prefer);
//!                                                           plain, then TLS (allow); or the one
//! ```
//!
//! A host that cannot be reached, is full, starting up or of the wrong kind leaves the turn to the
//! next; a refused password or certificate is final. Every attempt at an address has the whole
//! `connect_timeout`, from its first packet until the server is ready.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rand::seq::SliceRandom;
use rustls::ClientConfig;
use socket2::TcpKeepalive;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::LoadBalanceHosts;

use super::blocking::blocking;
use super::config::ConnectConfig;
use super::dialogue::Dialogue;
use super::endpoint::{Endpoint, Host};
use super::error::{ConnectError, Stage};
use super::options::{SslMode, SslNegotiation, TargetSessionAttrs};
use super::socket::{Socket, TcpLiveness};
use super::startup::{self, Purpose, Ready};
use super::tls::{self, ALPN};
use crate::wire::SqlState;

/// Status updates are small and frequent: what stays unacknowledged this long has no reader.
const USER_TIMEOUT_REPLICATION: Duration = Duration::from_secs(30);
/// A server that waits for a lock in the middle of a COPY reads nothing meanwhile.
const USER_TIMEOUT_SQL: Duration = Duration::from_secs(300);

/// A session that is ready for its first command.
pub(super) struct Opened {
    pub(super) dialogue: Dialogue,
    pub(super) ready: Ready,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    /// No TLS is asked for.
    Plain,
    /// TLS, or plain on the same connection if the server has none.
    TlsIfOffered,
    /// TLS or nothing.
    Tls,
}

/// One attempt: what does not change between its stages.
struct Attempt<'a> {
    config: &'a ConnectConfig,
    tls: &'a Option<Arc<ClientConfig>>,
    at: Endpoint,
    deadline: Instant,
}

/// Find a server among the hosts and begin a session there.
pub(super) async fn open(config: &ConnectConfig, purpose: Purpose) -> Result<Opened, ConnectError> {
    let tls = load_tls(config).await?;
    let wanted = config.target_session_attrs;
    let first = open_any(config, &tls, purpose, wanted).await;
    match first {
        Err(error) if wanted == TargetSessionAttrs::PreferStandby && error.leaves_other_hosts() => {
            open_any(config, &tls, purpose, TargetSessionAttrs::Any).await
        }
        first => first,
    }
}

/// Open a socket to that very address, and begin no session.
pub(super) async fn open_socket(
    config: &ConnectConfig,
    at: &Endpoint,
    over_tls: bool,
) -> Result<Socket, ConnectError> {
    let tls = load_tls(config).await?;
    let deadline = Instant::now() + config.attempt_timeout();
    let attempt = Attempt { config, tls: &tls, at: at.clone(), deadline };
    let encryption = if over_tls { Encryption::Tls } else { Encryption::Plain };
    attempt.socket(Purpose::Sql, encryption).await
}

async fn load_tls(config: &ConnectConfig) -> Result<Option<Arc<ClientConfig>>, ConnectError> {
    let any_tcp = config.hosts().iter().any(|at| matches!(at.host, Host::Tcp(_)));
    if config.tls.mode == SslMode::Disable || !any_tcp {
        config.tls.check()?;
        return Ok(None);
    }
    let settings = config.tls.clone();
    let after = config.attempt_timeout();
    let loaded = tokio::time::timeout(after, blocking(move || settings.client())).await;
    match (loaded, config.hosts().first()) {
        (Ok(client), _) => client.map(Some),
        (Err(_), None) => Ok(None),
        (Err(_), Some(first)) => {
            Err(ConnectError::Timeout { at: first.clone(), stage: Stage::Tls, after })
        }
    }
}

async fn open_any(
    config: &ConnectConfig,
    tls: &Option<Arc<ClientConfig>>,
    purpose: Purpose,
    wanted: TargetSessionAttrs,
) -> Result<Opened, ConnectError> {
    let shuffled = config.pg.get_load_balance_hosts() == LoadBalanceHosts::Random;
    let mut hosts = config.hosts().to_vec();
    if shuffled {
        hosts.shuffle(&mut rand::rng());
    }
    let mut attempts = Vec::new();
    for host in hosts {
        let mut addresses = match resolve(config, host).await {
            Ok(addresses) => addresses,
            Err(error) => {
                attempts.push(error);
                continue;
            }
        };
        if shuffled {
            addresses.shuffle(&mut rand::rng());
        }
        for at in addresses {
            match open_at(config, tls, at, purpose, wanted).await {
                Ok(opened) => return Ok(opened),
                Err(error) if error.leaves_other_hosts() => {
                    tracing::debug!("{error}");
                    attempts.push(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
    match attempts.pop() {
        Some(only) if attempts.is_empty() => Err(only),
        last => {
            attempts.extend(last);
            Err(ConnectError::NoHost { attempts })
        }
    }
}

/// The addresses that a host stands for, at least one.
async fn resolve(config: &ConnectConfig, at: Endpoint) -> Result<Vec<Endpoint>, ConnectError> {
    let name = match &at.host {
        Host::Tcp(name) if at.address.is_none() => name.clone(),
        _ => return Ok(vec![at]),
    };
    let after = config.attempt_timeout();
    let looked_up = tokio::time::timeout(after, tokio::net::lookup_host((name, at.port))).await;
    let found: Vec<_> = match looked_up {
        Err(_) => return Err(ConnectError::Timeout { at, stage: Stage::Resolve, after }),
        Ok(Err(source)) => return Err(ConnectError::Unreachable { at, source }),
        Ok(Ok(found)) => found.map(|found| found.ip()).collect(),
    };
    if found.is_empty() {
        let source = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        return Err(ConnectError::Unreachable { at, source });
    }
    Ok(found.into_iter().map(|ip| Endpoint { address: Some(ip), ..at.clone() }).collect())
}

/// Which kinds of connection to try in turn.
fn encryptions(config: &ConnectConfig, host: &Host) -> &'static [Encryption] {
    match (host, config.tls.mode) {
        // As in libpq: whoever can listen in on a Unix-domain socket owns the machine.
        (Host::Unix(_), _) | (_, SslMode::Disable) => &[Encryption::Plain],
        (_, SslMode::Allow) => &[Encryption::Plain, Encryption::Tls],
        (_, SslMode::Prefer) => &[Encryption::TlsIfOffered, Encryption::Plain],
        _ => &[Encryption::Tls],
    }
}

async fn open_at(
    config: &ConnectConfig,
    tls: &Option<Arc<ClientConfig>>,
    at: Endpoint,
    purpose: Purpose,
    wanted: TargetSessionAttrs,
) -> Result<Opened, ConnectError> {
    let deadline = Instant::now() + config.attempt_timeout();
    let mut over_tls = None;
    let mut last = None;
    for encryption in encryptions(config, &at.host) {
        let attempt = Attempt { config, tls, at: at.clone(), deadline };
        match attempt.session(purpose, *encryption, wanted).await {
            Ok(opened) => return Ok(opened),
            Err(error) if !other_encryption_may_do(&error) => return Err(error),
            Err(error) if *encryption == Encryption::Plain => last = Some(error),
            Err(error) => over_tls = Some(error),
        }
    }
    // Where both failed, the attempt with TLS says more: without it the server only says that it
    // wants TLS.
    let unreached = || ConnectError::Unreachable { at, source: io::ErrorKind::NotFound.into() };
    Err(over_tls.or(last).unwrap_or_else(unreached))
}

/// Whether the other kind of connection is worth trying: TLS did not come about, or `pg_hba.conf`
/// has no line for this kind.
fn other_encryption_may_do(error: &ConnectError) -> bool {
    match error {
        ConnectError::Tls { .. }
        | ConnectError::Certificate { .. }
        | ConnectError::ClientCertificate { .. }
        | ConnectError::TlsRefused { .. }
        | ConnectError::BrokenOff { stage: Stage::Tls, .. } => true,
        ConnectError::NotPermitted { server, .. } => {
            server.sqlstate == SqlState::INVALID_AUTHORIZATION
        }
        _ => false,
    }
}

impl Attempt<'_> {
    async fn session(
        &self,
        purpose: Purpose,
        encryption: Encryption,
        wanted: TargetSessionAttrs,
    ) -> Result<Opened, ConnectError> {
        let socket = self.socket(purpose, encryption).await?;
        let mut dialogue = Dialogue::new(socket, self.at.clone());
        let started = startup::start(&mut dialogue, self.config, purpose, wanted);
        let ready = self.within(Stage::Startup, started).await?;
        Ok(Opened { dialogue, ready })
    }

    async fn socket(
        &self,
        purpose: Purpose,
        encryption: Encryption,
    ) -> Result<Socket, ConnectError> {
        let connected = async {
            let unreachable = |source| ConnectError::Unreachable { at: self.at.clone(), source };
            match (self.at.socket_path(), self.at.address) {
                (Some(path), _) => Socket::unix(&path).await.map_err(unreachable),
                (None, Some(address)) => {
                    let address = SocketAddr::new(address, self.at.port);
                    let liveness = liveness(self.config, purpose);
                    Socket::tcp(address, &liveness).await.map_err(unreachable)
                }
                (None, None) => Err(unreachable(io::ErrorKind::AddrNotAvailable.into())),
            }
        };
        let socket = self.within(Stage::Connect, connected).await?;
        match (encryption, self.tls) {
            (Encryption::Plain, _) | (_, None) => Ok(socket),
            (_, Some(client)) => {
                let encrypted = self.encrypt(socket, client.clone(), encryption);
                self.within(Stage::Tls, encrypted).await
            }
        }
    }

    /// Agree on TLS with the server, in PostgreSQL's protocol or directly.
    async fn encrypt(
        &self,
        mut socket: Socket,
        client: Arc<ClientConfig>,
        encryption: Encryption,
    ) -> Result<Socket, ConnectError> {
        let broken = |error| ConnectError::broken(&self.at, Stage::Tls, error);
        let at = || self.at.clone();
        let direct = self.config.tls.negotiation == SslNegotiation::Direct;
        if !direct {
            match ask_for_tls(&mut socket).await.map_err(broken)? {
                b'S' => {}
                b'N' if encryption == Encryption::TlsIfOffered => return Ok(socket),
                b'N' => return Err(ConnectError::TlsRefused { at: at() }),
                // An error without TLS could come from anybody: it is not read.
                b'E' => return Err(broken(io::ErrorKind::ConnectionAborted.into())),
                _ => {
                    let why = "the answer to the request for TLS is neither yes nor no";
                    let source = io::Error::new(io::ErrorKind::InvalidData, why);
                    return Err(ConnectError::Protocol { at: at(), source });
                }
            }
        }
        let name = match &self.at.host {
            Host::Tcp(name) => name.as_str(),
            Host::Unix(_) => "",
        };
        let name = tls::server_name(name, self.at.address, self.config.tls.mode)?;
        let socket = socket.into_tls(client, name).await.map_err(broken)?;
        if direct && socket.alpn() != Some(ALPN) {
            return Err(ConnectError::NoDirectTls { at: at() });
        }
        Ok(socket)
    }

    async fn within<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        match timeout_at(self.deadline, work).await {
            Ok(done) => done,
            Err(_) => {
                let after = self.config.attempt_timeout();
                Err(ConnectError::Timeout { at: self.at.clone(), stage, after })
            }
        }
    }
}

/// Send an SSLRequest and read the one byte that answers it, and no more: what follows must come
/// through TLS.
async fn ask_for_tls(socket: &mut Socket) -> io::Result<u8> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await?;
    socket.flush().await?;
    socket.read_u8().await
}

fn liveness(config: &ConnectConfig, purpose: Purpose) -> TcpLiveness {
    let pg = &config.pg;
    let keepalive = pg.get_keepalives().then(|| {
        let mut keepalive = TcpKeepalive::new().with_time(pg.get_keepalives_idle());
        if let Some(interval) = pg.get_keepalives_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(retries) = pg.get_keepalives_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        keepalive
    });
    let default = match purpose {
        Purpose::Replication => USER_TIMEOUT_REPLICATION,
        Purpose::Sql => USER_TIMEOUT_SQL,
    };
    TcpLiveness { keepalive, user_timeout: config.tcp_user_timeout.unwrap_or(default) }
}
