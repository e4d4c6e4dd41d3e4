//! The byte stream under a session: TCP or a Unix-domain socket, with or without TLS.
//!
//! Opens a transport and sets its options, and is then nothing but `AsyncRead + AsyncWrite`. It
//! knows no message, and nothing of hosts or retries.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::binding;
use super::walsender::ReceiveBuffer;

/// How a TCP connection notices that nobody is there any more.
#[derive(Debug, Clone)]
pub(super) struct TcpLiveness {
    pub(super) keepalive: Option<TcpKeepalive>,
    pub(super) user_timeout: Duration,
}

/// A connection without TLS.
#[derive(Debug)]
enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Debug)]
enum Inner {
    Plain(Transport),
    Tls(Box<TlsStream<Transport>>),
}

/// A connection to a server: TCP or a Unix-domain socket, with or without TLS.
#[derive(Debug)]
pub struct Socket {
    inner: Inner,
    /// How long the TCP handshake took, where it was over when `connect` returned.
    handshake: Option<Duration>,
}

impl Socket {
    /// Connect to an address.
    pub(super) async fn tcp(address: SocketAddr, liveness: &TcpLiveness) -> io::Result<Self> {
        let (stream, handshake) = connect(address).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        if let Some(keepalive) = &liveness.keepalive {
            socket.set_tcp_keepalive(keepalive)?;
        }
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
        if !liveness.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(liveness.user_timeout))?;
        }
        Ok(Self { inner: Inner::Plain(Transport::Tcp(stream)), handshake })
    }

    /// Connect to a socket file.
    pub(super) async fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path).await?;
        Ok(Self { inner: Inner::Plain(Transport::Unix(stream)), handshake: None })
    }

    /// Go on in TLS.
    pub(super) async fn into_tls(
        self,
        client: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let inner = match self.inner {
            Inner::Plain(transport) => {
                let stream = TlsConnector::from(client).connect(name, transport).await?;
                Inner::Tls(Box::new(stream))
            }
            tls @ Inner::Tls(_) => tls,
        };
        Ok(Self { inner, ..self })
    }

    /// Whether TCP is at the bottom.
    pub fn is_tcp(&self) -> bool {
        matches!(self.transport(), Transport::Tcp(_))
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.inner, Inner::Tls(_))
    }

    /// How long the TCP handshake took, where it was over at once, as it is on one machine: no
    /// process has a part in it, so that however busy they are it is the link's own round trip.
    pub(super) fn handshake(&self) -> Option<Duration> {
        self.handshake
    }

    /// A handle on the receive buffer that outlives a split of the socket; none for a Unix-domain
    /// socket, which has no window.
    pub(super) fn receive_buffer(&self) -> Option<ReceiveBuffer> {
        match self.transport() {
            Transport::Tcp(stream) => {
                stream.as_fd().try_clone_to_owned().ok().map(|fd| ReceiveBuffer(fd.into()))
            }
            Transport::Unix(_) => None,
        }
    }

    /// The protocol that the TLS handshake agreed on.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        match &self.inner {
            Inner::Plain(_) => None,
            Inner::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// What a SCRAM exchange is bound to; `None` without TLS or where the certificate has none.
    pub(super) fn channel_binding(&self) -> Option<Vec<u8>> {
        match &self.inner {
            Inner::Plain(_) => None,
            Inner::Tls(stream) => {
                let certificate = stream.get_ref().1.peer_certificates()?.first()?;
                binding::tls_server_end_point(certificate)
            }
        }
    }

    fn transport(&self) -> &Transport {
        match &self.inner {
            Inner::Plain(transport) => transport,
            Inner::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Connect, and say how long the handshake took if it was over when `connect` returned.
async fn connect(address: SocketAddr) -> io::Result<(TcpStream, Option<Duration>)> {
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
    Ok((stream, handshake))
}

macro_rules! forward {
    ($of:ty, $($variant:path),+; $place:ident => $inner:expr) => {
        impl AsyncRead for $of {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let $place = &mut *self;
                match $inner { $($variant(stream) => Pin::new(stream).poll_read(cx, buffer),)+ }
            }
        }

        impl AsyncWrite for $of {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                let $place = &mut *self;
                match $inner { $($variant(stream) => Pin::new(stream).poll_write(cx, bytes),)+ }
            }

            fn poll_flush(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                let $place = &mut *self;
                match $inner { $($variant(stream) => Pin::new(stream).poll_flush(cx),)+ }
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                let $place = &mut *self;
                match $inner { $($variant(stream) => Pin::new(stream).poll_shutdown(cx),)+ }
            }
        }
    };
}

forward!(Transport, Transport::Tcp, Transport::Unix; transport => transport);
forward!(Socket, Inner::Plain, Inner::Tls; socket => &mut socket.inner);
