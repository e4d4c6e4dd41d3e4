//! The byte stream under a session: TCP or a Unix-domain socket, with or without TLS.
//!
//! Opens a transport and sets its options, and is then nothing but `AsyncRead + AsyncWrite`. It
//! knows no message, and nothing of hosts or retries.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::binding;
use super::tcp::{Gulps, TcpLink};

/// How a TCP connection notices that nobody is there any more.
#[derive(Debug, Clone)]
pub(super) struct TcpLiveness {
    pub(super) keepalive: Option<TcpKeepalive>,
    pub(super) user_timeout: Duration,
}

/// A connection without TLS.
#[derive(Debug)]
enum Transport {
    Tcp(TcpLink),
    Unix(UnixStream),
}

#[derive(Debug)]
enum Inner {
    Plain(Transport),
    Tls(Box<TlsStream<Transport>>),
}

/// A connection to a server: TCP or a Unix-domain socket, with or without TLS.
#[derive(Debug)]
pub struct Socket(Inner);

impl Socket {
    /// Connect to an address.
    pub(super) async fn tcp(address: SocketAddr, liveness: &TcpLiveness) -> io::Result<Self> {
        let link = TcpLink::connect(address).await?;
        let socket = SockRef::from(link.stream());
        socket.set_tcp_nodelay(true)?;
        if let Some(keepalive) = &liveness.keepalive {
            socket.set_tcp_keepalive(keepalive)?;
        }
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
        if !liveness.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(liveness.user_timeout))?;
        }
        Ok(Self(Inner::Plain(Transport::Tcp(link))))
    }

    /// Connect to a socket file.
    pub(super) async fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self(Inner::Plain(Transport::Unix(UnixStream::connect(path).await?))))
    }

    /// Go on in TLS.
    pub(super) async fn into_tls(
        self,
        client: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        match self.0 {
            Inner::Plain(transport) => {
                let stream = TlsConnector::from(client).connect(name, transport).await?;
                Ok(Self(Inner::Tls(Box::new(stream))))
            }
            Inner::Tls(stream) => Ok(Self(Inner::Tls(stream))),
        }
    }

    /// Whether TCP is at the bottom.
    pub fn is_tcp(&self) -> bool {
        matches!(self.transport(), Transport::Tcp(_))
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.0, Inner::Tls(_))
    }

    /// How long the TCP handshake took, where that is known.
    pub(super) fn handshake(&self) -> Option<Duration> {
        match self.transport() {
            Transport::Tcp(link) => link.handshake(),
            Transport::Unix(_) => None,
        }
    }

    /// A handle that outlives a split of the socket, to read it in gulps; none for a Unix-domain
    /// socket, which has no window.
    pub(super) fn gulps(&self) -> Option<Gulps> {
        match self.transport() {
            Transport::Tcp(link) => link.gulps(),
            Transport::Unix(_) => None,
        }
    }

    /// The protocol that the TLS handshake agreed on.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        match &self.0 {
            Inner::Plain(_) => None,
            Inner::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// What a SCRAM exchange is bound to; `None` without TLS or where the certificate has none.
    pub(super) fn channel_binding(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Inner::Plain(_) => None,
            Inner::Tls(stream) => {
                let certificate = stream.get_ref().1.peer_certificates()?.first()?;
                binding::tls_server_end_point(certificate)
            }
        }
    }

    fn transport(&self) -> &Transport {
        match &self.0 {
            Inner::Plain(transport) => transport,
            Inner::Tls(stream) => stream.get_ref().0,
        }
    }
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
forward!(Socket, Inner::Plain, Inner::Tls; socket => &mut socket.0);
