//! Connections: name, TCP, TLS, within one deadline; plain text reaches this machine only, whatever the name resolves to.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::limits::Limits;

/// A byte stream to a server.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What all connections of a client share.
pub(crate) struct Transport {
    /// None where nothing is encrypted, on this machine.
    tls: Option<Arc<ClientConfig>>,
    pub(crate) limits: Limits,
}

impl Transport {
    /// Trusts the machine's authorities, and those in the PEM file where one is given.
    pub(crate) fn new(endpoint: &Endpoint, ca_file: Option<&Path>, limits: Limits) -> Result<Self, Error> {
        let tls = if endpoint.is_secure() { Some(Arc::new(config(ca_file)?)) } else { None };
        Ok(Self { tls, limits })
    }

    /// Connects.
    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, Error> {
        let within = self.limits.connect;
        match tokio::time::timeout(within, self.reach(endpoint)).await {
            Ok(connected) => connected,
            Err(_) => Err(Error::timeout(endpoint, "connection", within)),
        }
    }

    async fn reach(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, Error> {
        let failed = |cause: std::io::Error| Error::connect(endpoint, cause);
        let addresses = lookup_host((endpoint.host(), endpoint.port())).await.map_err(failed)?;
        let mut last = "the name has no address that may be used".to_owned();
        for address in addresses {
            // INVARIANT: without TLS nothing leaves this machine.
            if !endpoint.is_secure() && !address.ip().is_loopback() {
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(failed)?;
                    return self.secure(endpoint, stream).await;
                }
                Err(cause) => last = cause.to_string(),
            }
        }
        Err(Error::connect(endpoint, last))
    }

    async fn secure(&self, endpoint: &Endpoint, stream: TcpStream) -> Result<Box<dyn Stream>, Error> {
        if !endpoint.is_secure() {
            return Ok(Box::new(stream));
        }
        let Some(tls) = &self.tls else {
            return Err(Error::connect(endpoint, "this client was made for plain text"));
        };
        let name = ServerName::try_from(endpoint.host().to_owned()).map_err(|cause| Error::connect(endpoint, cause))?;
        let connected = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        connected.map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(|cause| Error::connect(endpoint, cause))
    }
}

fn config(ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    // Machines carry odd certificates; those that cannot be read are not trusted, and that is all.
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        let untrusted = |cause: String| Error::Trust { cause: format!("`{}`: {cause}", path.display()) };
        let read = CertificateDer::pem_file_iter(path).map_err(|cause| untrusted(cause.to_string()))?;
        let read: Result<Vec<_>, _> = read.collect();
        let certificates = read.map_err(|cause| untrusted(cause.to_string()))?;
        if certificates.is_empty() {
            return Err(untrusted("it holds no certificate".to_owned()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|cause| untrusted(cause.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(Error::Trust {
            cause: "this machine has none: name a file with `ClientBuilder::ca_file`".to_owned(),
        });
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|cause| Error::Trust { cause: cause.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
