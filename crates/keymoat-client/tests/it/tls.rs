//! TLS: whom the client trusts, and that nothing is sent to anybody else.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::sync::Arc;

use keymoat_client::gemini::Modality;
use keymoat_client::{Client, Credential, Endpoint, Error};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Bench, KEY, say, text_setup};

/// An emulator behind TLS, its authority in a file, and its address under a name or number.
async fn secure(names: &[&str]) -> (Bench, TempDir, Endpoint) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();

    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let bench = Bench::with(|options| options.tls = Some(Arc::new(config))).await;
    let endpoint = format!("wss://127.0.0.1:{}", bench.running.address().port()).parse().unwrap();
    (bench, folder, endpoint)
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named() {
    let (bench, folder, endpoint) = secure(&["127.0.0.1"]).await;
    let builder = Client::builder(endpoint, Credential::api_key(KEY)).ca_file(folder.path().join("ca.pem"));
    let client = builder.build().unwrap();
    let mut session = client.live().connect(text_setup().answer_in(Modality::Text)).await.unwrap();
    assert!(say(&mut session, "hi").await.contains("Turn 1"));
    let models: Value = client.get("/v1beta/models").await.unwrap();
    assert!(models["models"].is_array());
    assert!(!bench.requests().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_is_not_trusted_or_is_another_one() {
    let (bench, _folder, endpoint) = secure(&["127.0.0.1"]).await;
    let (_, another_authority, _) = secure(&["127.0.0.1"]).await;
    let builder = Client::builder(endpoint, Credential::api_key(KEY)).ca_file(another_authority.path().join("ca.pem"));
    let client = builder.build().unwrap();
    let refused = client.get::<Value>("/v1beta/models").await;
    assert!(matches!(&refused, Err(Error::Connect { cause, .. }) if cause.contains("certificate")), "{refused:?}");
    assert!(bench.requests().is_empty());

    let (bench, folder, endpoint) = secure(&["another.example"]).await;
    let builder = Client::builder(endpoint, Credential::api_key(KEY)).ca_file(folder.path().join("ca.pem"));
    let refused = builder.build().unwrap().websocket("/demo/ws", &[]).await;
    assert!(matches!(&refused, Err(Error::Connect { .. })), "{refused:?}");
    assert!(bench.requests().is_empty());
}

#[test]
fn a_file_without_an_authority_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.pem");
    std::fs::write(&path, "nothing").unwrap();
    let built = Client::builder("https://h.example".parse().unwrap(), Credential::none()).ca_file(&path).build();
    assert!(matches!(built, Err(Error::Trust { cause }) if cause.contains("no certificate")));
}
