//! TLS as the configuration asks for it: certificates of clients, and the note about none at all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::harness::{Emulated, Folder, Keymoat, PATIENCE, request, status, told};

/// An authority, with which certificates of clients are made.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate that is good for this, with its key.
    fn pair(&self, purpose: ExtendedKeyUsagePurpose) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![purpose];
        (params.signed_by(&key, &self.issuer).expect("a certificate").der().clone(), key.into())
    }
}

/// What a client shows of itself.
enum Shown<'a> {
    Nothing,
    Certificate(&'a Authority),
    /// One that is for servers.
    ServersCertificate(&'a Authority),
}

/// The status of the answer to a request with this key, or `None` when the handshake was refused.
fn ask(
    keymoat: &Keymoat,
    ca: &Path,
    key: &str,
    shown: &Shown<'_>,
    version: &'static SupportedProtocolVersion,
) -> Option<u16> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("the authority")).expect("a certificate");
    let builder = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
    let pair = match shown {
        Shown::Nothing => None,
        Shown::Certificate(authority) => Some(authority.pair(ExtendedKeyUsagePurpose::ClientAuth)),
        Shown::ServersCertificate(authority) => Some(authority.pair(ExtendedKeyUsagePurpose::ServerAuth)),
    };
    let config = match pair {
        Some((leaf, key)) => builder.with_client_auth_cert(vec![leaf], key).expect("a pair"),
        None => builder.with_no_client_auth(),
    };
    let name = "localhost".try_into().expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
    let socket = TcpStream::connect(keymoat.address_tls()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut stream = rustls::StreamOwned::new(session, socket);
    let request =
        format!("GET /demo/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-API-Key: {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "an alert, not a silence: {error}");
            None
        }
        _ => Some(status(&String::from_utf8_lossy(&answer))),
    }
}

/// A folder with a route to the emulator, the authority of its clients, and a client's key.
fn folder(emulated: &Emulated, clients: &Authority, tls: &str) -> (Arc<Folder>, String) {
    let folder = Folder::new();
    folder.write("real", &emulated.key());
    folder.write("clients.pem", &clients.pem);
    let text = format!(
        "{tls}[upstream.demo]\nurl = \"{}\"\nsecret = \"${{file:real}}\"\ninject = \"header:X-API-Key\"\n\
         [route.demo]\nupstream = \"demo\"\npaths = [\"/demo/*\"]\n",
        emulated.url()
    );
    folder.write("keymoat.toml", &text);
    let (_, stdout, stderr) = told(&folder.run(&["key", "create", "client"]));
    assert!(stdout.starts_with("km_"), "{stderr}");
    (folder.into(), stdout.trim().to_owned())
}

#[test]
fn a_client_gets_through_with_a_certificate_of_the_authority_and_not_without() {
    let (emulated, clients, strangers) = (Emulated::start(), Authority::new(), Authority::new());
    let (folder, key) = folder(&emulated, &clients, "[tls]\nclient_ca = \"clients.pem\"\n");
    let keymoat = Keymoat::in_folder(folder, &[], &[]);
    let ca = keymoat.folder.path().join(".keymoat/tls/ca.pem");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let ask = |key: &str, shown: Shown<'_>| ask(&keymoat, &ca, key, &shown, version);
        assert_eq!(ask(&key, Shown::Certificate(&clients)), Some(200));
        assert_eq!(ask("nobody's-key", Shown::Certificate(&clients)), Some(401), "a certificate is no credential");
        assert_eq!(ask(&key, Shown::Nothing), None);
        assert_eq!(ask(&key, Shown::Certificate(&strangers)), None);
        assert_eq!(ask(&key, Shown::ServersCertificate(&clients)), None);
    }
    // Another authority is taken over while the gateway runs.
    keymoat.folder.write("clients.pem", &strangers.pem);
    let deadline = Instant::now() + PATIENCE;
    let ask = |shown: Shown<'_>| ask(&keymoat, &ca, &key, &shown, &rustls::version::TLS13);
    while ask(Shown::Certificate(&strangers)) != Some(200) {
        assert!(Instant::now() < deadline, "the other authority is not taken over:\n{}", keymoat.output());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(ask(Shown::Certificate(&clients)), None);
    assert!(!keymoat.output().contains(&key));
}

#[test]
fn the_backends_variables_ask_clients_for_certificates_too() {
    let (emulated, clients, strangers) = (Emulated::start(), Authority::new(), Authority::new());
    for (verify, without) in [("true", None), ("false", Some(200))] {
        let (folder, key) = folder(&emulated, &clients, "");
        let authorities = folder.path().join("clients.pem");
        let variables = [
            ("TLS_MODE", "self_signed"),
            ("TLS_CA_PATH", authorities.to_str().expect("a path")),
            ("TLS_VERIFY_CLIENT", verify),
        ];
        let keymoat = Keymoat::in_folder(folder, &[], &variables);
        let ca = keymoat.folder.path().join(".keymoat/tls/ca.pem");
        let ask = |shown: Shown<'_>| ask(&keymoat, &ca, &key, &shown, &rustls::version::TLS13);
        assert_eq!(ask(Shown::Certificate(&clients)), Some(200));
        assert_eq!((ask(Shown::Nothing), ask(Shown::Certificate(&strangers))), (without, without), "{verify}");
    }
}

#[test]
fn disabled_tls_is_noted_at_the_start_with_what_to_use() {
    let (emulated, clients) = (Emulated::start(), Authority::new());
    for (text, variables, place) in [
        ("", [("TLS_MODE", "disabled")].as_slice(), "environment variable TLS_MODE: "),
        ("[tls]\nmode = \"disabled\"\n", &[], "keymoat.toml:2:8: "),
    ] {
        let (folder, key) = folder(&emulated, &clients, text);
        let keymoat = Keymoat::in_folder(folder, &[], variables);
        let note = keymoat.wait_for_line("keys travel in clear text");
        for said in ["WARN", place, "self_signed", "provided", "behind_proxy"] {
            assert!(note.contains(said), "{said} is not in {note}");
        }
        assert!(keymoat.ready["gateway_tls"].is_null());
        let headers = [("X-API-Key", key.as_str())];
        assert_eq!(status(&request(keymoat.address(), "GET", "/demo/echo", &headers)), 200);
    }
    let (folder, _) = folder(&emulated, &clients, "");
    let keymoat = Keymoat::in_folder(folder, &[], &[]);
    keymoat.wait_for_line("serving");
    assert!(!keymoat.output().contains("clear text"), "there is nothing to note with TLS");
}
