//! Whom we trust, and who we say we are, on an encrypted connection.
//!
//! One [`rustls::ClientConfig`] for each host that needs its own, made when first used: reading the system's certificate
//! authorities costs milliseconds that a command without the network must not pay.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::{Config, HostRule};
use crate::error::{Error, Result};

/// Where distributions keep their bundle of certificate authorities.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The largest PEM file that is read.
const PEM_LIMIT: u64 = 16 << 20;

/// The configuration for a host that `rule` is for.
///
/// # Errors
/// [`Error::Config`] for files that cannot be read or hold nothing usable.
pub(crate) fn config(config: &Config, rule: &HostRule) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config { what: "TLS versions".into(), source: Some(error.into()) })?;
    let builder = if rule.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    } else {
        builder.with_root_certificates(roots(config, rule)?)
    };
    let mut tls = match (&rule.client_cert, &rule.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key_der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, error))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| unusable(cert, error))?
        }
        _ => return Err(Error::Config { what: "client_cert and client_key belong together".into(), source: None }),
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// A configuration that trusts nobody, for connections that are never encrypted.
pub(crate) fn none() -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config { what: "TLS versions".into(), source: Some(error.into()) })?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn roots(config: &Config, rule: &HostRule) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let system = match &config.ca_bundle {
        Some(bundle) => Some(bundle.clone()),
        None => BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()),
    };
    if let Some(bundle) = system {
        // A system's bundle may hold certificates that rustls does not take; the others still count.
        roots.add_parsable_certificates(certificates(&bundle)?);
    }
    for file in config.ca_files.iter().chain(&rule.ca_files) {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| unusable(file, error))?;
        }
    }
    if roots.is_empty() {
        let what = format!("no certificate authorities: none in ca_files, and none of {} exists", BUNDLES.join(", "));
        return Err(Error::Config { what, source: None });
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(Error::Config { what: format!("{} holds no certificate", path.display()), source: None });
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let result = File::open(path).and_then(|file| file.take(PEM_LIMIT + 1).read_to_end(&mut bytes));
    result.map_err(|error| unusable(path, error))?;
    if bytes.len() as u64 > PEM_LIMIT {
        return Err(Error::TooLarge { what: path.display().to_string(), limit: PEM_LIMIT });
    }
    Ok(bytes)
}

fn unusable(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Config { what: format!("cannot use {}", path.display()), source: Some(error.into()) }
}

/// Takes every certificate, for hosts that the user has called insecure; the handshake's signatures still must fit.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_empty_files_are_errors() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        for path in [PathBuf::from("/nonexistent.pem"), empty.path().to_owned()] {
            let rule = HostRule { ca_files: vec![path.clone()], ..HostRule::default() };
            let error = config(&Config::default(), &rule).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        let half = HostRule { client_cert: Some("/x".into()), insecure: true, ..HostRule::default() };
        assert!(config(&Config::default(), &half).is_err());
    }
}
