//! What is printed of a connection. All of it goes through the mask of the credential.

use std::borrow::Cow;

use base64::prelude::*;
use http::Response;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use keymoat_core::Mask;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::super::{print, remark};
use super::connect::Refused;
use crate::explain::explain;

/// How much of a refusal's body is shown.
const BODY_BYTES_MAX: usize = 1 << 10;

/// Prints for a person or a program.
pub(super) struct Voice {
    json: bool,
    mask: Mask,
}

/// How the other side ended it.
pub(super) struct Told {
    code: u16,
    reason: String,
}

impl Told {
    pub(super) fn new(code: u16, reason: &str) -> Self {
        Self { code, reason: reason.to_owned() }
    }

    /// A close without a code (RFC 6455 section 7.1.5).
    pub(super) fn no_code() -> Self {
        Self::new(1005, "")
    }

    /// No close at all.
    pub(super) fn broken() -> Self {
        Self::new(1006, "the connection broke off")
    }

    const fn is_well(&self) -> bool {
        matches!(self.code, 1000 | 1001 | 1005)
    }
}

impl Voice {
    pub(super) fn new(json: bool, mask: Mask) -> Self {
        Self { json, mask }
    }

    /// The server's 101.
    pub(super) fn opened(&self, response: &Response<()>) -> anyhow::Result<()> {
        let selected = response.headers().get(SEC_WEBSOCKET_PROTOCOL).map(|value| self.masked(value.as_bytes()));
        if self.json {
            return line(&json!({"event": "open", "status": response.status().as_u16(), "subprotocol": selected}));
        }
        let selected = selected.map_or_else(
            || "no subprotocol was selected".to_owned(),
            |selected| format!("selected subprotocol: {}", harmless(&selected)),
        );
        remark(&format!("open: {}, {selected}", response.status().as_u16()));
        Ok(())
    }

    /// An opening that was refused.
    pub(super) fn refused(&self, refused: &Refused) -> anyhow::Result<()> {
        let (status, body) = match refused {
            Refused::Status(status, body) => (Some(*status), self.masked(body)),
            Refused::Redirect(status) => (Some(*status), String::new()),
            Refused::Subprotocol => (None, String::new()),
        };
        // Masked first: a cut could leave the beginning of the credential.
        let body: String = body.chars().take(BODY_BYTES_MAX).collect();
        if self.json {
            let summary = refused.summary();
            return line(&json!({"event": "refused", "status": status, "detail": summary, "body": body}));
        }
        if !body.is_empty() {
            remark(&harmless(&body));
        }
        hints(&body);
        Ok(())
    }

    /// A message.
    pub(super) fn message(&self, message: &Message) -> anyhow::Result<()> {
        match message {
            Message::Text(text) => self.text("text", self.masked(text.as_bytes())),
            Message::Binary(bytes) => match std::str::from_utf8(bytes) {
                Ok(_) => self.text("binary", self.masked(bytes)),
                Err(_) if self.json => {
                    let bytes = self.mask.masked(bytes).map_or(Cow::Borrowed(&**bytes), Cow::Owned);
                    line(&json!({"event": "message", "type": "binary", "base64": BASE64_STANDARD.encode(&*bytes)}))
                }
                Err(_) => print(&format!("({} bytes, no text)\n", bytes.len())),
            },
            _ => Ok(()),
        }
    }

    fn text(&self, kind: &str, text: String) -> anyhow::Result<()> {
        match self.json {
            true => line(&json!({"event": "message", "type": kind, "data": text})),
            false => print(&format!("{}\n", harmless(&text))),
        }
    }

    /// The end, by the other side. Gives what makes it a failure.
    pub(super) fn closed(&self, told: &Told) -> anyhow::Result<Option<String>> {
        let reason = self.masked(told.reason.as_bytes());
        if self.json {
            line(&json!({"event": "close", "code": told.code, "reason": reason}))?;
        } else {
            remark(format!("close: {} {}", told.code, harmless(&reason)).trim_end());
            if !told.is_well() {
                hints(&format!("close code {}: {reason}", told.code));
            }
        }
        Ok((!told.is_well()).then(|| format!("closed with {}", told.code)))
    }

    /// The end, by us.
    pub(super) fn left(&self) -> anyhow::Result<()> {
        match self.json {
            true => line(&json!({"event": "close", "code": null, "reason": "closed here"})),
            false => {
                remark("close: closed here");
                Ok(())
            }
        }
    }

    fn masked(&self, text: &[u8]) -> String {
        let masked = self.mask.masked(text);
        String::from_utf8_lossy(masked.as_deref().unwrap_or(text)).into_owned()
    }
}

/// What is known about a refusal.
fn hints(text: &str) {
    let explained = explain(text);
    for mistake in explained.mistakes.keys() {
        remark(&format!("hint: {}", mistake.text()));
    }
    for (code, _) in &explained.refusals {
        let (_, remedy) = keymoat_core::refusal::text(*code);
        remark(&format!("hint: {}", remedy.replace('\n', " ")));
    }
}

fn line(value: &Value) -> anyhow::Result<()> {
    print(&format!("{value}\n"))
}

/// Without the characters that a terminal would obey.
fn harmless(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '\n' | '\t' => vec![c],
            c if c.is_control() => c.escape_default().collect(),
            c => vec![c],
        })
        .collect()
}
