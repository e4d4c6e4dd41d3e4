//! TLS settings made into a rustls client, and the check of the server's certificate.
//!
//! One client serves both connections, replication and SQL, so that they agree on what is trusted.
//! Files are read anew for each connection, so that renewed certificates are found. When TLS is
//! asked for at all, and on which attempt, is for `connect` to decide.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::error::{ConnectError, TlsFileError};
use super::options::{SslMode, SslNegotiation};
use super::settings_error::SettingsError;

/// The name of PostgreSQL's protocol in a TLS handshake.
pub(super) const ALPN: &[u8] = b"postgresql";

/// Which authorities are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// `~/.postgresql/root.crt` if it exists, else the platform's where the mode allows it.
    Default,
    /// Those in this file.
    File(PathBuf),
    /// The platform's.
    System,
}

/// What the settings say about TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsSettings {
    pub(super) mode: SslMode,
    pub(super) negotiation: SslNegotiation,
    pub(super) roots: Roots,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) sni: bool,
    pub(super) tls13_only: bool,
}

/// What we present, with the path to blame.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    path: PathBuf,
}

impl TlsSettings {
    /// Refuse what looks safer than it is, as libpq does.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if self.roots == Roots::System && self.mode != SslMode::VerifyFull {
            return Err(SettingsError::Conflict {
                first: "sslrootcert=system",
                second: "a weaker sslmode",
                fix: "use sslmode=verify-full: anybody can get a certificate from a public authority",
            });
        }
        if self.negotiation == SslNegotiation::Direct && self.mode < SslMode::Require {
            return Err(SettingsError::Conflict {
                first: "sslnegotiation=direct",
                second: "a weak sslmode",
                fix: "use sslmode=require, verify-ca or verify-full",
            });
        }
        Ok(())
    }

    /// Read the files and make the client. Blocks on the disk.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, ConnectError> {
        self.check()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions: &[_] = match self.tls13_only {
            true => &[&rustls::version::TLS13],
            false => rustls::DEFAULT_VERSIONS,
        };
        let verifier = self.verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|source| ConnectError::SystemRoots { source: Box::new(source) })?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut client = match self.identity()? {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key, path }) => {
                builder.with_client_auth_cert(chain, key).map_err(|source| {
                    file_error("client certificate", path, TlsFileError::Unusable(source))
                })?
            }
        };
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = self.sni;
        Ok(Arc::new(client))
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, ConnectError> {
        let default_file = || default_file("root.crt");
        let file = match (&self.roots, self.mode) {
            (Roots::File(path), mode) if mode >= SslMode::Require => Some(path.clone()),
            (Roots::Default, mode) if mode >= SslMode::Require => default_file(),
            _ => None,
        };
        let algorithms = provider.signature_verification_algorithms;
        match (file, self.mode) {
            (Some(path), mode) => {
                let checks_name = mode == SslMode::VerifyFull;
                Ok(Arc::new(Verifier::new(&path, checks_name, algorithms)?))
            }
            (None, SslMode::VerifyFull) => {
                rustls_platform_verifier::Verifier::new(provider.clone())
                    .map(|verifier| Arc::new(verifier) as _)
                    .map_err(|source| ConnectError::SystemRoots { source: Box::new(source) })
            }
            (None, SslMode::VerifyCa) => {
                Err(ConnectError::NoRootCertificate { mode: self.mode.as_str() })
            }
            (None, _) => Ok(Arc::new(Verifier { trusted: None, checks_name: false, algorithms })),
        }
    }

    fn identity(&self) -> Result<Option<Identity>, ConnectError> {
        let Some(cert) = self.cert.clone().or_else(|| default_file("postgresql.crt")) else {
            return Ok(None);
        };
        let key = self.key.clone().or_else(|| default_file("postgresql.key"));
        let Some(key) = key else {
            return Err(ConnectError::Settings(SettingsError::Conflict {
                first: "a client certificate (sslcert)",
                second: "no private key",
                fix: "set sslkey",
            }));
        };
        let chain = certificates(&cert, "client certificate")?;
        Ok(Some(Identity { chain, key: private_key(&key)?, path: cert }))
    }
}

/// The name to check and to send: of the host if it has one, else its address.
pub(super) fn server_name(
    name: &str,
    address: Option<std::net::IpAddr>,
    mode: SslMode,
) -> Result<ServerName<'static>, SettingsError> {
    let bad = SettingsError::Value { name: "host", allowed: "a DNS name or an IP address" };
    match (ServerName::try_from(name.to_owned()), address) {
        (Ok(name), _) => Ok(name),
        (Err(_), Some(address)) if name.is_empty() || mode != SslMode::VerifyFull => {
            Ok(ServerName::IpAddress(address.into()))
        }
        _ => Err(bad),
    }
}

fn file_error(what: &'static str, path: PathBuf, source: TlsFileError) -> ConnectError {
    ConnectError::TlsFile { what, path, source }
}

/// A file of libpq's own directory, if it is there.
fn default_file(name: &str) -> Option<PathBuf> {
    let path = std::env::home_dir()?.join(".postgresql").join(name);
    path.is_file().then_some(path)
}

fn certificates(
    path: &Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let failed = |source| file_error(what, path.to_owned(), source);
    let pem = std::fs::read(path).map_err(|error| failed(TlsFileError::Unreadable(error)))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(failed(TlsFileError::NothingInside("certificate"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConnectError> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let failed = |source| file_error("client key", path.to_owned(), source);
    let unreadable = |error| failed(TlsFileError::Unreadable(error));
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    // libpq's rule: a key owned by root may be shared with a group.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.permissions().mode() & forbidden != 0 {
        return Err(failed(TlsFileError::ReadableByOthers));
    }
    let pem = std::fs::read(path).map_err(unreadable)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| failed(TlsFileError::NothingInside("unencrypted private key")))
}

/// Checks what the mode asks for, and always that the server holds the key of its certificate:
/// channel binding is worth nothing without.
#[derive(Debug)]
struct Verifier {
    /// `None`: any certificate will do.
    trusted: Option<Trusted>,
    checks_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Trusted {
    authorities: RootCertStore,
    /// The certificates of the file as they are: one of them may be the server's own.
    certificates: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(
        path: &Path,
        checks_name: bool,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self, ConnectError> {
        let certificates = certificates(path, "root certificate")?;
        let mut authorities = RootCertStore::empty();
        let (added, _) = authorities.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            let nothing = TlsFileError::NothingInside("certificate");
            return Err(file_error("root certificate", path.to_owned(), nothing));
        }
        let trusted = Some(Trusted { authorities, certificates });
        Ok(Self { trusted, checks_name, algorithms })
    }

    /// Verify with the key alone where TLS cannot read the rest of the certificate: one of X.509
    /// version 1, which PostgreSQL's manual has people make. It has passed `verify_server_cert`.
    fn verify_with_key(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
        error: rustls::Error,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        use x509_cert::der::{Decode, Encode};

        if ParsedCertificate::try_from(certificate).is_ok() {
            return Err(error);
        }
        let key = x509_cert::Certificate::from_der(certificate)
            .and_then(|parsed| parsed.tbs_certificate.subject_public_key_info.to_der())
            .map_err(|_| error)?;
        rustls::crypto::verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key),
            signature,
            &self.algorithms,
        )
    }

    fn check_chain(
        &self,
        trusted: &Trusted,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        // A self-signed server certificate that is itself the trusted file, as PostgreSQL's manual
        // makes it, is an authority and would be refused as a server's.
        if trusted.certificates.iter().any(|certificate| certificate == end_entity) {
            return check_validity(end_entity, now);
        }
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &trusted.authorities,
            intermediates,
            now,
            self.algorithms.all,
        )
    }
}

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    use x509_cert::der::Decode;

    let parsed = x509_cert::Certificate::from_der(certificate)
        .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = parsed.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(trusted) = &self.trusted {
            self.check_chain(trusted, end_entity, intermediates, now)?;
        }
        if self.checks_name {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
            .or_else(|error| self.verify_with_key(message, certificate, signature, error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
            .or_else(|error| self.verify_with_key(message, certificate, signature, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
