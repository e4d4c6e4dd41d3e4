//! The tools that make trouble: load, a proxy that breaks links, a disk that fills, a child that
//! dies with its test.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{Load, Primary, Program, Proxy, Tmpfs, eventually, pgbench_tables, skip};

const SOON: Duration = Duration::from_secs(20);

/// Sends everything back; ends with its only connection.
fn echo() -> (u16, JoinHandle<std::io::Result<u64>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept()?;
        let mut back = peer.try_clone()?;
        std::io::copy(&mut peer, &mut back)
    });
    (port, thread)
}

/// A proxy before an echo, with one byte sent through, so that both ends are connected.
fn echo_behind_a_proxy() -> (Proxy, TcpStream, JoinHandle<std::io::Result<u64>>) {
    let (port, thread) = echo();
    let proxy = Proxy::to(port);
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    (proxy, client, thread)
}

#[test]
fn the_proxy_cuts_in_order() {
    let (proxy, mut client, server) = echo_behind_a_proxy();
    assert_eq!((proxy.open(), proxy.accepted()), (1, 1));
    proxy.cut();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    server.join().unwrap().unwrap();
    eventually("the link is gone", SOON, || proxy.open() == 0);
}

#[test]
fn the_proxy_resets_both_ends() {
    let (proxy, mut client, server) = echo_behind_a_proxy();
    proxy.reset();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.join().unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn the_proxy_stalls_and_flows_again() {
    let (proxy, mut client, _server) = echo_behind_a_proxy();
    proxy.stall();
    client.write_all(b"held").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    proxy.flow();
    client.set_read_timeout(Some(SOON)).unwrap();
    let mut back = [0; 4];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"held");
}

#[test]
fn the_proxy_delays_without_narrowing_and_refuses() {
    let (proxy, mut client, _server) = echo_behind_a_proxy();
    let one_way = Duration::from_millis(50);
    proxy.delay(one_way);
    let start = Instant::now();
    let sent = vec![7; 1 << 20];
    let mut writer = client.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&sent));
    client.read_exact(&mut vec![0; 1 << 20]).unwrap();
    writing.join().unwrap().unwrap();
    let took = start.elapsed();
    assert!(took >= 2 * one_way, "{took:?} is less than a round trip");
    assert!(took < Duration::from_secs(5), "32 chunks queued one after the other: {took:?}");
    proxy.refuse(true);
    let mut refused = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn load_runs_through_and_stops() {
    let primary = Primary::start();
    pgbench_tables(&primary, 1);
    let processed = Load::on(&primary).clients(2).transactions(20).start().wait(SOON);
    assert_eq!(processed, 40);
    primary.sql("CREATE TABLE t (n int)");
    let mut endless = Load::on(&primary).seconds(600).script("INSERT INTO t VALUES (1);").start();
    primary.wait_for_sql_blocking("EXISTS (SELECT FROM t)", SOON);
    assert!(endless.is_running());
    endless.stop();
    primary.wait_for_sql_blocking(
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pgbench')",
        SOON,
    );
}

#[test]
fn a_small_disk_fills_up_and_goes_away() {
    let disk = match Tmpfs::mount(64 * 1024) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let path = disk.path().to_path_buf();
    let full = std::fs::write(path.join("file"), vec![1; 128 * 1024]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    drop(disk);
    assert!(!path.exists());
}

#[test]
fn a_child_is_heard_and_ends_as_told() {
    let deaf = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let mut child = Program::new("sh", ["-c", deaf]).start();
    child.wait_for_stdout("ready", SOON);
    child.signal("TERM");
    let ended = child.wait(SOON);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(3), "ready\ncaught\n"));

    let mut child = Program::new("sh", ["-c", "echo one; exec sleep 1000"]).start();
    child.wait_for_stdout("one", SOON);
    let pid = child.pid();
    assert_eq!(child.kill().code(), None);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn the_program_under_test_runs() {
    let ended = Program::walcast(["--version"]).run(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}
