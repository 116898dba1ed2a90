//! TLS on both sides: what listeners present, what upstreams must prove, and the certificate of a first start.
//!
//! Versions 1.2 and 1.3 only, aws-lc-rs for everything, and no way to turn verification off.

pub mod client;
mod error;
pub mod self_signed;
pub mod server;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use error::TlsError;

/// The versions that both sides speak.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The one crypto provider, named at every use, so that no process-wide default matters.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// When the first certificate of a PEM file ends, in seconds since 1970, if it holds one.
#[must_use]
pub fn ends_at_secs(file: &std::path::Path) -> Option<i64> {
    use rustls_pki_types::pem::PemObject as _;
    use x509_parser::prelude::{FromDer, X509Certificate};
    let certificate = rustls_pki_types::CertificateDer::from_pem_file(file).ok()?;
    let (_, read) = X509Certificate::from_der(&certificate).ok()?;
    Some(read.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::io::{self, Cursor};
    use std::path::Path;
    use std::time::{SystemTime, UNIX_EPOCH};

    use keymoat_core::UnixMillis;
    use rustls::{CertificateError, ClientConfig, ProtocolVersion, ServerConfig, ServerConnection};
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::client::Alpn;
    use super::self_signed::SelfSigned;
    use super::server::{Demands, MinVersion};
    use super::*;

    const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

    /// The real time, because a handshake reads the real clock.
    fn now() -> UnixMillis {
        UnixMillis(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
    }

    fn prepared_at(now: UnixMillis) -> (TempDir, SelfSigned) {
        let dir = tempfile::tempdir().unwrap();
        let prepared = self_signed::prepare(dir.path(), now).unwrap();
        (dir, prepared)
    }

    /// Shakes hands, sends a word each way, and gives what was agreed on: version and ALPN protocol.
    async fn talk(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        name: &'static str,
    ) -> io::Result<(ProtocolVersion, Option<Vec<u8>>)> {
        let (near, far) = duplex(16 << 10);
        let accept = TlsAcceptor::from(Arc::clone(server));
        let serving = tokio::spawn(async move {
            let mut stream = accept.accept(far).await?;
            let mut word = [0; 4];
            stream.read_exact(&mut word).await?;
            stream.write_all(&word).await?;
            stream.shutdown().await
        });
        let connect = TlsConnector::from(Arc::clone(client));
        let mut stream = connect.connect(ServerName::try_from(name).unwrap(), near).await?;
        stream.write_all(b"ping").await?;
        let mut echoed = Vec::new();
        stream.read_to_end(&mut echoed).await?;
        assert_eq!(echoed, b"ping");
        serving.await.unwrap()?;
        let (_, session) = stream.get_ref();
        Ok((session.protocol_version().unwrap(), session.alpn_protocol().map(<[u8]>::to_vec)))
    }

    fn trusting(ca_file: &Path) -> Arc<ClientConfig> {
        client::config(Some(ca_file), Alpn::Both).unwrap()
    }

    /// Why the client turned the certificate down.
    fn certificate_error(error: &io::Error) -> CertificateError {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(why)) => why.clone(),
            _ => panic!("not about the certificate: {error}"),
        }
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_authority_reaches_every_name_of_the_machine() {
        let (_dir, server) = prepared_at(now());
        for name in ["localhost", "127.0.0.1", "::1"] {
            assert!(server.names.iter().any(|known| known == name));
        }
        for name in server.names.clone() {
            let (version, _) = talk(&server.config, &trusting(&server.ca_file), name.leak()).await.unwrap();
            assert_eq!(version, ProtocolVersion::TLSv1_3);
        }
    }

    #[tokio::test]
    async fn http_2_is_preferred_and_http_1_is_there() {
        let (_dir, server) = prepared_at(now());
        for (alpn, selected) in [(Alpn::Both, "h2"), (Alpn::Http1, "http/1.1"), (Alpn::Http2, "h2")] {
            let client = client::config(Some(&server.ca_file), alpn).unwrap();
            let (_, protocol) = talk(&server.config, &client, "localhost").await.unwrap();
            assert_eq!(protocol.unwrap(), selected.as_bytes());
        }
    }

    #[tokio::test]
    async fn tls_1_2_is_spoken_with_a_client_that_has_nothing_newer() {
        let (_dir, server) = prepared_at(now());
        let mut roots = rustls::RootCertStore::empty();
        for certificate in server::read_certificates(&server.ca_file).unwrap() {
            roots.add(certificate).unwrap();
        }
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (version, _) = talk(&server.config, &Arc::new(client), "localhost").await.unwrap();
        assert_eq!(version, ProtocolVersion::TLSv1_2);
    }

    #[tokio::test]
    async fn a_wrong_name_is_refused() {
        let (_dir, server) = prepared_at(now());
        for name in ["keymoat.example", "192.0.2.1"] {
            let refused = talk(&server.config, &trusting(&server.ca_file), name).await.unwrap_err();
            let why = certificate_error(&refused);
            assert!(matches!(why, CertificateError::NotValidForNameContext { .. }), "{why:?}");
        }
    }

    #[tokio::test]
    async fn an_unknown_authority_is_refused() {
        let (_dir, server) = prepared_at(now());
        let (_other_dir, other) = prepared_at(now());
        let refused = talk(&server.config, &trusting(&other.ca_file), "localhost").await.unwrap_err();
        let why = certificate_error(&refused);
        // Both authorities have names of their own, so the chain ends at one that is not known.
        assert_eq!(why, CertificateError::UnknownIssuer);
    }

    #[tokio::test]
    async fn an_expired_certificate_is_refused() {
        let (_dir, server) = prepared_at(now().plus_millis(-400 * DAY_MILLIS));
        let refused = talk(&server.config, &trusting(&server.ca_file), "localhost").await.unwrap_err();
        let why = certificate_error(&refused);
        assert!(matches!(why, CertificateError::Expired | CertificateError::ExpiredContext { .. }), "{why:?}");
    }

    #[test]
    fn tickets_are_on_and_early_data_is_off() {
        let (_dir, server) = prepared_at(now());
        assert!(server.config.ticketer.enabled());
        assert_eq!(server.config.max_early_data_size, 0);
    }

    /// The first bytes that the listener answers to a client whose newest version is `3.minor`.
    fn answer_to_version(server: &SelfSigned, minor: u8) -> Vec<u8> {
        let mut connection = ServerConnection::new(Arc::clone(&server.config)).unwrap();
        // RFC 5246 section 7.4.1.2: version, 32 random bytes, no session, one suite, no compression.
        let mut body = vec![3, minor];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
        // Extensions: ecdsa_secp256r1_sha256 for signatures, secp256r1 as group.
        body.extend([0, 16, 0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23]);
        let mut hello = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
        hello.extend(body);
        let mut record = vec![22, 3, 1, 0, u8::try_from(hello.len()).unwrap()];
        record.extend(hello);
        connection.read_tls(&mut Cursor::new(record)).unwrap();
        let accepted = connection.process_new_packets().is_ok();
        let mut answer = Vec::new();
        connection.write_tls(&mut answer).unwrap();
        assert_eq!(accepted, answer.first() == Some(&22));
        answer
    }

    #[test]
    fn g85_a_client_that_speaks_nothing_newer_than_tls_1_1_is_told_that_its_version_is_refused() {
        let (_dir, server) = prepared_at(now());
        // A fatal alert `protocol_version` (RFC 8446 section 6.2).
        for minor in [0, 1, 2] {
            let answer = answer_to_version(&server, minor);
            assert_eq!((answer.first(), answer.get(5..)), (Some(&21), Some(&[2, 70][..])), "3.{minor}");
        }
        // The same hello with version 1.2 gets a server hello, so the version was what was wrong.
        assert_eq!(answer_to_version(&server, 3).first(), Some(&22));
    }

    #[test]
    fn upstreams_are_offered_tls_1_3_and_1_2_and_nothing_older() {
        let (_dir, server) = prepared_at(now());
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = rustls::ClientConnection::new(trusting(&server.ca_file), name).unwrap();
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        // Extension `supported_versions` (43) with a list of two versions (RFC 8446 section 4.2.1).
        let versions = [0, 43, 0, 5, 4, 3, 4, 3, 3];
        assert!(hello.windows(versions.len()).any(|window| window == versions));
    }

    #[tokio::test]
    async fn a_listener_that_demands_tls_1_3_speaks_nothing_older() {
        let dir = tempfile::tempdir().unwrap();
        let demands = Demands { min_version: MinVersion::Tls13, client_ca: None };
        let server = self_signed::prepare_demanding(dir.path(), &demands, now()).unwrap();
        let trusting = client::config(Some(&server.ca_file), Alpn::Http1).unwrap();
        let (version, _) = talk(&server.config, &trusting, "localhost").await.unwrap();
        assert_eq!(version, ProtocolVersion::TLSv1_3);
        assert_eq!(answer_to_version(&server, 3).get(5..), Some(&[2, 70][..]), "an alert `protocol_version`");
    }

    #[tokio::test]
    async fn a_listener_that_demands_certificates_lets_in_nobody_without_one_of_its_authority() {
        let dir = tempfile::tempdir().unwrap();
        let clients = tempfile::tempdir().unwrap();
        let known = client_pair(clients.path(), "clients");
        let demands = Demands { client_ca: Some(clients.path().join("clients.pem")), ..Demands::default() };
        let server = self_signed::prepare_demanding(dir.path(), &demands, now()).unwrap();
        let presenting = |pair: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(&server.ca_file).unwrap()).unwrap();
            let builder = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(VERSIONS)
                .unwrap()
                .with_root_certificates(roots);
            Arc::new(match pair {
                Some((leaf, key)) => builder.with_client_auth_cert(vec![leaf], key).unwrap(),
                None => builder.with_no_client_auth(),
            })
        };
        assert!(talk(&server.config, &presenting(Some(known)), "localhost").await.is_ok());
        let strangers = tempfile::tempdir().unwrap();
        let unknown = client_pair(strangers.path(), "strangers");
        assert!(talk(&server.config, &presenting(Some(unknown)), "localhost").await.is_err());
        assert!(talk(&server.config, &presenting(None), "localhost").await.is_err());
    }

    /// Makes an authority in `NAME.pem` and a certificate of it for a client.
    fn client_pair(dir: &Path, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(dir.join(format!("{name}.pem")), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::default();
        leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        (leaf.signed_by(&key, &issuer).unwrap().der().clone(), key.into())
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty.pem");
        std::fs::write(&path, "no certificate here\n").unwrap();
        let refused = client::config(Some(&path), Alpn::Both).unwrap_err();
        assert!(matches!(refused, TlsError::NoCertificate { .. }));
        assert!(refused.to_string().contains("empty.pem"));
        let missing = client::config(Some(&dir.path().join("missing.pem")), Alpn::Both).unwrap_err();
        assert!(missing.to_string().contains("missing.pem"));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (dir, _) = prepared_at(now());
        let (other_dir, _) = prepared_at(now());
        let (chain, other_key) = (dir.path().join("server.pem"), other_dir.path().join("server.pem"));
        assert!(server::from_files(&chain, &chain, &Demands::default()).is_ok());
        assert!(matches!(server::from_files(&chain, &other_key, &Demands::default()), Err(TlsError::Rejected(_))));
    }
}
