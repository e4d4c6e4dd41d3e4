//! The hash that ties a SCRAM exchange to the server's certificate.
//!
//! `tls-server-end-point` (<https://www.rfc-editor.org/rfc/rfc5929#section-4.1>): the certificate
//! hashed with the hash function of its own signature, where MD5 and SHA-1 stand for SHA-256.
//! Signatures without one hash function, such as Ed25519, have no such binding.

use ring::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use x509_cert::Certificate;
use x509_cert::der::asn1::ContextSpecific;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, SliceReader, TagNumber};
use x509_cert::spki::AlgorithmIdentifierOwned;

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const MD5_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.4");
const SHA1_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.5");
const RSA_PSS: ObjectIdentifier = oid("1.2.840.113549.1.1.10");
const SHA256_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
const SHA384_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.12");
const SHA512_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.13");
const ECDSA_WITH_SHA1: ObjectIdentifier = oid("1.2.840.10045.4.1");
const ECDSA_WITH_SHA256: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = oid("1.2.840.10045.4.3.3");
const ECDSA_WITH_SHA512: ObjectIdentifier = oid("1.2.840.10045.4.3.4");
const SHA1: ObjectIdentifier = oid("1.3.14.3.2.26");
const HASH_SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
const HASH_SHA384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
const HASH_SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");

/// The binding of a certificate in DER; `None` where it has none.
pub(super) fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let hash = hash_of(&parsed.signature_algorithm)?;
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

fn hash_of(signature: &AlgorithmIdentifierOwned) -> Option<&'static Algorithm> {
    match signature.oid {
        MD5_WITH_RSA | SHA1_WITH_RSA | ECDSA_WITH_SHA1 => Some(&SHA256),
        SHA256_WITH_RSA | ECDSA_WITH_SHA256 => Some(&SHA256),
        SHA384_WITH_RSA | ECDSA_WITH_SHA384 => Some(&SHA384),
        SHA512_WITH_RSA | ECDSA_WITH_SHA512 => Some(&SHA512),
        RSA_PSS => match pss_hash(signature)? {
            SHA1 | HASH_SHA256 => Some(&SHA256),
            HASH_SHA384 => Some(&SHA384),
            HASH_SHA512 => Some(&SHA512),
            _ => None,
        },
        _ => None,
    }
}

/// RSA-PSS names its hash in the first parameter, and leaves it out when it is SHA-1.
fn pss_hash(signature: &AlgorithmIdentifierOwned) -> Option<ObjectIdentifier> {
    let Some(parameters) = &signature.parameters else { return Some(SHA1) };
    let mut reader = SliceReader::new(parameters.value()).ok()?;
    let hash: Option<ContextSpecific<AlgorithmIdentifierOwned>> =
        ContextSpecific::decode_explicit(&mut reader, TagNumber::N0).ok()?;
    Some(hash.map_or(SHA1, |hash| hash.value.oid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length_with(algorithm: &'static rcgen::SignatureAlgorithm) -> Option<usize> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        tls_server_end_point(certificate.der()).map(|binding| binding.len())
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        assert_eq!(length_with(&rcgen::PKCS_ECDSA_P256_SHA256), Some(32));
        assert_eq!(length_with(&rcgen::PKCS_ECDSA_P384_SHA384), Some(48));
        assert_eq!(length_with(&rcgen::PKCS_ED25519), None);
        assert_eq!(tls_server_end_point(b"not a certificate"), None);
    }

    #[test]
    fn pss_takes_the_hash_from_its_parameters() {
        let sha384 = [
            0x30, 0x1c, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30,
            0x0f, 0xa0, 0x0d, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04,
            0x02, 0x02,
        ];
        let signature = AlgorithmIdentifierOwned::from_der(&sha384).unwrap();
        assert_eq!(hash_of(&signature), Some(&SHA384));
        let plain = AlgorithmIdentifierOwned { oid: RSA_PSS, parameters: None };
        assert_eq!(hash_of(&plain), Some(&SHA256));
    }
}
