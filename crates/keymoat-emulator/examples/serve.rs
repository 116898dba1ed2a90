//! Serves an emulator over TLS and in plain text until it is ended, to try a provider's own SDK against it.
//!
//! ```sh
//! cargo run -p keymoat-emulator --example serve -- 18443 18080 /tmp/emulator.pem strict
//! SSL_CERT_FILE=/tmp/emulator.pem python3 my_live_app.py   # base URL https://localhost:18443
//! ```
//! The key is `AIza-emulated`; the certificate for `localhost` is made anew and written to the path.
#![expect(clippy::print_stdout, reason = "an example says where it listens")]

use std::env;
use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use keymoat_core::Secret;
use keymoat_emulator::{Credentials, Options, start};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [tls_port, plain_port, certificate, mode] = arguments.as_slice() else {
        return Err("expected: TLS port, plain port, path of the certificate, strict or provider".into());
    };
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    fs::write(certificate, certified.cert.pem())?;
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())?;
    let chain = vec![certified.cert.der().clone()];
    let mut tls = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

    let credentials = if mode == "provider" { Credentials::Provider } else { Credentials::Strict };
    let mut emulators = Vec::new();
    for (port, tls) in [(tls_port, Some(Arc::new(tls))), (plain_port, None)] {
        let mut options = Options::new(Secret::from("AIza-emulated"));
        options.address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
        options.tls = tls;
        options.credentials = credentials;
        options.record_endpoint = true;
        options.gemini.speed = 10;
        if options.tls.is_some() {
            options.gemini.upload_origin = Some(format!("https://localhost:{port}"));
        }
        let running = start(options).await?;
        println!("listening on {}", running.address());
        emulators.push(running);
    }
    std::future::pending().await
}
