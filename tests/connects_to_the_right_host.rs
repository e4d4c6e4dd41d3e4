//! Which server a connection goes to, how long it may take, whose password it uses, and what the
//! session is like once it is there.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use walcast::net::{
    ConnectConfig, ConnectError, Host, ReplicationSocket, Stage, connect_replication, sql_connect,
};
use walcast::{Error, ErrorKind};

use crate::support::{Primary, eventually_async, write_private};

const SOON: Duration = Duration::from_secs(20);

fn config(text: &str) -> ConnectConfig {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Settings for these ports of this machine, in this order.
fn ports(ports: &[u16], settings: &str) -> ConnectConfig {
    let hosts = vec!["127.0.0.1"; ports.len()].join(",");
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    let place = format!("host={hosts} port={}", ports.join(","));
    config(&format!("{place} user=postgres dbname=postgres {settings}"))
}

/// A port where nobody listens while the value lives.
fn dead_port() -> (u16, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

/// A port where connections are taken and nothing is ever said.
fn silent_port() -> (u16, TcpListener) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    (listener.local_addr().unwrap().port(), listener)
}

/// The first value that a walsender answers to `query`.
async fn ask(socket: &mut ReplicationSocket, query: &str) -> String {
    let mut request = BytesMut::new();
    frontend::query(query, &mut request).unwrap();
    socket.stream.write_all(&request).await.unwrap();
    let mut value = None;
    loop {
        match Message::parse(&mut socket.unread).unwrap() {
            Some(Message::DataRow(row)) => {
                // One column: its count of bytes, then itself.
                value = Some(String::from_utf8(row.buffer()[4..].to_vec()).unwrap());
            }
            Some(Message::ReadyForQuery(_)) => return value.expect("a value"),
            Some(Message::ErrorResponse(body)) => {
                panic!("{query}: {}", walcast::wire::ServerError::from(&body))
            }
            Some(_) => {}
            None => assert_ne!(socket.stream.read_buf(&mut socket.unread).await.unwrap(), 0),
        }
    }
}

#[tokio::test]
async fn a_dead_host_leaves_the_turn_to_the_next() {
    let primary = Primary::start();
    let ((dead, _dead), (silent, _silent)) = (dead_port(), silent_port());
    let several = ports(&[dead, silent, primary.port()], "connect_timeout=1");
    let start = Instant::now();
    let socket = connect_replication(&several).await.unwrap();
    assert_eq!(socket.endpoint.port, primary.port());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(socket.stream.is_tcp() && !socket.stream.is_tls());

    // SQL goes where replication went, whatever the order says.
    let sql = sql_connect(&several.at(&socket.endpoint)).await.unwrap();
    assert_eq!(sql.endpoint(), &socket.endpoint);
    let shuffled =
        ports(&[dead, primary.port(), dead], "load_balance_hosts=random connect_timeout=1");
    sql_connect(&shuffled).await.unwrap().close().await;
}

#[tokio::test]
async fn nobody_there_is_said_of_each_host_and_may_pass() {
    let ((one, _one), (two, _two)) = (dead_port(), dead_port());
    let error = connect_replication(&ports(&[one], "")).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Unreachable { at, .. } if at.port == one), "{error:?}");
    let error = Error::from(error);
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Connect, true));

    let error = connect_replication(&ports(&[one, two], "")).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!(":{one}")) && text.contains(&format!(":{two}")), "{text}");
    assert!(Error::from(error).is_transient());

    let nameless = config("host=no.such.host.invalid user=u connect_timeout=5");
    let error = connect_replication(&nameless).await.unwrap_err();
    let unknown = matches!(
        error,
        ConnectError::Unreachable { .. } | ConnectError::Timeout { stage: Stage::Resolve, .. }
    );
    assert!(unknown && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let (silent, _listener) = silent_port();
    for (mode, expected) in [("prefer", Stage::Tls), ("disable", Stage::Startup)] {
        let start = Instant::now();
        let patient = ports(&[silent], &format!("sslmode={mode} connect_timeout=1"));
        let error = connect_replication(&patient).await.unwrap_err();
        let timeout = matches!(error, ConnectError::Timeout { stage, .. } if stage == expected);
        assert!(timeout && error.is_transient(), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn what_is_no_postgresql_server_is_said_so() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8];
            let _ = stream.read_exact(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for mode in ["prefer", "disable"] {
        let settings = ports(&[port], &format!("sslmode={mode}"));
        let error = connect_replication(&settings).await.unwrap_err();
        assert!(matches!(error, ConnectError::Protocol { .. }), "{mode}: {error:?}");
        assert_eq!(Error::from(error).kind(), ErrorKind::Protocol);
    }
    server.abort();
}

#[tokio::test]
async fn target_session_attrs_picks_the_server() {
    let primary = Primary::start();
    // It follows nobody, and it is in recovery all the same. It must allow as many connections as
    // the server that its WAL comes from, initdb's.
    let standby = Primary::builder()
        .setting("max_connections", "100")
        .file("standby.signal", "", 0o600)
        .start();
    let reading = Primary::builder().setting("default_transaction_read_only", "on").start();
    let [p, s, r] = [&primary, &standby, &reading].map(Primary::port);
    for (attrs, order, expected) in [
        ("any", [s, r, p], s),
        ("read-write", [s, r, p], p),
        ("read-only", [p, r, s], r),
        ("primary", [s, r, p], r),
        ("standby", [p, r, s], s),
        ("prefer-standby", [p, r, s], s),
        ("prefer-standby", [r, p, r], r),
    ] {
        let settings = ports(&order, &format!("target_session_attrs={attrs}"));
        let sql = sql_connect(&settings).await.unwrap();
        assert_eq!(sql.endpoint().port, expected, "{attrs}");
        let replication = connect_replication(&settings).await.unwrap();
        assert_eq!(replication.endpoint.port, expected, "{attrs}");
    }
    let none = ports(&[s, r], "target_session_attrs=read-write");
    let error = connect_replication(&none).await.unwrap_err();
    assert!(error.to_string().contains("target_session_attrs=read-write"), "{error}");
    assert!(Error::from(error).is_transient());
}

#[tokio::test]
async fn a_full_or_stopped_server_may_pass() {
    let primary = Primary::builder().setting("max_wal_senders", "1").start();
    let settings = ports(&[primary.port()], "");
    let taken = connect_replication(&settings).await.unwrap();
    let error = connect_replication(&settings).await.unwrap_err();
    assert!(matches!(error, ConnectError::TooManyConnections { .. }), "{error:?}");
    let error = Error::from(error);
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Connect, true));
    drop(taken);
    eventually_async("the walsender is free again", SOON, async || {
        connect_replication(&settings).await.is_ok()
    })
    .await;

    let sql = sql_connect(&settings).await.unwrap();
    primary.stop_fast();
    let end = tokio::time::timeout(SOON, sql.closed()).await.unwrap().unwrap_err();
    assert_eq!(end.code().map(|code| code.code()), Some("57P01"));
    let error = connect_replication(&settings).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_shuts_down_may_come_back() {
    let primary = Primary::start();
    let settings = ports(&[primary.port()], "");
    let open = sql_connect(&settings).await.unwrap();
    // A smart shutdown: it waits for the session that is open, and lets no other one in.
    let stop = "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; kill -TERM $(head -1 postmaster.pid)'";
    open.batch_execute(stop).await.unwrap();
    let error = eventually_async("the shutdown has begun", SOON, async || {
        connect_replication(&settings).await.err()
    })
    .await;
    assert!(matches!(error, ConnectError::NotAccepting { .. }), "{error:?}");
    assert!(Error::from(error).is_transient());
    open.close().await;
    assert!(primary.wait_stopped(SOON), "the last session holds the shutdown up");
}

#[tokio::test]
async fn a_socket_is_a_host_too() {
    let primary = Primary::builder().unix_socket_only().start();
    for mode in ["prefer", "verify-full", "require"] {
        let settings = config(&format!("{}?sslmode={mode}", primary.socket_url()));
        let mut socket = connect_replication(&settings).await.unwrap();
        assert!(!socket.stream.is_tcp() && !socket.stream.is_tls());
        assert!(matches!(&socket.endpoint.host, Host::Unix(path) if *path == primary.socket_dir()));
        assert_eq!(ask(&mut socket, "SHOW wal_level").await, "logical");
        sql_connect(&settings).await.unwrap().close().await;
    }
    let missing = config(&format!("host={} user=postgres port=1", primary.socket_dir().display()));
    let error = connect_replication(&missing).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}

/// What a hostile role sets for itself, and what each session shows nevertheless.
#[tokio::test]
async fn settings_that_change_values_or_end_commands_are_pinned() {
    let primary = Primary::start();
    primary.sql(
        "CREATE ROLE odd LOGIN REPLICATION;
         ALTER ROLE odd SET DateStyle = 'German';
         ALTER ROLE odd SET IntervalStyle = 'iso_8601';
         ALTER ROLE odd SET TimeZone = 'Asia/Tokyo';
         ALTER ROLE odd SET extra_float_digits = -10;
         ALTER ROLE odd SET bytea_output = 'escape';
         ALTER ROLE odd SET client_encoding = 'LATIN1';
         ALTER ROLE odd SET standard_conforming_strings = off;
         ALTER ROLE odd SET synchronous_commit = remote_apply;
         ALTER ROLE odd SET statement_timeout = 10;
         ALTER ROLE odd SET lock_timeout = 10;
         ALTER ROLE odd SET idle_session_timeout = 10;
         ALTER ROLE odd SET idle_in_transaction_session_timeout = 10;",
    );
    if primary.major() >= 17 {
        primary.sql("ALTER ROLE odd SET transaction_timeout = 10");
    }
    let settings = config(&format!(
        "host=127.0.0.1 port={} user=odd dbname=postgres application_name=mine \
         options='-c geqo=off -c statement_timeout=20'",
        primary.port()
    ));
    let values = r"SELECT concat_ws(' ', timestamptz 'epoch', interval '1 day 1 hour',
        0.1::float8 + 0.2, '\x00ff'::bytea, '\a', current_setting('client_encoding'),
        current_setting('geqo'), current_setting('application_name'),
        current_setting('synchronous_commit'))";
    let expected =
        r"1970-01-01 00:00:00+00 1 day 01:00:00 0.30000000000000004 \x00ff \a UTF8 off mine local";
    let limits = "SELECT concat_ws(' ', current_setting('statement_timeout'),
        current_setting('lock_timeout'), current_setting('idle_session_timeout'),
        current_setting('idle_in_transaction_session_timeout'),
        coalesce(current_setting('transaction_timeout', true), '0'))";

    let mut socket = connect_replication(&settings).await.unwrap();
    assert_eq!(ask(&mut socket, values).await, expected);
    assert_eq!(ask(&mut socket, limits).await, "0 0 0 0 0");
    assert!(ask(&mut socket, "IDENTIFY_SYSTEM").await.len() > 10);
    assert_eq!(socket.parameters.major_version(), primary.major());

    let sql = sql_connect(&settings).await.unwrap();
    let row = sql.query_one(values, &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), expected);
    let row = sql.query_one(limits, &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "0 0 0 0 0");
}

#[tokio::test]
async fn a_command_can_be_cancelled() {
    let primary = Primary::start();
    let sql = sql_connect(&ports(&[primary.port()], "")).await.unwrap();
    let sleeping = sql.batch_execute("SELECT pg_sleep(60)");
    let cancelling = async {
        let asleep = format!(
            "EXISTS (SELECT FROM pg_stat_activity WHERE pid = {} AND wait_event = 'PgSleep')",
            sql.pid()
        );
        primary.wait_for_sql(&asleep, SOON).await;
        sql.cancel().await.unwrap();
    };
    let (slept, ()) = tokio::join!(sleeping, cancelling);
    assert_eq!(slept.unwrap_err().code().map(|code| code.code()), Some("57014"));
    sql.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_dropped_client_leaves_no_session() {
    let primary = Primary::start();
    let settings = ports(&[primary.port()], "application_name=leaver");
    let gone = "NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'leaver')";
    drop(sql_connect(&settings).await.unwrap());
    primary.wait_for_sql(gone, SOON).await;
    drop(connect_replication(&settings).await.unwrap());
    primary.wait_for_sql(gone, SOON).await;
}

fn guarded() -> Primary {
    let primary = Primary::builder()
        .hba("host all all 127.0.0.1/32 scram-sha-256")
        .hba("local all all scram-sha-256")
        .start();
    primary.sql("CREATE ROLE cdc LOGIN REPLICATION PASSWORD 's3cret:\\'");
    primary
}

#[tokio::test]
async fn the_password_file_is_asked_by_host_port_database_and_user() {
    let primary = guarded();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pgpass");
    let port = primary.port();
    let over_tcp = format!("host=127.0.0.1 port={port} user=cdc dbname=postgres");
    let over_socket =
        format!("host={} port={port} user=cdc dbname=postgres", primary.socket_dir().display());
    let with_file =
        |place: &str| config(&format!("{place} passfile={} connect_timeout=5", path.display()));
    let socket_dir = primary.socket_dir().display().to_string();
    for (place, line) in [
        (&over_tcp, format!(r"127.0.0.1:{port}:postgres:cdc:s3cret\:\\")),
        (&over_tcp, r"*:*:*:*:s3cret\:\\".to_owned()),
        (&over_socket, r"localhost:*:*:cdc:s3cret\:\\".to_owned()),
        (&over_socket, format!(r"{socket_dir}:*:*:cdc:s3cret\:\\")),
    ] {
        write_private(&path, &format!("# not this\nother:*:*:*:wrong\n{line}\n*:*:*:*:wrong\n"));
        connect_replication(&with_file(place)).await.unwrap();
        sql_connect(&with_file(place)).await.unwrap();
    }
    write_private(&path, "127.0.0.1:*:*:nobody:x\n");
    let error = connect_replication(&with_file(&over_tcp)).await.unwrap_err();
    assert!(error.to_string().contains("no line of"), "{error}");
    write_private(&path, "*:*:*:*:wrong\n");
    let error = connect_replication(&with_file(&over_tcp)).await.unwrap_err();
    assert!(matches!(error, ConnectError::PasswordRefused { .. }), "{error:?}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let error = connect_replication(&with_file(&over_tcp)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoPassword { .. }), "{error:?}");
    assert_eq!(error.fix().as_deref(), Some("chmod 0600 the password file"));
}

/// Connects as its environment says; does nothing when run as a test of its own.
#[tokio::test]
async fn a_child_that_connects_by_its_environment() {
    let Ok(url) = std::env::var("WALCAST_TEST_CHILD_URL") else { return };
    let settings = config(&url);
    let socket = connect_replication(&settings).await.unwrap();
    println!("connected as {}", settings.display_target());
    drop(socket);
}

#[tokio::test]
async fn the_environment_stands_in_for_what_the_url_leaves_out() {
    let primary = guarded();
    let port = primary.port().to_string();
    let home = tempfile::tempdir().unwrap();
    let other: PathBuf = home.path().join("other");
    write_private(&home.path().join(".pgpass"), "*:*:*:cdc:s3cret\\:\\\\\n");
    write_private(&other, "*:*:*:cdc:s3cret\\:\\\\\n");
    let child = |url: &str, environment: &[(&str, &str)]| {
        let name = "connects_to_the_right_host::a_child_that_connects_by_its_environment";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env_clear()
            .env("WALCAST_TEST_CHILD_URL", url)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let shown = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.success(), shown.concat())
    };
    let place = [("PGHOST", "127.0.0.1"), ("PGPORT", &*port), ("PGUSER", "cdc")];
    let nowhere = [("HOME", "/nonexistent"), ("PGDATABASE", "postgres")];
    let home = home.path().display().to_string();
    let other = other.display().to_string();
    for (url, extra) in [
        ("postgres://", [("PGPASSWORD", "s3cret:\\"), ("PGDATABASE", "postgres")]),
        ("postgres:///postgres", [("HOME", &*home), ("PGPASSWORD", "")]),
        ("dbname=postgres", [("PGPASSFILE", &*other), ("HOME", "/nonexistent")]),
        // What the text says wins.
        ("postgres://:s3cret%3A%5C@/postgres", [("PGPASSWORD", "wrong"), ("PGDATABASE", "no")]),
    ] {
        let (connected, shown) = child(url, &[&place[..], &extra].concat());
        assert!(connected, "{url}: {shown}");
        assert!(shown.contains(&format!("connected as cdc@127.0.0.1:{port}/postgres")), "{shown}");
    }
    let (connected, shown) = child("postgres://", &[&place[..], &nowhere].concat());
    assert!(!connected && shown.contains("NoPassword"), "{shown}");
}
