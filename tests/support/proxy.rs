//! A TCP proxy on loopback that breaks connections on demand: cut, reset, stalled, delayed,
//! refused.
//!
//! It has a thread and a runtime of its own, so that it works for plain tests and for child
//! processes, and goes on while a test blocks its own runtime.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What happens to bytes and connections at the moment.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// Raised to end every connection there is; new ones are not concerned.
    breaks: u64,
    /// Whether the last break was a reset (RST) rather than an orderly close (FIN).
    by_reset: bool,
    stalled: bool,
    refusing: bool,
    delay: Duration,
    closing: bool,
}

pub(crate) struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Forwards a loopback port of its own to `target` on loopback.
    pub(crate) fn to(target: u16) -> Proxy {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (weather, seen) = watch::channel(Weather::default());
        let open = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::new(AtomicUsize::new(0));
        let counts = (Arc::clone(&open), Arc::clone(&accepted));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(accept(listener, target, seen, counts));
        });
        Proxy { port, weather, open, accepted, thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Closes every connection in an orderly way, both ends; new ones are taken.
    pub(crate) fn cut(&self) {
        self.break_all(false);
    }

    /// Resets every connection (RST), both ends; new ones are taken.
    pub(crate) fn reset(&self) {
        self.break_all(true);
    }

    fn break_all(&self, by_reset: bool) {
        self.weather.send_modify(|weather| {
            weather.breaks += 1;
            weather.by_reset = by_reset;
        });
    }

    /// Nothing moves any more, in either direction and on new connections too; nothing closes
    /// either: a half-open link.
    pub(crate) fn stall(&self) {
        self.weather.send_modify(|weather| weather.stalled = true);
    }

    /// Ends a [`stall`](Self::stall); what was held moves on.
    pub(crate) fn flow(&self) {
        self.weather.send_modify(|weather| weather.stalled = false);
    }

    /// Holds every byte back for `one_way`, without narrowing the link.
    pub(crate) fn delay(&self, one_way: Duration) {
        self.weather.send_modify(|weather| weather.delay = one_way);
    }

    /// Resets new connections as they come (`true`), or takes them again.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.weather.send_modify(|weather| weather.refusing = refusing);
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Connections taken since the start, refused ones included.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.weather.send_modify(|weather| weather.closing = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(
    listener: std::net::TcpListener,
    target: u16,
    mut weather: watch::Receiver<Weather>,
    (open, accepted): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut links = JoinSet::new();
    loop {
        let client = tokio::select! {
            taken = listener.accept() => taken.unwrap().0,
            _ = weather.wait_for(|weather| weather.closing) => return,
        };
        accepted.fetch_add(1, Ordering::SeqCst);
        let now = *weather.borrow();
        if now.refusing {
            let _ = client.set_zero_linger();
            continue;
        }
        let (open, weather) = (Arc::clone(&open), weather.clone());
        open.fetch_add(1, Ordering::SeqCst);
        links.spawn(async move {
            // An error ends this one connection, as on any network.
            let _ = link(client, target, weather, now.breaks).await;
            open.fetch_sub(1, Ordering::SeqCst);
        });
        while links.try_join_next().is_some() {}
    }
}

/// One connection, until both sides closed or the weather breaks it.
async fn link(
    mut client: TcpStream,
    target: u16,
    mut weather: watch::Receiver<Weather>,
    born: u64,
) -> io::Result<()> {
    let mut server = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, target))).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (up, down) = (weather.clone(), weather.clone());
    let by_reset = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let both = async {
            tokio::try_join!(
                carry(client_read, server_write, up),
                carry(server_read, client_write, down)
            )
        };
        tokio::select! {
            carried = both => return carried.map(drop),
            broken = weather.wait_for(|now| now.breaks != born || now.closing) => {
                broken.is_ok_and(|now| now.by_reset && !now.closing)
            }
        }
    };
    if by_reset {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Moves bytes one way, each chunk when it is due and the link is not stalled.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(256);
    let clock = weather.clone();
    let read = async move {
        loop {
            let mut chunk = Vec::with_capacity(32 * 1024);
            let length = from.read_buf(&mut chunk).await?;
            let due = Instant::now() + clock.borrow().delay;
            if sender.send((due, chunk)).await.is_err() || length == 0 {
                return Ok::<_, io::Error>(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            if weather.wait_for(|now| !now.stalled).await.is_err() {
                break;
            }
            if chunk.is_empty() {
                break;
            }
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}
