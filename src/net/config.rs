//! Connection settings: what a URL, a `key=value` string and the environment say together.
//!
//! [`ConnectConfig`] is the one description of a server that the replication connection and SQL
//! connections share, so that both go to the same hosts under the same TLS rules. What
//! `tokio_postgres::Config` knows is kept in one; the rest is here. It connects to nothing, reads
//! no file, and never shows the password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::conninfo::{self, KNOWN, Parameters};
use super::endpoint::{DEFAULT_PORT, Endpoint, Host};
use super::options::{AuthPolicy, ChannelBinding, SslMode, SslNegotiation, TargetSessionAttrs};
use super::settings_error::SettingsError;
use super::tls::{Roots, TlsSettings};
use crate::name::Secret;

/// How long one attempt at one address may take, from the first packet to the server's readiness.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const APPLICATION_NAME: &str = "walcast";
const KEEPALIVES_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVES_RETRIES: u32 = 3;

/// How to reach a server: hosts, user, database, TLS and credentials.
///
/// Made from a URL or a `key=value` string, both as libpq reads them. What the text leaves out
/// comes from the same environment variables as in libpq (`PGHOST`, `PGUSER`, `PGSSLMODE` …), then
/// from these defaults: host `localhost`, port 5432, the operating system's user, a database named
/// like the user, `sslmode=prefer`, `connect_timeout=10` (0 means the default: no wait is endless),
/// `application_name=walcast`, TCP keepalives after 60 s, and a `tcp_user_timeout` (milliseconds)
/// of 30 s for replication and 5 min for SQL.
///
/// The password is the first of: the text or [`password`](Self::password), `PGPASSWORD`, the
/// password file (`passfile`, `PGPASSFILE`, `~/.pgpass`). The last two are looked up at each
/// connect. `Debug` and [`display_target`](Self::display_target) never show it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use walcast::net::ConnectConfig;
/// let config: ConnectConfig = "postgres://cdc:s3cret@db1,db2:5433/shop?sslmode=require".parse()?;
/// assert_eq!(config.display_target(), "cdc@db1:5432,db2:5433/shop");
/// assert!(!format!("{config:?}").contains("s3cret"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConnectConfig {
    /// Everything that it knows by itself, but for the password and TLS.
    pub(super) pg: tokio_postgres::Config,
    pub(super) password: Option<Secret>,
    pub(super) passfile: Option<PathBuf>,
    pub(super) tls: TlsSettings,
    pub(super) target_session_attrs: TargetSessionAttrs,
    pub(super) channel_binding: ChannelBinding,
    pub(super) require_auth: AuthPolicy,
    pub(super) tcp_user_timeout: Option<Duration>,
    user: String,
    hosts: Vec<Endpoint>,
}

impl ConnectConfig {
    /// Use this password, whatever the environment and password files say.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password));
        self
    }

    /// Trust the certificate authorities in this PEM file. The default `sslmode` of `prefer`, which
    /// checks nothing, becomes `verify-full`.
    pub fn root_cert(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.roots = Roots::File(path.into());
        if self.tls.mode == SslMode::Prefer {
            self.tls.mode = SslMode::VerifyFull;
        }
        self
    }

    /// Present the certificate chain in this PEM file where the server asks for one.
    pub fn client_cert(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.cert = Some(path.into());
        self
    }

    /// The private key of [`client_cert`](Self::client_cert), in PEM and not encrypted.
    pub fn client_key(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.key = Some(path.into());
        self
    }

    /// How much TLS to ask for.
    pub fn ssl_mode(mut self, mode: SslMode) -> Self {
        self.tls.mode = mode;
        self
    }

    /// What `pg_stat_activity` and `pg_stat_replication` show, and what
    /// `synchronous_standby_names` matches.
    pub fn application_name(mut self, name: impl Into<String>) -> Self {
        self.pg.application_name(name);
        self
    }

    /// The database to connect to.
    pub fn dbname(mut self, name: impl Into<String>) -> Self {
        self.pg.dbname(name);
        self
    }

    /// How long one attempt at one address may take. Zero means the default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.pg.connect_timeout(if timeout.is_zero() { CONNECT_TIMEOUT } else { timeout });
        self
    }

    /// Which of the hosts will do.
    pub fn target_session_attrs(mut self, attrs: TargetSessionAttrs) -> Self {
        self.target_session_attrs = attrs;
        self
    }

    /// These settings for that one server: an SQL connection made with them goes where the
    /// replication connection went.
    pub fn at(&self, endpoint: &Endpoint) -> Self {
        let attrs = TargetSessionAttrs::Any;
        Self { hosts: vec![endpoint.clone()], target_session_attrs: attrs, ..self.clone() }
    }

    /// The user to connect as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database to connect to.
    pub fn database(&self) -> &str {
        self.pg.get_dbname().unwrap_or(&self.user)
    }

    /// The servers to try, in order.
    pub fn hosts(&self) -> &[Endpoint] {
        &self.hosts
    }

    /// How long one attempt at one address may take.
    pub fn attempt_timeout(&self) -> Duration {
        self.pg.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT)
    }

    /// `user@host:port/database`, for messages.
    pub fn display_target(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(Endpoint::name_and_port).collect();
        format!("{}@{}/{}", self.user, hosts.join(","), self.database())
    }

    fn from_parameters(mut parameters: Parameters) -> Result<Self, SettingsError> {
        let mut take = |name: &str| parameters.remove(name).filter(|value| !value.is_empty());
        let password = take("password").map(Secret::new);
        let passfile = take("passfile").map(PathBuf::from);
        let user_named = take("user");
        let target_session_attrs = parsed(take("target_session_attrs"), TargetSessionAttrs::Any)?;
        let channel_binding = parsed(take("channel_binding"), ChannelBinding::Prefer)?;
        let require_auth = parsed(take("require_auth"), AuthPolicy::Any)?;
        let tcp_user_timeout = match take("tcp_user_timeout") {
            Some(millis) => Some(Duration::from_millis(millis.parse().map_err(|_| {
                let allowed = "a number of milliseconds";
                SettingsError::Value { name: "tcp_user_timeout", allowed }
            })?)),
            None => None,
        };
        let tls = tls_settings(&mut take)?;
        refuse_other_protocols(&mut take)?;
        let fallback = take("fallback_application_name");
        if let (Some(count), true) =
            (take("keepalives_count"), take("keepalives_retries").is_none())
        {
            parameters.insert("keepalives_retries", count);
        }
        let mut pg = known_to_tokio_postgres(&parameters)?;
        if pg.get_application_name().is_none() {
            pg.application_name(fallback.unwrap_or_else(|| APPLICATION_NAME.to_owned()));
        }
        let user = match user_named {
            Some(user) => user,
            None => whoami::username().map_err(|_| SettingsError::UserUnknown)?,
        };
        let hosts = paired_hosts(&pg)?;
        Ok(Self {
            pg,
            password,
            passfile,
            tls,
            target_session_attrs,
            channel_binding,
            require_auth,
            tcp_user_timeout,
            user,
            hosts,
        })
    }
}

impl FromStr for ConnectConfig {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let mut parameters = conninfo::parse(text)?;
        for (name, variable) in KNOWN {
            if let Some(variable) = variable
                && !parameters.contains_key(name)
                && let Ok(value) = std::env::var(variable)
            {
                parameters.insert(name, value);
            }
        }
        Self::from_parameters(parameters)
    }
}

impl fmt::Debug for ConnectConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectConfig")
            .field("target", &self.display_target())
            .field("password", &self.password)
            .field("tls", &self.tls)
            .field("target_session_attrs", &self.target_session_attrs)
            .field("channel_binding", &self.channel_binding)
            .finish_non_exhaustive()
    }
}

fn parsed<T: FromStr<Err = SettingsError>>(
    value: Option<String>,
    default: T,
) -> Result<T, SettingsError> {
    value.map_or(Ok(default), |value| value.parse())
}

fn tls_settings(
    take: &mut impl FnMut(&str) -> Option<String>,
) -> Result<TlsSettings, SettingsError> {
    let roots = match take("sslrootcert") {
        Some(system) if system == "system" => Roots::System,
        Some(path) => Roots::File(PathBuf::from(path)),
        None => Roots::Default,
    };
    // As in libpq: whoever trusts the public authorities must check the name.
    let mode_default = if roots == Roots::System { SslMode::VerifyFull } else { SslMode::Prefer };
    let settings = TlsSettings {
        mode: parsed(take("sslmode"), mode_default)?,
        negotiation: parsed(take("sslnegotiation"), SslNegotiation::Postgres)?,
        roots,
        cert: take("sslcert").map(PathBuf::from),
        key: take("sslkey").map(PathBuf::from),
        sni: take("sslsni").is_none_or(|sni| sni != "0"),
        tls13_only: match take("ssl_min_protocol_version").as_deref() {
            None | Some("TLSv1" | "TLSv1.1" | "TLSv1.2") => false,
            Some("TLSv1.3") => true,
            Some(_) => {
                let allowed = "TLSv1.2 or TLSv1.3";
                return Err(SettingsError::Value { name: "ssl_min_protocol_version", allowed });
            }
        },
    };
    settings.check()?;
    Ok(settings)
}

fn refuse_other_protocols(
    take: &mut impl FnMut(&str) -> Option<String>,
) -> Result<(), SettingsError> {
    if take("gssencmode").is_some_and(|mode| !matches!(&*mode, "disable" | "prefer")) {
        return Err(SettingsError::Value { name: "gssencmode", allowed: "disable or prefer" });
    }
    let encoding = take("client_encoding").unwrap_or_default().to_ascii_lowercase();
    if !matches!(&*encoding, "" | "auto" | "utf8" | "utf-8" | "unicode") {
        return Err(SettingsError::Value { name: "client_encoding", allowed: "UTF8" });
    }
    Ok(())
}

/// Give what is left to `tokio_postgres`, one parameter at a time so that an error can name it.
fn known_to_tokio_postgres(
    parameters: &Parameters,
) -> Result<tokio_postgres::Config, SettingsError> {
    let mut text = String::new();
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        let quoted = value.replace('\\', r"\\").replace('\'', r"\'");
        let pair = format!("{name}='{quoted}' ");
        if tokio_postgres::Config::from_str(&pair).is_err() {
            return Err(SettingsError::Value { name, allowed: allowed_value(name) });
        }
        text.push_str(&pair);
    }
    let mut pg = tokio_postgres::Config::from_str(&text)
        .map_err(|_| SettingsError::Pairs { at: 0, expected: "connection parameters" })?;
    if pg.get_connect_timeout().is_none() {
        pg.connect_timeout(CONNECT_TIMEOUT);
    }
    if !parameters.contains_key("keepalives_idle") {
        pg.keepalives_idle(KEEPALIVES_IDLE);
    }
    if pg.get_keepalives_interval().is_none() {
        pg.keepalives_interval(KEEPALIVES_INTERVAL);
    }
    if pg.get_keepalives_retries().is_none() {
        pg.keepalives_retries(KEEPALIVES_RETRIES);
    }
    Ok(pg)
}

fn allowed_value(name: &str) -> &'static str {
    match name {
        "hostaddr" => "an IP address, or a list of them",
        "port" => "a port number, or a list of them",
        "load_balance_hosts" => "disable or random",
        "keepalives" => "0 or 1",
        "keepalives_retries" => "a number",
        _ => "a number of seconds",
    }
}

/// Put hosts, addresses and ports side by side, as libpq does.
fn paired_hosts(pg: &tokio_postgres::Config) -> Result<Vec<Endpoint>, SettingsError> {
    let (hosts, addresses, ports) = (pg.get_hosts(), pg.get_hostaddrs(), pg.get_ports());
    let count = hosts.len().max(addresses.len()).max(1);
    let fits = |n: usize| n == 0 || n == count;
    if !fits(hosts.len()) || !fits(addresses.len()) || !(ports.len() == 1 || fits(ports.len())) {
        return Err(SettingsError::HostCount {
            hosts: hosts.len(),
            addresses: addresses.len(),
            ports: ports.len(),
        });
    }
    let one = |i: usize| {
        let address = addresses.get(i).copied();
        let host = match hosts.get(i) {
            Some(tokio_postgres::config::Host::Unix(directory)) => Host::Unix(directory.clone()),
            Some(tokio_postgres::config::Host::Tcp(name)) if !name.is_empty() => {
                Host::Tcp(name.clone())
            }
            _ if address.is_some() => Host::Tcp(String::new()),
            _ => Host::Tcp("localhost".to_owned()),
        };
        let address = address.filter(|_| matches!(host, Host::Tcp(_)));
        let port = ports.get(i).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
        Endpoint { host, address, port }
    };
    Ok((0..count).map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ConnectConfig {
        text.parse().unwrap()
    }

    fn error(text: &str) -> String {
        text.parse::<ConnectConfig>().unwrap_err().to_string()
    }

    #[test]
    fn tls_settings_are_taken_out_before_tokio_postgres_sees_them() {
        let config = config(
            "postgres://u@h/d?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem\
             &target_session_attrs=prefer-standby&tcp_user_timeout=1500&channel_binding=require",
        );
        assert_eq!(config.tls.mode, SslMode::VerifyFull);
        assert_eq!(config.tls.roots, Roots::File("/ca.pem".into()));
        assert_eq!(config.target_session_attrs, TargetSessionAttrs::PreferStandby);
        assert_eq!(config.tcp_user_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(config.channel_binding, ChannelBinding::Require);
    }

    #[test]
    fn what_is_left_out_has_a_default_that_cannot_hang() {
        let config = config("user=u");
        assert_eq!(config.display_target(), "u@localhost:5432/u");
        assert_eq!(config.attempt_timeout(), CONNECT_TIMEOUT);
        assert_eq!(config.pg.get_application_name(), Some("walcast"));
        assert_eq!(config.tls.mode, SslMode::Prefer);
        let endless: ConnectConfig = "user=u connect_timeout=0".parse().unwrap();
        assert_eq!(endless.attempt_timeout(), CONNECT_TIMEOUT);
    }

    #[test]
    fn the_public_authorities_ask_for_a_checked_name() {
        assert_eq!(config("host=h user=u sslrootcert=system").tls.mode, SslMode::VerifyFull);
        assert!(error("host=h user=u sslrootcert=system sslmode=require").contains("verify-full"));
        assert!(error("host=h user=u sslnegotiation=direct").contains("sslmode"));
    }

    #[test]
    fn hosts_addresses_and_ports_are_paired() {
        let config =
            config("user=u dbname=d host=a,,/s hostaddr=10.0.0.1,10.0.0.2,10.0.0.3 port=1,,3");
        let shown: Vec<_> = config.hosts().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a:1 (10.0.0.1)", "10.0.0.2:5432", "/s:3"]);
        assert!(error("user=u host=a,b hostaddr=10.0.0.1").contains("2 hosts, 1 host addresses"));
        assert!(error("user=u host=a port=1,2").contains("2 ports"));
    }

    #[test]
    fn a_bad_value_is_named_without_being_shown() {
        assert_eq!(
            error("user=u connect_timeout=soon"),
            "the connection parameter \"connect_timeout\" must be a number of seconds"
        );
        assert!(error("user=u load_balance_hosts=yes").contains("disable or random"));
        assert!(error("user=u client_encoding=latin1").contains("UTF8"));
    }

    #[test]
    fn secrets_are_never_shown() {
        let config = config("postgres://u:hunter2@h/d").client_key("/k.pem");
        assert!(!format!("{config:?} {}", config.display_target()).contains("hunter2"));
        assert!(!format!("{:?}", config.password("hunter3")).contains("hunter3"));
    }

    #[test]
    fn one_endpoint_can_be_pinned() {
        let endpoint = Endpoint {
            host: Host::Tcp("db2".to_owned()),
            address: Some("192.0.2.7".parse().unwrap()),
            port: 5433,
        };
        let pinned = config("host=db1,db2 user=u target_session_attrs=primary").at(&endpoint);
        assert_eq!(pinned.display_target(), "u@db2:5433/u");
        assert_eq!(pinned.target_session_attrs, TargetSessionAttrs::Any);
    }
}
