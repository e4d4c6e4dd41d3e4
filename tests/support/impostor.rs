//! Somebody between client and server who would like to read along.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::authority::{Authority, Issued};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// What the impostor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    /// Says that the server has no TLS.
    DenyTls,
    /// Ends TLS with a certificate of its own and relays everything.
    Relay,
    /// And takes channel binding out of the server's offer.
    RelayWithoutPlus,
    /// Takes TLS away, but passes the offer of a server that was asked over TLS.
    DenyTlsButOfferPlus,
}

pub(crate) struct Impostor {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Impostor {
    /// Stands before the server on `target`, whose certificate `authority` issued to localhost.
    pub(crate) async fn before(
        target: u16,
        authority: &Authority,
        own: Issued,
        trick: Trick,
    ) -> Impostor {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (acceptor, connector) = (acceptor(&own), connector(authority));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A victim that hangs up is what the test wants.
                let _ = deceive(client, target, &acceptor, &connector, trick).await;
            }
        });
        Impostor { port, task }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn acceptor(own: &Issued) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.unwrap()).into()
}

fn connector(authority: &Authority) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

async fn deceive(
    mut client: TcpStream,
    target: u16,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    trick: Trick,
) -> std::io::Result<()> {
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    assert_eq!(request, SSL_REQUEST, "the client asks for TLS first");
    let mut server = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, target))).await?;
    if trick == Trick::DenyTls {
        client.write_all(b"N").await?;
        return copy_bidirectional(&mut client, &mut server).await.map(drop);
    }
    server.write_all(&SSL_REQUEST).await?;
    assert_eq!(server.read_u8().await?, b'S', "the server has TLS");
    let name = ServerName::try_from("localhost").unwrap();
    let server = connector.connect(name, server).await?;
    if trick == Trick::DenyTlsButOfferPlus {
        client.write_all(b"N").await?;
        return relay(client, server, trick).await;
    }
    client.write_all(b"S").await?;
    relay(acceptor.accept(client).await?, server, trick).await
}

async fn relay(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
    trick: Trick,
) -> std::io::Result<()> {
    let length = client.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    client.read_exact(&mut startup).await?;
    server.write_u32(length).await?;
    server.write_all(&startup).await?;
    server.flush().await?;

    let tag = server.read_u8().await?;
    let length = server.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    server.read_exact(&mut body).await?;
    if trick == Trick::RelayWithoutPlus {
        let plus = b"SCRAM-SHA-256-PLUS\0";
        let at = body.windows(plus.len()).position(|window| window == plus);
        let at = at.expect("the server offers channel binding");
        body.drain(at..at + plus.len());
    }
    client.write_u8(tag).await?;
    client.write_u32(body.len() as u32 + 4).await?;
    client.write_all(&body).await?;
    client.flush().await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
