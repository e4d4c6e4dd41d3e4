//! A throwaway server: made in a directory of its own, gone with its value or with this process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use walcast::net::{ConnectConfig, SqlClient, sql_connect};
use walcast::{Error, ErrorKind};

use super::error::DemoError;
use super::owner::Owner;
use super::programs::Programs;
use super::tether::{Tether, quiet};

/// How long a server may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How many lines of a log are worth showing.
const LOG_LINES: usize = 8;

/// Anyone who can reach the socket, whose directory only its owner and root can, and the role
/// `demo` over loopback with its password.
const HBA: &str = "local all,replication all trust\nhost all demo 127.0.0.1/32 scram-sha-256\n";

const SETTINGS: &[&str] = &[
    "wal_level=logical",
    "max_connections=40",
    "shared_buffers=32MB",
    "fsync=off",
    "full_page_writes=off",
    "logging_collector=off",
    "log_destination=stderr",
    "timezone=UTC",
    "unix_socket_permissions=0700",
];

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    _tether: Tether,
    connect: String,
    port: u16,
}

/// What a server is made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// What it is called in messages, and where its files lie.
    pub(super) name: &'static str,
    pub(super) programs: Programs,
    pub(super) owner: Owner,
    /// The directory that holds all of the demo's files.
    pub(super) root: PathBuf,
    /// Where it listens on loopback; nowhere when `None`.
    pub(super) port: Option<u16>,
}

impl Plan {
    /// Make the server, start it, and make the database `shop` in it.
    pub(super) async fn start(self) -> Result<Server, Error> {
        let plan = self.clone();
        let made = tokio::task::spawn_blocking(move || plan.make()).await;
        made.unwrap_or_else(|ended| Err(self.failed("initdb", &ended)))?;
        let directory = self.directory();
        let port = self.port.unwrap_or(5432);
        let mut command = self.programs.command("postgres");
        command.arg("-D").arg(directory.join("data"));
        let listen = if self.port.is_some() { "127.0.0.1" } else { "" };
        let sockets = format!("unix_socket_directories={}", directory.join("s").display());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("listen_addresses={listen}"), "-c", &sockets]);
        command.args(["-p", &port.to_string()]);
        let log = directory.join("log");
        let file = File::create(&log).map_err(|source| DemoError::File {
            operation: "make",
            path: log,
            source,
        })?;
        let tether = Tether::server(&command, self.owner, file)?;
        let socket = directory.join("s");
        let connect = format!("host='{}' port={port} user=postgres dbname=", socket.display());
        let mut server = Server { _tether: tether, connect, port };
        self.wait(&mut server).await?;
        let sql = server.sql("postgres").await?;
        run(&sql, "create database shop").await?;
        Ok(server)
    }

    fn directory(&self) -> PathBuf {
        self.root.join(self.name)
    }

    fn make(&self) -> Result<(), DemoError> {
        let directory = self.directory();
        for path in [&directory, &directory.join("s")] {
            let made = fs::create_dir(path)
                .and_then(|()| fs::set_permissions(path, PermissionsExt::from_mode(0o700)))
                .and_then(|()| self.owner.own(path));
            made.map_err(|source| DemoError::File {
                operation: "make",
                path: path.clone(),
                source,
            })?;
        }
        let data = directory.join("data");
        let mut command = self.programs.command("initdb");
        command.arg("--pgdata").arg(&data).args(["--username", "postgres", "--auth", "trust"]);
        command.args(["--encoding", "UTF8", "--no-locale", "--no-sync"]).current_dir("/");
        quiet(&mut command);
        self.owner.become_in(&mut command);
        let output = command.output().map_err(|error| self.failed("initdb", &error))?;
        if !output.status.success() {
            return Err(self.failed("initdb", &String::from_utf8_lossy(&output.stderr).trim()));
        }
        let path = data.join("pg_hba.conf");
        fs::write(&path, HBA).map_err(|source| DemoError::File { operation: "write", path, source })
    }

    async fn wait(&self, server: &mut Server) -> Result<(), DemoError> {
        let begun = Instant::now();
        while let Err(error) = server.sql("postgres").await {
            let what = match server._tether.has_ended() {
                true => "ended at once",
                false if begun.elapsed() > START_TIMEOUT => "does not answer",
                false => {
                    tracing::debug!(%error, "not yet");
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    continue;
                }
            };
            let log = last_lines(&self.directory().join("log"));
            return Err(DemoError::Server { server: self.name, what, log });
        }
        Ok(())
    }

    fn failed(&self, program: &'static str, said: &dyn std::fmt::Display) -> DemoError {
        DemoError::Program { program, said: said.to_string() }
    }
}

impl Server {
    /// How the superuser connects to `database`.
    pub(super) fn connect(&self, database: &str) -> String {
        format!("{}{database}", self.connect)
    }

    /// The superuser's connection to `database`.
    pub(super) async fn sql(&self, database: &str) -> Result<SqlClient, Error> {
        let config: ConnectConfig = self.connect(database).parse()?;
        let sql = sql_connect(&config).await?;
        // Sessions of walcast's own see the catalogue alone; the shop works on its tables.
        sql.batch_execute("set search_path = public").await.map_err(sql_failed)?;
        Ok(sql)
    }

    /// The TCP port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// Run `statements`.
pub(super) async fn run(sql: &SqlClient, statements: &str) -> Result<(), Error> {
    sql.batch_execute(statements).await.map_err(sql_failed)
}

/// An error of an SQL statement of ours.
pub(super) fn sql_failed(error: tokio_postgres::Error) -> Error {
    Error::permanent(ErrorKind::Server, error)
}

/// A loopback port to listen on: `wanted`, or one that is free.
pub(super) fn free_port(wanted: Option<u16>) -> Result<u16, DemoError> {
    let port = wanted.unwrap_or(0);
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| DemoError::Port { port, source })
}

/// The end of the log at `path`.
pub(super) fn last_lines(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
