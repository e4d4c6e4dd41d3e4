//! A link with a round-trip time, on a machine whose kernel has none to offer.
//!
//! What is sent to [`FAR`] leaves through a TUN device, waits, and comes back in with its two
//! addresses swapped: it then comes from [`FAR`] and is for [`NEAR`], where the server listens.
//! Real TCP runs over it, with its windows and its congestion control; only the wire is ours. All
//! of it lives in a network namespace of its own, which needs root.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tun_rs::{DeviceBuilder, SyncDevice};

/// Where the server listens.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Where it is reached over the distance.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Marks the process that is in its own namespace.
const INSIDE: &str = "WALCAST_BENCH_DISTANCE";
/// As large as packets get within a data centre.
const MTU: u16 = 9000;
/// Source and destination in an IPv4 header.
const ADDRESSES: std::ops::Range<usize> = 12..20;

/// Goes on in a network namespace of its own that has the link; in the process outside, answers
/// `false` when the one inside is done.
pub(crate) fn enter(round_trip: Duration) -> bool {
    if std::env::var_os(INSIDE).is_none() {
        let program = std::env::current_exe().expect("this program has a path");
        let mut inside = Command::new("unshare");
        inside.arg("--net").arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1");
        let status = inside.status().expect("unshare (util-linux) is there");
        assert!(status.success(), "the measurement in a network namespace (as root?): {status}");
        return false;
    }
    let device = DeviceBuilder::new().mtu(MTU).build_sync().expect("a TUN device can be made");
    let name = device.name().unwrap();
    ip(&["link", "set", "lo", "up"]);
    ip(&["address", "add", &format!("{NEAR}/30"), "dev", &name]);
    ip(&["link", "set", &name, "up"]);
    carry(Arc::new(device), round_trip / 2);
    true
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("ip (iproute2) is there");
    assert!(status.success(), "ip {arguments:?}: {status}");
}

/// What is under way, and when it arrives.
#[derive(Default)]
struct Line {
    packets: Mutex<VecDeque<(Instant, Vec<u8>)>>,
    more: Condvar,
}

/// Carries packets for as long as this process lives.
fn carry(device: Arc<SyncDevice>, one_way: Duration) {
    let line = Arc::new(Line::default());
    let (ahead, sender) = (Arc::clone(&line), Arc::clone(&device));
    std::thread::spawn(move || {
        let mut packet = vec![0; usize::from(MTU) + 64];
        loop {
            let length = sender.recv(&mut packet).expect("a TUN device can be read");
            // IPv4 alone; swapping two summands leaves every checksum as it is.
            if packet[0] >> 4 == 4 {
                packet[ADDRESSES].rotate_left(4);
                let due = Instant::now() + one_way;
                ahead.packets.lock().unwrap().push_back((due, packet[..length].to_vec()));
                ahead.more.notify_one();
            }
        }
    });
    std::thread::spawn(move || {
        loop {
            let (due, packet) = {
                let packets = line.packets.lock().unwrap();
                let mut packets = line.more.wait_while(packets, |it| it.is_empty()).unwrap();
                packets.pop_front().unwrap()
            };
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            device.send(&packet).expect("a TUN device can be written");
        }
    });
}
