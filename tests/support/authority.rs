//! A certificate authority for one test: issues what servers and clients present.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SignatureAlgorithm,
};

/// An RSA key, because the test's certificate library cannot make one. It guards nothing.
const RSA_KEY: &str = include_str!("rsa_test_key.pem");

/// What a certificate is signed with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signature {
    Ecdsa256,
    Ecdsa384,
    Ed25519,
    Rsa256,
    Rsa512,
}

impl Signature {
    fn key(self) -> KeyPair {
        let rsa = |algorithm: &'static SignatureAlgorithm| {
            KeyPair::from_pem_and_sign_algo(RSA_KEY, algorithm)
        };
        match self {
            Self::Ecdsa256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::Ecdsa384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            Self::Rsa256 => rsa(&rcgen::PKCS_RSA_SHA256),
            Self::Rsa512 => rsa(&rcgen::PKCS_RSA_SHA512),
        }
        .unwrap()
    }
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The authority, with a directory for files that clients read.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new(signature: Signature) -> Authority {
        Authority::named("walcast test authority", signature)
    }

    /// An authority of this name; two of one name have different keys.
    pub(crate) fn named(name: &str, signature: Signature) -> Authority {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(parameters, signature.key()).unwrap();
        Authority { issuer, directory: tempfile::tempdir().unwrap() }
    }

    /// The authority's own certificate, as a file.
    pub(crate) fn root(&self) -> PathBuf {
        self.file("root.crt", &self.issuer.pem())
    }

    pub(crate) fn root_pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server's certificate for these host names and addresses.
    pub(crate) fn server(&self, names: &[&str]) -> Issued {
        self.issue(names, "server", ExtendedKeyUsagePurpose::ServerAuth, false)
    }

    /// One that was valid until some years ago.
    pub(crate) fn expired_server(&self, names: &[&str]) -> Issued {
        self.issue(names, "server", ExtendedKeyUsagePurpose::ServerAuth, true)
    }

    /// A client's certificate for this role.
    pub(crate) fn client(&self, role: &str) -> Issued {
        self.issue(&[], role, ExtendedKeyUsagePurpose::ClientAuth, false)
    }

    /// A file that only this user may read.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        write_private(&path, content);
        path
    }

    fn issue(
        &self,
        names: &[&str],
        common_name: &str,
        purpose: ExtendedKeyUsagePurpose,
        expired: bool,
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        parameters.extended_key_usages.push(purpose);
        if expired {
            parameters.not_before = rcgen::date_time_ymd(2019, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A server's certificate that is its own authority, as PostgreSQL's manual has it made.
pub(crate) fn self_signed(names: &[&str]) -> Issued {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    Issued { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// A self-signed certificate of X.509 version 1 for CN=localhost, as older OpenSSL makes them.
pub(crate) fn version_1() -> Issued {
    let certificate = include_str!("version_1_test_certificate.pem").to_owned();
    Issued { certificate, key: RSA_KEY.to_owned() }
}

/// Writes a file of mode 0600.
pub(crate) fn write_private(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
