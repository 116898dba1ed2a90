//! What a TLS listener presents to clients.

use std::path::Path;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{TlsError, VERSIONS, provider};

/// Makes a listener's configuration: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1, and stateless session tickets.
///
/// # Errors
/// [`TlsError::Rejected`] when the key does not belong to the first certificate of the chain.
pub fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

/// Makes a listener's configuration from PEM files: the chain, the listener's own certificate first, and its key.
///
/// # Errors
/// A file that cannot be read or holds nothing, and a key that does not belong to the certificate.
pub fn from_files(chain_file: &Path, key_file: &Path) -> Result<ServerConfig, TlsError> {
    let chain = read_certificates(chain_file)?;
    let key =
        PrivateKeyDer::from_pem_file(key_file).map_err(|source| TlsError::Pem { path: key_file.to_owned(), source })?;
    config(chain, key)
}

/// Reads all certificates of a PEM file; a file without any is an error.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { path: path.to_owned(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}
