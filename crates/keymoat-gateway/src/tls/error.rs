//! What can go wrong while TLS is set up, each with the file it is about.

use std::path::PathBuf;

use keymoat_store::private_file::PrivateFileError;
use rustls_pki_types::pem;

/// Why a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that only its owner may read cannot be made or read.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A PEM file cannot be read.
    #[error("cannot read `{path}` as PEM: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A file that should hold certificates holds none.
    #[error("`{path}` holds no certificate: it must be a PEM file with at least one `BEGIN CERTIFICATE`")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in a file cannot be an authority.
    #[error("`{path}` holds a certificate that cannot be trusted: {source}")]
    BadAuthority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The authorities that clients must come from cannot be used.
    #[error("`{path}` cannot vouch for clients: {source}")]
    ClientAuthorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::server::VerifierBuilderError,
    },
    /// The machine has no trusted roots, and no file was given.
    #[error(
        "this machine has no trusted root certificates: install them (Debian: `apt install ca-certificates`) \
         or set `SSL_CERT_FILE` ({problems})"
    )]
    NoRoots {
        /// What was met while looking for them.
        problems: String,
    },
    /// The own authority of a first start cannot be used any more.
    #[error(
        "the certificate authority in `{ca_file}` has expired or does not belong to `{key_file}`: remove both files, \
         start again, and trust the new `{ca_file}`"
    )]
    AuthorityUnusable {
        /// The authority's certificate.
        ca_file: PathBuf,
        /// The authority's key.
        key_file: PathBuf,
    },
    /// A certificate could not be issued.
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// Certificate and key do not fit each other, or rustls refuses them.
    #[error("the certificate chain or its key cannot be used: {0}")]
    Rejected(#[from] rustls::Error),
}
