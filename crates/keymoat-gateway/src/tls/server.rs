//! What a TLS listener presents to clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keymoat_core::UnixMillis;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{TlsError, VERSIONS, provider};

/// What a listener asks of its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// Clients must present a certificate of one of the authorities in this PEM file.
    pub client_ca: Option<PathBuf>,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// Makes a listener's configuration: HTTP/2 before HTTP/1.1, and stateless session tickets.
///
/// # Errors
/// [`TlsError::Rejected`] when the key does not belong to the first certificate of the chain, and authorities of
/// clients that cannot be read.
pub fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    demands: &Demands,
) -> Result<ServerConfig, TlsError> {
    let versions = match demands.min_version {
        MinVersion::Tls12 => VERSIONS,
        MinVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let builder = match &demands.client_ca {
        Some(client_ca) => builder.with_client_cert_verifier(client_verifier(client_ca)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

/// Makes a listener's configuration from PEM files: the chain, the listener's own certificate first, and its key.
///
/// # Errors
/// A file that cannot be read or holds nothing, and a key that does not belong to the certificate.
pub fn from_files(chain_file: &Path, key_file: &Path, demands: &Demands) -> Result<ServerConfig, TlsError> {
    let chain = read_certificates(chain_file)?;
    let key =
        PrivateKeyDer::from_pem_file(key_file).map_err(|source| TlsError::Pem { path: key_file.to_owned(), source })?;
    config(chain, key, demands)
}

/// Reads what `demands` names, without a listener.
///
/// # Errors
/// Authorities of clients that cannot be read or used.
pub fn check(demands: &Demands) -> Result<(), TlsError> {
    demands.client_ca.as_deref().map_or(Ok(()), |path| client_verifier(path).map(drop))
}

/// Lets in whoever presents a certificate of the authorities in a PEM file, and nobody else.
fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::BadAuthority { path: path.to_owned(), source })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|source| TlsError::ClientAuthorities { path: path.to_owned(), source })
}

/// Reads all certificates of a PEM file; a file without any is an error.
/// When the first certificate in this file expires; nothing where there is none that can be read.
#[must_use]
pub fn expires_at(cert: &Path) -> Option<UnixMillis> {
    let certificates = read_certificates(cert).ok()?;
    let (_, certificate) = X509Certificate::from_der(certificates.first()?).ok()?;
    Some(UnixMillis(certificate.validity().not_after.timestamp().saturating_mul(1000)))
}

pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { path: path.to_owned(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}
