//! What an upstream must prove before the real key is sent to it.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::server::read_certificates;
use super::{TlsError, VERSIONS, provider};

/// Which HTTP versions are offered to an upstream (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1 only; WebSockets always.
    Http1,
    /// HTTP/2 only.
    Http2,
    /// HTTP/2, or else HTTP/1.1.
    Both,
}

/// Makes the configuration of connections to an upstream. The certificate is always verified: against the machine's
/// roots, and against the authorities in the PEM file `ca_file` where one is given.
///
/// Reads the roots from the disk: made once per upstream, not per connection.
///
/// # Errors
/// A `ca_file` that cannot be read or holds no certificate, and a machine without any roots when there is no `ca_file`.
pub fn config(ca_file: Option<&Path>, alpn: Alpn) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = trusted_roots(ca_file)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match alpn {
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
        Alpn::Http2 => vec![b"h2".to_vec()],
        Alpn::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

fn trusted_roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    // Machines carry odd certificates; those that cannot be read are not trusted, and that is all.
    let (_, ignored) = roots.add_parsable_certificates(native.certs);
    if ignored > 0 || !native.errors.is_empty() {
        tracing::debug!(ignored, errors = ?native.errors, "some of the machine's root certificates were not read");
    }
    if let Some(path) = ca_file {
        for certificate in read_certificates(path)? {
            roots.add(certificate).map_err(|source| TlsError::BadAuthority { path: path.to_owned(), source })?;
        }
    }
    if roots.is_empty() {
        let problems: Vec<String> = native.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots { problems: problems.join("; ") });
    }
    Ok(roots)
}
