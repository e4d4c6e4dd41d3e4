//! A TCP connection that can be read in gulps.
//!
//! A walsender whose window is closed appends to its own socket buffer, at a fraction of what a
//! send costs. For that the receive buffer must be small, and each gulp must go to the bottom:
//! reading opens the window, at which the server's kernel pushes what had piled up on its side.
//! Runtimes take a short read for the sign that a socket is empty; while gulping, [`TcpLink`] asks
//! the kernel again. When to gulp is not decided here.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A TCP connection.
#[derive(Debug)]
pub(super) struct TcpLink {
    stream: TcpStream,
    /// Set while it is read in gulps.
    gulping: Arc<AtomicBool>,
    handshake: Option<Duration>,
}

/// A second handle on a TCP connection, to read it in gulps from where it cannot be reached.
#[derive(Debug)]
pub(crate) struct Gulps {
    socket: socket2::Socket,
    gulping: Arc<AtomicBool>,
}

impl TcpLink {
    /// Connect to an address.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        let begin = Instant::now();
        let under_way = match socket.connect(&address.into()) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                socket.peer_addr().is_err()
            }
            Err(error) => return Err(error),
        };
        let handshake = (!under_way).then(|| begin.elapsed());
        let stream = TcpStream::from_std(socket.into())?;
        if under_way {
            stream.writable().await?;
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
        }
        Ok(Self { stream, gulping: Arc::default(), handshake })
    }

    /// How long the handshake took, where it was over when `connect` returned, as it is within one
    /// machine. No process has a part in it: however busy they are, it is the link's own round
    /// trip.
    pub(super) fn handshake(&self) -> Option<Duration> {
        self.handshake
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn gulps(&self) -> Option<Gulps> {
        let socket = self.stream.as_fd().try_clone_to_owned().ok()?.into();
        Some(Gulps { socket, gulping: Arc::clone(&self.gulping) })
    }
}

impl Gulps {
    /// Leave a receive buffer of about `bytes`, for good.
    ///
    /// Room that the peer was promised cannot be taken back: what it sends into a buffer made
    /// smaller meanwhile is dropped once, and comes again after 200 ms.
    pub(crate) fn limit(&self, bytes: usize) {
        // Only speed depends on it.
        if let Err(error) = self.socket.set_recv_buffer_size(bytes) {
            tracing::debug!(%error, "the receive buffer keeps its size");
        }
    }

    /// Give a buffer that was limited more room, for good.
    ///
    /// A buffer of a fixed size that nobody reads overflows: small messages take more of it than
    /// they count for in the window that the peer was promised. The kernel then takes nothing from
    /// the peer any more, not even that it has received what we sent; our own segments are sent
    /// again and again, ever more seldom, and no status update gets through.
    pub(crate) fn relieve(&self) {
        const ROOM_BYTES: usize = 1024 * 1024;
        self.limit(ROOM_BYTES);
    }

    /// Read in gulps from now on, or take a short read for the end of what is there.
    pub(crate) fn set(&self, gulping: bool) {
        // Relaxed: who reads a turn too late or too early reads the same bytes.
        self.gulping.store(gulping, Ordering::Relaxed);
    }

    /// A handle that concerns no connection.
    #[cfg(test)]
    pub(super) fn of_nothing() -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
        Ok(Self { socket, gulping: Arc::default() })
    }
}

impl AsyncRead for TcpLink {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.gulping.load(Ordering::Relaxed) {
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TcpLink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::session::ROUND_TRIP_MAX;

    fn listener() -> (std::net::TcpListener, SocketAddr) {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_handshake_on_this_machine_is_short_although_nobody_accepts() {
        let (_listener, address) = listener();
        // Once is enough: any of them may be interrupted.
        for _ in 0..50 {
            let link = TcpLink::connect(address).await.unwrap();
            if link.handshake().is_some_and(|handshake| handshake <= ROUND_TRIP_MAX) {
                return;
            }
        }
        panic!("no handshake within {ROUND_TRIP_MAX:?}");
    }

    #[tokio::test]
    async fn a_refused_connection_is_an_error() {
        let (closed, address) = listener();
        drop(closed);
        let error = TcpLink::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// What comes after a short read is there for the next one, without the runtime's help.
    #[tokio::test]
    async fn a_gulp_goes_on_after_a_short_read() {
        let (listener, address) = listener();
        let mut link = TcpLink::connect(address).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        link.gulps().unwrap().set(true);
        let mut read = vec![0; 1024];
        peer.write_all(b"first").unwrap();
        assert_eq!(link.read(&mut read).await.unwrap(), 5);
        peer.write_all(b"second").unwrap();
        let mut buffer = ReadBuf::new(&mut read);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut link).poll_read(&mut cx, &mut buffer).is_ready());
        assert_eq!(buffer.filled(), b"second");
    }
}
