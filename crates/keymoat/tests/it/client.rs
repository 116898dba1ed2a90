//! The Rust client through the real binary, over TLS: everything works, and its credential is nowhere but in a header.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::prelude::*;
use keymoat_client::gemini::{Event, Modality, MusicEvent, NewToken, Session, Setup, WeightedPrompt};
use keymoat_client::{Client, Credential, Endpoint, Error, Meaning, Message, Subprotocol};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Keymoat;

/// A first run, and clients of its TLS listener.
struct Stand {
    keymoat: Keymoat,
    key: String,
}

impl Stand {
    fn start() -> Self {
        let keymoat = Keymoat::first_run();
        let key = keymoat.demo_key();
        Self { keymoat, key }
    }

    fn client(&self, credential: Credential) -> Client {
        let endpoint: Endpoint = format!("https://{}", self.keymoat.address_tls()).parse().unwrap();
        let ca_file = self.keymoat.ready["ca_file"].as_str().expect("it makes its own");
        Client::builder(endpoint, credential).ca_file(ca_file).build().unwrap()
    }

    fn with_key(&self) -> Client {
        self.client(Credential::keymoat(self.key.as_str()))
    }

    /// Ends the gateway, while the client goes on closing its connections.
    async fn end(self, secrets: Vec<String>, shown: String) {
        tokio::task::spawn_blocking(move || self.search(&secrets, &shown)).await.unwrap();
    }

    /// Neither the gateway's output nor a file of its nor what the client showed may hold one of the secrets.
    fn search(mut self, secrets: &[String], shown: &str) {
        self.keymoat.signal(Signal::TERM);
        assert!(self.keymoat.wait().success());
        let output = self.keymoat.output();
        assert!(output.contains("\"outcome\""), "it kept records: {output}");
        let key_file = Path::new(self.keymoat.ready["demo_key_file"].as_str().unwrap());
        for secret in secrets {
            for form in [secret.clone(), BASE64_URL_SAFE_NO_PAD.encode(secret)] {
                let form = form.get(..20).unwrap();
                assert!(!output.contains(form), "a credential is in the gateway's output");
                assert!(!shown.contains(form), "a credential is shown by the client");
                assert!(!is_in_a_file(self.keymoat.folder.path(), form.as_bytes(), key_file));
            }
        }
    }
}

/// Whether a file below the folder, other than the one that is there for it, holds the text.
fn is_in_a_file(folder: &Path, text: &[u8], but: &Path) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return is_in_a_file(&path, text, but);
        }
        path.file_name() != but.file_name() && fs::read(&path).unwrap().windows(text.len()).any(|found| found == text)
    })
}

fn text_setup() -> Setup {
    Setup::new("gemini-2.5-flash").answer_in(Modality::Text)
}

async fn say(session: &mut Session, what: &str) -> String {
    session.send_text(what).await.unwrap();
    let mut said = String::new();
    loop {
        match session.receive().await.unwrap() {
            Event::Text(text) => said.push_str(&text),
            Event::TurnComplete => return said,
            _ => {}
        }
    }
}

#[tokio::test]
async fn everything_works_through_the_gateway_and_the_key_stays_in_its_header() {
    let stand = Stand::start();
    let client = stand.with_key();
    let mut session = client.live().connect(text_setup()).await.unwrap();
    assert!(say(&mut session, "hello gateway").await.contains("hello gateway"));
    let mut shown = format!("{client:?} {session:?}");
    session.close().await;

    let mut music = client.live().music().connect("lyria-realtime-exp").await.unwrap();
    music.set_prompts(&[WeightedPrompt::new("harp")]).await.unwrap();
    music.play().await.unwrap();
    assert!(matches!(music.receive().await.unwrap(), MusicEvent::Audio(audio) if audio.rate() == Some(48_000)));
    shown.push_str(&format!("{music:?}"));
    music.close().await;

    let listed: Vec<Value> = client.get("/api/events?limit=2").await.unwrap();
    assert_eq!(listed.len(), 2);
    let echoed: Value = client.post("/demo/echo", &json!({"a": 1})).await.unwrap();
    assert_eq!(echoed["body"], r#"{"a":1}"#);
    let mut events = client.events("/demo/sse?count=2").unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().data, r#"{"n":1}"#);
    drop(events);
    for client in [client, stand.client(Credential::keymoat(stand.key.as_str()).in_subprotocol(Subprotocol::Keymoat))] {
        let mut socket = client.websocket("/ws/events", &[]).await.unwrap();
        assert!(matches!(socket.receive().await.unwrap(), Message::Text(text) if text.contains("system_status")));
        shown.push_str(&format!("{client:?} {socket:?} {:?}", socket.protocol()));
        socket.close().await;
    }
    let key = stand.key.clone();
    stand.end(vec![key], shown).await;
}

#[tokio::test]
async fn a_token_is_minted_with_the_key_and_resumes_without_it() {
    let stand = Stand::start();
    let order = NewToken::new().uses(1).expires(SystemTime::now() + Duration::from_secs(600));
    let token = stand.with_key().auth_tokens().create(order.lock_only(&text_setup())).await.unwrap();
    let text = String::from_utf8(token.secret().expose().to_vec()).unwrap();
    assert!(text.starts_with("auth_tokens/kmt_"));
    let client = stand.client(token.into_credential());
    let mut session = client.live().connect(text_setup().resumable()).await.unwrap();
    say(&mut session, "remember the heron").await;
    while session.handle().is_none() {
        session.receive().await.unwrap();
    }
    let handle = session.handle().unwrap().clone();
    let mut shown = format!("{client:?} {session:?} {handle:?}");
    session.close().await;

    // The one use is gone; going on costs none.
    let mut session = client.live().connect(text_setup().resuming(&handle)).await.unwrap();
    assert!(say(&mut session, "again").await.contains("remember the heron"));
    let Err(Error::Closed(close)) = client.live().connect(text_setup()).await else { panic!("not refused") };
    assert!(close.meaning() == Meaning::TokenEnded && close.reason.starts_with("token_used_up"), "{close}");
    shown.push_str(&format!("{close:?} {close}"));
    let (key, token) = (stand.key.clone(), text.trim_start_matches("auth_tokens/").to_owned());
    session.close().await;
    stand.end(vec![key, token], shown).await;
}

#[tokio::test]
async fn refusals_say_what_to_do_and_show_no_credential() {
    let stand = Stand::start();
    // Well formed, and nobody's.
    let wrong = "km_TestVector0TestVector0TestVector0TestVector02cu8n";
    let client = stand.client(Credential::keymoat(wrong));
    let Err(Error::Refused(refused)) = client.get::<Value>("/api/events").await else { panic!("not refused") };
    assert_eq!((refused.status, refused.code.as_deref()), (401, Some("credential_invalid")));
    let Err(Error::Closed(live)) = client.live().connect(text_setup()).await else { panic!("not refused") };
    assert!(live.code == 1007 && live.meaning() == Meaning::Unauthorized, "{live}");
    let mut socket = client.websocket("/ws/events", &[]).await.unwrap();
    let Err(Error::Closed(plain)) = socket.receive().await else { panic!("not refused") };
    assert_eq!((plain.code, plain.meaning()), (4001, Meaning::Unauthorized));
    let stream = client.events("/demo/sse").unwrap().next().await.unwrap_err();
    assert!(!stream.may_pass());
    let in_url = client.get::<Value>(&format!("/api/events?api_key={wrong}")).await.unwrap_err();
    let minted = client.auth_tokens().create(NewToken::new()).await.unwrap_err();
    let mut shown =
        format!("{refused:?} {refused} {live:?} {plain:?} {stream:?} {stream} {in_url:?} {in_url} {minted:?} {minted}");
    // One request that is allowed, so that there is a record of each kind.
    let _: Value = stand.with_key().get("/api/events?limit=1").await.unwrap();
    shown.push_str(&format!("{client:?} {socket:?}"));
    let key = stand.key.clone();
    stand.end(vec![key, wrong.to_owned()], shown).await;
}
