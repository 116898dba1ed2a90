//! What `keymoat serve` tells when it is ready: one JSON object, or lines to read and to try. Never a secret.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use keymoat_core::Secret;
use keymoat_gateway::tls::self_signed::trust_hint;
use serde::Serialize;

use crate::admin::Claim;

/// The ready object; its fields are fixed.
#[derive(Debug, Serialize)]
pub(crate) struct Ready {
    pub(crate) gateway: String,
    pub(crate) gateway_tls: Option<String>,
    ca_file: Option<PathBuf>,
    pub(crate) admin: Option<String>,
    demo_key_file: Option<PathBuf>,
    pid: u32,
}

impl Ready {
    /// `addresses` are those of the plain listener and, when `has_tls`, of the TLS one.
    pub(crate) fn new(
        addresses: &[SocketAddr],
        has_tls: bool,
        ca_file: Option<PathBuf>,
        demo_key_file: Option<PathBuf>,
        admin: Option<String>,
    ) -> Self {
        let gateway = addresses.first().map(|address| url("http", *address)).unwrap_or_default();
        let gateway_tls = addresses.get(1).filter(|_| has_tls).map(|address| url("https", *address));
        Self { gateway, gateway_tls, ca_file, admin, demo_key_file, pid: std::process::id() }
    }

    /// One line.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// Lines for a person. With `emulators` it is the first run; without keys the next step is to make one.
    pub(crate) fn text(&self, emulators: Option<SocketAddr>, has_keys: bool, claim: &Claim) -> Secret {
        let mut text = format!("Keymoat is ready: {}", self.gateway);
        if let Some(gateway_tls) = &self.gateway_tls {
            let _ = write!(text, " and {gateway_tls}");
        }
        text.push('\n');
        match (emulators, &self.demo_key_file) {
            (Some(emulators), Some(key_file)) => self.first_run(&mut text, emulators, key_file),
            _ if !has_keys => {
                text.push_str(
                    "There is no key yet that a client could come with: make one with `keymoat key create NAME`\n",
                );
            }
            _ => {}
        }
        if let Some(ca_file) = &self.ca_file {
            text.push_str("\nTrust its certificate:\n");
            for line in trust_hint(ca_file) {
                let _ = writeln!(text, "  {line}");
            }
        }
        self.administration(&mut text, claim);
        let mut text = text.into_bytes();
        if let Claim::Link(link) = claim {
            // Whoever starts the gateway gets the link, this once.
            text.extend_from_slice(link.expose());
            text.push(b'\n');
        }
        text.extend_from_slice(b"\nCtrl-C ends it.\n");
        Secret::new(text)
    }

    fn administration(&self, text: &mut String, claim: &Claim) {
        let Some(admin) = &self.admin else { return };
        let _ = match claim {
            Claim::Done => write!(text, "\nAdministration: {admin}\n"),
            Claim::Hint => write!(
                text,
                "\nAdministration: {admin}, which nobody has claimed: `keymoat admin claim` prints a link for the first admin\n"
            ),
            Claim::Link(_) => write!(
                text,
                "\nAdministration: make yourself its first admin by this link, good for an hour and one use:\n  "
            ),
        };
    }

    fn first_run(&self, text: &mut String, emulators: SocketAddr, key_file: &Path) {
        let gateway = &self.gateway;
        let key = format!("$(cat {})", quoted(key_file));
        let _ = write!(
            text,
            "There is no configuration, so it runs offline: emulated APIs on http://{emulators} take the place of the real \
             ones,\nand the demo key in {file} may use every route.\n\n\
             Try it in another terminal. A key in a header works:\n  \
             curl -H \"X-API-Key: {key}\" {gateway}/api/events\n\
             Google's SDK (pip install google-genai) works with nothing but its address changed:\n  \
             GEMINI_API_KEY=\"{key}\" GOOGLE_GEMINI_BASE_URL={gateway} python3 -c 'from google import genai; client = genai.Client(); \
             print(client.models.generate_content(model=\"gemini-2.5-flash\", contents=\"hello\").text)'\n\
             So does OpenAI's (pip install openai):\n  \
             OPENAI_API_KEY=\"{key}\" OPENAI_BASE_URL={gateway}/v1 python3 -c 'from openai import OpenAI; \
             print(OpenAI().responses.create(model=\"gpt-5\", input=\"hello\").output_text)'\n\
             A key in a URL is refused, and the answer says what to do:\n  \
             curl \"{gateway}/api/events?api_key={key}\"\n",
            file = key_file.display(),
        );
    }
}

fn url(scheme: &str, address: SocketAddr) -> String {
    // Nobody can connect to "every address"; the own machine is one of them.
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
}

/// A path as one word of a POSIX shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@%".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Ready {
        let addresses = ["127.0.0.1:8787".parse().expect("an address"), "0.0.0.0:8789".parse().expect("an address")];
        let mut ready = Ready::new(
            &addresses,
            true,
            Some("/tmp/ca.pem".into()),
            Some("/tmp/a b/demo.key".into()),
            Some("http://127.0.0.1:8788".into()),
        );
        ready.pid = 7;
        ready
    }

    fn shown(text: &Secret) -> String {
        String::from_utf8_lossy(text.expose()).into_owned()
    }

    #[test]
    fn the_ready_object_has_its_fixed_fields() {
        assert_eq!(
            ready().json().expect("text"),
            "{\"gateway\":\"http://127.0.0.1:8787\",\"gateway_tls\":\"https://127.0.0.1:8789\",\"ca_file\":\"/tmp/ca.pem\",\
             \"admin\":\"http://127.0.0.1:8788\",\"demo_key_file\":\"/tmp/a b/demo.key\",\"pid\":7}\n"
        );
        let address = "127.0.0.1:1".parse().expect("an address");
        let plain = Ready::new(&[address], false, None, None, None);
        assert!(plain.json().expect("text").contains("\"gateway_tls\":null,\"ca_file\":null"));
    }

    #[test]
    fn the_first_run_tells_what_to_paste() {
        let emulators = "127.0.0.1:40000".parse().ok();
        let text = shown(&ready().text(emulators, true, &Claim::Done));
        let until_trust = text.split("\nTrust").next().unwrap_or_default();
        insta::assert_snapshot!(until_trust, @r#"
        Keymoat is ready: http://127.0.0.1:8787 and https://127.0.0.1:8789
        There is no configuration, so it runs offline: emulated APIs on http://127.0.0.1:40000 take the place of the real ones,
        and the demo key in /tmp/a b/demo.key may use every route.

        Try it in another terminal. A key in a header works:
          curl -H "X-API-Key: $(cat '/tmp/a b/demo.key')" http://127.0.0.1:8787/api/events
        Google's SDK (pip install google-genai) works with nothing but its address changed:
          GEMINI_API_KEY="$(cat '/tmp/a b/demo.key')" GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8787 python3 -c 'from google import genai; client = genai.Client(); print(client.models.generate_content(model="gemini-2.5-flash", contents="hello").text)'
        So does OpenAI's (pip install openai):
          OPENAI_API_KEY="$(cat '/tmp/a b/demo.key')" OPENAI_BASE_URL=http://127.0.0.1:8787/v1 python3 -c 'from openai import OpenAI; print(OpenAI().responses.create(model="gpt-5", input="hello").output_text)'
        A key in a URL is refused, and the answer says what to do:
          curl "http://127.0.0.1:8787/api/events?api_key=$(cat '/tmp/a b/demo.key')"
        "#);
        let configured = Ready { demo_key_file: None, ..ready() };
        assert!(shown(&configured.text(None, false, &Claim::Done)).contains("keymoat key create"));
        assert!(!shown(&configured.text(None, true, &Claim::Done)).contains("keymoat key create"));
        let link = Claim::Link(Secret::from("http://127.0.0.1:8788/#claim=x"));
        assert!(shown(&configured.text(None, true, &link)).contains("one use:\n  http://127.0.0.1:8788/#claim=x\n"));
        assert!(shown(&configured.text(None, true, &Claim::Hint)).contains("`keymoat admin claim`"));
    }
}
