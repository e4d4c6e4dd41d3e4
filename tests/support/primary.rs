//! A throwaway PostgreSQL primary as a value: made by [`Primary::start`] or the builder, gone with
//! the drop, whatever becomes of the test.
//!
//! It listens on a loopback port of its own and on a Unix socket. The port is held for the whole
//! life of the value, so that nobody takes it while the server is stopped. The superuser is
//! `postgres`, without a password; the harness itself always comes through the socket, so that a
//! test may configure TCP access as it likes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::server::{Owner, Server};
use super::supervisor::Supervisor;
use super::template;
use super::wait::{Patience, eventually};

/// How long a server may take to answer, also when it recovers after a crash first.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long any stop may take; a fast stop that waits for a walsender shows here.
const STOP_DEADLINE: Duration = Duration::from_secs(120);

/// For tests, not for production: nothing here survives a power cut, and the time zone is one that
/// nobody would pick, so that a forgotten pin shows.
const SETTINGS: &[(&str, &str)] = &[
    ("wal_level", "logical"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    ("max_connections", "60"),
    ("shared_buffers", "16MB"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("autovacuum", "off"),
    ("timezone", "Asia/Kathmandu"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%m [%p] %b %a "),
    ("log_replication_commands", "on"),
];

/// What a primary shall be before it starts.
pub(crate) struct PrimaryBuilder {
    major: Option<u32>,
    settings: Vec<(String, String)>,
    hba: Vec<String>,
    files: Vec<(String, Vec<u8>, u32)>,
    unix_socket_only: bool,
    fresh_system_id: bool,
}

impl PrimaryBuilder {
    /// A server of this major version instead of the environment's default.
    pub(crate) fn major(mut self, major: u32) -> Self {
        self.major = Some(major);
        self
    }

    /// A line of `postgresql.conf`; the last one of a name counts, also over the harness's own.
    pub(crate) fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// A line of `pg_hba.conf`. With the first one the default (everyone from here is trusted)
    /// goes, but for the superuser on the Unix socket.
    pub(crate) fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.into());
        self
    }

    /// A file in the data directory, owned by the server's user.
    pub(crate) fn file(mut self, name: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.files.push((name.into(), content.into(), mode));
        self
    }

    /// No TCP at all.
    pub(crate) fn unix_socket_only(mut self) -> Self {
        self.unix_socket_only = true;
        self
    }

    /// A cluster that shares its system identifier with no other one (runs `initdb`: slower).
    pub(crate) fn fresh_system_id(mut self) -> Self {
        self.fresh_system_id = true;
        self
    }

    /// Starts it and waits until it answers; fails the test when there is no such server.
    #[track_caller]
    pub(crate) fn start(self) -> Primary {
        let wanted = match self.major {
            Some(major) => Server::wanted_major(major),
            None => Server::wanted(),
        };
        self.start_on(wanted.unwrap_or_else(|missing| panic!("{missing}")))
    }

    /// [`start`](Self::start) on server programs already found.
    pub(crate) fn start_on(self, server: Server) -> Primary {
        let (root, owner) = template::short_directory();
        let data = root.join("data");
        let container = format!("walcast-{}", root.file_name().unwrap().to_string_lossy());
        let mut command = server.command("postgres", &root, owner, &container);
        command.arg("-D").arg(&data);
        let container = server.in_docker().then_some(container.as_str());
        // First of all: from here on everything below `root` is the supervisor's to take away.
        let supervisor = Supervisor::new(&root, container, owner, &command);

        template::make_cluster(&server, owner, &data, self.fresh_system_id);
        let (port, port_holder) = hold_port();
        fs::create_dir(root.join("s")).unwrap();
        owner.own(&root.join("s"));
        self.configure(&root, owner, port);
        let primary = Primary {
            server,
            owner,
            root,
            port,
            unix_socket_only: self.unix_socket_only,
            supervisor: Mutex::new(supervisor),
            _port_holder: port_holder,
        };
        primary.start_again();
        primary
    }

    fn configure(&self, root: &Path, owner: Owner, port: u16) {
        let data = root.join("data");
        let listen = if self.unix_socket_only { "" } else { "127.0.0.1" };
        let socket_directory = root.join("s").display().to_string();
        let port = port.to_string();
        let own = [
            ("port", port.as_str()),
            ("listen_addresses", listen),
            ("unix_socket_directories", &socket_directory),
        ];
        let mut conf = fs::read_to_string(data.join("postgresql.conf")).unwrap();
        let asked = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in SETTINGS.iter().copied().chain(own).chain(asked) {
            conf.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        let mut hba = String::from("local all postgres trust\nlocal replication postgres trust\n");
        let trusting =
            ["local all,replication all trust", "host all,replication all 127.0.0.1/32 trust"]
                .map(String::from);
        for line in if self.hba.is_empty() { &trusting[..] } else { &self.hba } {
            hba.push_str(line);
            hba.push('\n');
        }
        put(&data, owner, "postgresql.conf", conf.as_bytes(), 0o600);
        put(&data, owner, "pg_hba.conf", hba.as_bytes(), 0o600);
        for (name, content, mode) in &self.files {
            put(&data, owner, name, content, *mode);
        }
    }
}

/// A running (or stopped) primary. Dropping it stops the server and removes its files.
pub(crate) struct Primary {
    server: Server,
    owner: Owner,
    root: PathBuf,
    port: u16,
    unix_socket_only: bool,
    supervisor: Mutex<Supervisor>,
    _port_holder: TcpSocket,
}

impl Primary {
    /// A primary with the harness's settings.
    #[track_caller]
    pub(crate) fn start() -> Primary {
        Primary::builder().start()
    }

    pub(crate) fn builder() -> PrimaryBuilder {
        PrimaryBuilder {
            major: None,
            settings: Vec::new(),
            hba: Vec::new(),
            files: Vec::new(),
            unix_socket_only: false,
            fresh_system_id: false,
        }
    }

    pub(crate) fn major(&self) -> u32 {
        self.server.major
    }

    /// The server programs it runs from.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The user it runs as.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its Unix socket: what `host` is to a client.
    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.root.join("s")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The directory that holds everything of it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The superuser over TCP, database `postgres`.
    pub(crate) fn url(&self) -> String {
        assert!(!self.unix_socket_only, "this primary has no TCP: use socket_url()");
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The superuser over the Unix socket, database `postgres`.
    pub(crate) fn socket_url(&self) -> String {
        let host = percent_encoded(&self.socket_dir().display().to_string());
        format!("postgres://postgres@{host}:{}/postgres", self.port)
    }

    /// Anyone over TCP.
    pub(crate) fn url_for(&self, user: &str, password: &str, database: &str) -> String {
        let [user, password, database] = [user, password, database].map(percent_encoded);
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// A superuser's client on the Unix socket; its connection runs on the caller's runtime and
    /// ends with the client.
    pub(crate) async fn client(&self) -> Client {
        self.client_for("postgres").await
    }

    /// [`client`](Self::client) in another database.
    pub(crate) async fn client_for(&self, database: &str) -> Client {
        self.connect(database).await.expect("the primary takes a superuser's connection")
    }

    /// [`client`](Self::client), when the server may be down.
    pub(crate) async fn try_client(&self) -> Result<Client, tokio_postgres::Error> {
        self.connect("postgres").await
    }

    async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::Config::new()
            .host_path(self.socket_dir())
            .port(self.port)
            .user("postgres")
            .dbname(database)
            .application_name("harness")
            .connect(NoTls)
            .await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements as the superuser, on a connection and a thread of their own. It blocks: a
    /// statement that waits for something in the caller's runtime belongs to a [`client`].
    ///
    /// [`client`]: Self::client
    #[track_caller]
    pub(crate) fn sql(&self, statements: &str) {
        if let Err(error) =
            self.blocking(async { self.connect("postgres").await?.batch_execute(statements).await })
        {
            panic!("{statements}: {}", full_text(&error));
        }
    }

    /// The first column of the only row, as text; `None` for NULL or no row.
    #[track_caller]
    pub(crate) fn query_one_text(&self, query: &str) -> Option<String> {
        let asked =
            self.blocking(async { first_text(&self.connect("postgres").await?, query).await });
        asked.unwrap_or_else(|error| panic!("{query}: {}", full_text(&error)))
    }

    /// Waits until `condition`, a boolean SQL expression or query, is true. Errors count as "not
    /// yet", so that it may span a restart.
    pub(crate) async fn wait_for_sql(&self, condition: &str, deadline: Duration) {
        let query = as_query(condition);
        let patience = Patience::new(condition, deadline);
        let mut client = None;
        loop {
            if client.is_none() {
                client = self.connect("postgres").await.ok();
            }
            if let Some(connected) = &client {
                match first_text(connected, &query).await {
                    Ok(Some(text)) if text == "t" => return,
                    Ok(_) => {}
                    Err(error) if error.code() == Some(&SqlState::SYNTAX_ERROR) => {
                        panic!("{query}: {}", full_text(&error))
                    }
                    Err(_) => client = None,
                }
            }
            patience.pause().await;
        }
    }

    /// [`wait_for_sql`](Self::wait_for_sql) for plain tests.
    pub(crate) fn wait_for_sql_blocking(&self, condition: &str, deadline: Duration) {
        self.blocking(self.wait_for_sql(condition, deadline));
    }

    /// Fast stop and start, the port and the sockets unchanged.
    pub(crate) fn restart(&self) {
        self.stop_fast();
        self.start_again();
    }

    /// `pg_ctl stop -m fast`; how long it took.
    pub(crate) fn stop_fast(&self) -> Duration {
        self.stop("INT")
    }

    /// `pg_ctl stop -m immediate`: a crash, recovery included at the next start.
    pub(crate) fn stop_immediate(&self) -> Duration {
        self.stop("QUIT")
    }

    /// Sends the fast stop without waiting for it; [`wait_stopped`](Self::wait_stopped) does.
    pub(crate) fn begin_stop_fast(&self) {
        self.supervisor.lock().unwrap().signal("INT");
    }

    /// Waits for a stop begun earlier; `false` at the deadline.
    pub(crate) fn wait_stopped(&self, deadline: Duration) -> bool {
        self.supervisor.lock().unwrap().exited(deadline)
    }

    fn stop(&self, signal: &str) -> Duration {
        let start = Instant::now();
        let mut supervisor = self.supervisor.lock().unwrap();
        supervisor.signal(signal);
        let exited = supervisor.exited(STOP_DEADLINE);
        assert!(exited, "SIG{signal} did not stop the server:\n{}", self.log());
        start.elapsed()
    }

    /// Starts a stopped server and waits until it answers.
    pub(crate) fn start_again(&self) {
        let mut supervisor = self.supervisor.lock().unwrap();
        supervisor.start();
        eventually("the server answers", START_DEADLINE, || {
            if supervisor.exited(Duration::ZERO) {
                panic!("the server ended instead of starting:\n{}", self.log());
            }
            self.blocking(async { self.connect("postgres").await.is_ok() })
        });
    }

    /// What the server logged so far.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.root.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a future to its end from anywhere, a runtime's thread included.
    fn blocking<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        std::thread::scope(|scope| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let running = scope.spawn(|| runtime.unwrap().block_on(future));
            running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

async fn first_text(client: &Client, query: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let messages = client.simple_query(query).await?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(String::from),
        _ => None,
    }))
}

fn as_query(condition: &str) -> String {
    let word = condition.trim_start().get(..6).unwrap_or_default();
    if word.eq_ignore_ascii_case("select") {
        condition.into()
    } else {
        format!("SELECT ({condition})")
    }
}

/// An error with its causes: tokio-postgres says only "db error" by itself.
fn full_text(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

/// A loopback port that stays ours: bound but never listening, with address reuse, it lets the
/// server listen there while the kernel gives it to nobody else.
fn hold_port() -> (u16, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

fn put(directory: &Path, owner: Owner, name: &str, content: &[u8], mode: u32) {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    owner.own(&path);
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
