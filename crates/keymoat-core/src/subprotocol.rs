//! `Sec-WebSocket-Protocol`: what the client offered, which of it is a credential, and what may be selected.
//!
//! A credential comes as one entry, next to at least one that is none, because a browser fails when nothing is
//! selected and a selection is a response header. Keymoat's marker for that is `keymoat.v1`.

use std::fmt;

use base64::prelude::*;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue};

use crate::credential::is_absent;
use crate::disguise;
use crate::format;
use crate::offered;
use crate::refusal::{Code, Refusal};
use crate::route::LoneSubprotocol;
use crate::secret::Secret;

/// The entry that says nothing but "I speak to Keymoat": it is what a browser should offer beside its credential.
pub const MARKER: &str = "keymoat.v1";

const ENTRY_BYTES_MAX: usize = 4 << 10;
const HEADER_BYTES_MAX: usize = 8 << 10;
/// So many entries are told of.
const TOLD_MAX: usize = 16;

/// Entries with these prefixes carry a credential of some other gateway or provider: they are never selected.
const FOREIGN_CREDENTIALS: [&str; 7] = [
    "xai-client-secret.",
    "ai-gateway-auth.",
    "cf-aig-authorization.",
    "bearer.",
    "token.",
    "base64url.bearer.",
    "v1.token.websocket.jupyter.org.",
];

/// Entries with these prefixes speak to OpenAI beside its label, and say who is billed: they are never selected either.
const OPENAI_REMARKS: [&str; 4] = ["openai-organization.", "openai-project.", "openai-beta.", "openai-agents-sdk."];

/// How an entry carries a credential for Keymoat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `api-key.<credential>`
    ApiKey,
    /// `keymoat.token.<base64url, no padding>`
    KeymoatToken,
    /// `openai-insecure-api-key.<credential>`
    OpenAi,
    /// `base64url.bearer.authorization.k8s.io.<base64url, no padding>`
    Kubernetes,
}

impl Form {
    const ALL: [Self; 4] = [Self::ApiKey, Self::KeymoatToken, Self::OpenAi, Self::Kubernetes];

    const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key.",
            Self::KeymoatToken => "keymoat.token.",
            Self::OpenAi => "openai-insecure-api-key.",
            Self::Kubernetes => "base64url.bearer.authorization.k8s.io.",
        }
    }

    const fn is_base64(self) -> bool {
        matches!(self, Self::KeymoatToken | Self::Kubernetes)
    }
}

/// What a client offered, parsed. Credentials are kept apart from the first moment and never shown.
#[derive(Default)]
pub struct Offer {
    offered: bool,
    marker: bool,
    labels: Vec<Label>,
    credentials: Vec<Entry>,
    lone: Option<Secret>,
    passes: Passes,
    told: Vec<Box<str>>,
}

/// Which of the entries that are not for Keymoat go upstream.
#[derive(Clone, Copy, Default)]
enum Passes {
    #[default]
    All,
    Only(&'static str),
    None,
}

/// An entry that is not for Keymoat.
struct Label {
    text: String,
    /// It carries somebody else's credential or a remark: it may go upstream, but is never selected.
    private: bool,
}

/// An entry that carries a credential.
struct Entry {
    form: Form,
    whole: Secret,
}

impl Offer {
    /// Reads all lines of the header (RFC 6455 section 11.3.4). A single line without a value offers nothing: older
    /// releases of React Native write that on iOS for the empty list in `new WebSocket(url, [], options)`.
    ///
    /// # Errors
    /// `request_invalid` for empty, repeated or non-token entries, entries over 4 KiB, and more than 8 KiB together.
    pub fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
        if lines.iter().map(|line| line.len() + 2).sum::<usize>() > HEADER_BYTES_MAX + 2 {
            return Err(invalid("`Sec-WebSocket-Protocol` is longer than 8 KiB"));
        }
        let mut entries: Vec<&str> = Vec::new();
        let is_blank = |line: &HeaderValue| line.as_bytes().trim_ascii().is_empty();
        if lines.iter().count() == 1 && lines.iter().all(is_blank) {
            return Ok(Self::default());
        }
        for line in lines {
            let line = line.to_str().map_err(|_| invalid("`Sec-WebSocket-Protocol` has an entry that is no token"))?;
            for entry in line.split(',') {
                let entry = entry.trim_matches([' ', '\t']);
                check(entry)?;
                entries.push(entry);
            }
        }
        let mut sorted = entries.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(invalid("`Sec-WebSocket-Protocol` has the same entry twice"));
        }
        let mut offer = Self { offered: !entries.is_empty(), ..Self::default() };
        entries.into_iter().for_each(|entry| offer.admit(entry));
        Ok(offer)
    }

    /// Whether the client offered anything at all. To one that did not, nothing may be selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.offered
    }

    /// What was offered, in the client's order, as it may be written down: names of protocols, and of credentials only what
    /// stands before them, such as `api-key.•`. Ask once the credentials were taken: until then nobody knows all of them.
    #[must_use]
    pub fn told(&self) -> &[Box<str>] {
        &self.told
    }

    /// What is told of one entry that was offered, or selected.
    #[must_use]
    pub fn told_of(&self, entry: &str) -> Box<str> {
        let is_private = self.labels.iter().any(|label| label.private && label.text == entry);
        offered::told(entry, &[], is_private)
    }

    /// What to offer upstream, in the client's order: no credential for Keymoat, not Keymoat's marker, and only what
    /// the route's dialect knows.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let passes = |text: &&str| match self.passes {
            Passes::All => true,
            Passes::Only(known) => *text == known,
            Passes::None => false,
        };
        self.labels.iter().map(|label| label.text.as_str()).filter(passes)
    }

    /// The one protocol to answer with: what the upstream selected, if it was offered; else Keymoat's marker, if it
    /// was; else the first entry that is no credential.
    ///
    /// For a refusal, or an upstream that selected nothing, `upstream` is `None`. What upstream selected without
    /// having been offered it is ignored. If the answer is `None`, [`Self::expose_lone_credential`] may have one.
    #[must_use]
    pub fn select(&self, upstream: Option<&str>) -> Option<String> {
        let mut selectable = self.labels.iter().filter(|label| !label.private).map(|label| label.text.as_str());
        if let Some(selected) = upstream
            && selectable.clone().any(|label| label == selected)
        {
            return Some(selected.to_owned());
        }
        if self.marker {
            return Some(MARKER.to_owned());
        }
        selectable.next().map(str::to_owned)
    }

    /// The whole entry of a credential that was offered alone, on a route that echoes it: the one exemption to "never
    /// echoed". `None` until the credential was taken, and on every other route.
    ///
    /// The caller writes it into the handshake's response and nowhere else, and says so in the record.
    #[must_use]
    pub fn expose_lone_credential(&self) -> Option<&Secret> {
        self.lone.as_ref()
    }

    /// Whether there is an entry that could be selected without showing a credential.
    pub(crate) fn has_selectable(&self) -> bool {
        self.marker || self.labels.iter().any(|label| !label.private)
    }

    /// Takes all credentials out; `None` stands for one whose base64url cannot be read. With [`LoneSubprotocol::Echo`] a single one that stands alone stays behind to be
    /// echoed; that is the second copy of it, and the handshake ends its life.
    pub(crate) fn withdraw(&mut self, lone: LoneSubprotocol) -> Vec<Option<Secret>> {
        let entries = std::mem::take(&mut self.credentials);
        let alone = entries.len() == 1 && !self.has_selectable() && self.labels.is_empty();
        let mut withdrawn = Vec::with_capacity(entries.len());
        for Entry { form, whole } in entries {
            let value = value(form, &whole);
            let present = value.as_ref().is_some_and(|value| !is_absent(value));
            if alone && present && lone == LoneSubprotocol::Echo && form != Form::Kubernetes {
                self.lone = Some(whole);
            }
            withdrawn.push(value);
        }
        withdrawn
    }

    /// Drops the entries that `is_credential` recognises and says how many there were.
    pub(crate) fn drop_labels(&mut self, mut is_credential: impl FnMut(&[u8]) -> bool) -> usize {
        let before = self.labels.len();
        let told = &mut self.told;
        self.labels.retain(|label| {
            let is_credential = is_credential(label.text.as_bytes());
            if is_credential {
                told.iter_mut().filter(|told| ***told == *label.text).for_each(|told| *told = offered::hidden());
            }
            !is_credential
        });
        before - self.labels.len()
    }

    /// Keeps all entries from the upstream, for a dialect that knows no subprotocols.
    pub(crate) fn keep_from_upstream(&mut self) {
        self.passes = Passes::None;
    }

    /// Keeps all entries but `label` from the upstream, for a dialect that knows this one.
    pub(crate) fn pass_only(&mut self, label: &'static str) {
        self.passes = Passes::Only(label);
    }

    fn tell(&mut self, told: Box<str>) {
        if self.told.len() < TOLD_MAX {
            self.told.push(told);
        }
    }

    fn admit(&mut self, entry: &str) {
        if entry == MARKER {
            self.marker = true;
            return self.tell(MARKER.into());
        }
        if let Some(form) = Form::ALL.into_iter().find(|form| entry.starts_with(form.prefix())) {
            self.credentials.push(Entry { form, whole: Secret::from(entry) });
            return self.tell(offered::told(entry, &[form.prefix()], true));
        }
        let prefixes: Vec<&str> = FOREIGN_CREDENTIALS.iter().chain(&OPENAI_REMARKS).copied().collect();
        let private = prefixes.iter().any(|prefix| entry.starts_with(prefix))
            || disguise::any_reading(entry.as_bytes(), &mut format::is_in);
        self.tell(offered::told(entry, &prefixes, private));
        self.labels.push(Label { text: entry.to_owned(), private });
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (labels, credentials) = (self.labels.len(), self.credentials.len());
        write!(f, "Offer {{ marker: {}, labels: {labels}, credentials: {credentials} }}", self.marker)
    }
}

fn value(form: Form, whole: &Secret) -> Option<Secret> {
    // The part behind the prefix moves into a secret of its own.
    let raw = whole.expose().get(form.prefix().len()..).unwrap_or_default();
    if !form.is_base64() {
        return Some(Secret::new(raw.to_vec()));
    }
    BASE64_URL_SAFE_NO_PAD.decode(raw).ok().map(Secret::new)
}

fn check(entry: &str) -> Result<(), Refusal> {
    if entry.is_empty() {
        return Err(invalid("`Sec-WebSocket-Protocol` has an empty entry"));
    }
    if entry.len() > ENTRY_BYTES_MAX {
        return Err(invalid("`Sec-WebSocket-Protocol` has an entry longer than 4 KiB"));
    }
    if !entry.bytes().all(is_token) {
        return Err(invalid(
            "`Sec-WebSocket-Protocol` has an entry that is no token: send such a credential as `keymoat.token.` and base64url without padding",
        ));
    }
    Ok(())
}

/// A token character (RFC 9110 section 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

fn invalid(detail: &'static str) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Result<Offer, Refusal> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_bytes(line.as_bytes()).expect("a test's line is well formed");
            headers.append(SEC_WEBSOCKET_PROTOCOL, line);
        }
        Offer::read(&headers)
    }

    #[test]
    fn separators_and_lines_as_clients_write_them() {
        for lines in [&["a,b, c"][..], &["a, b", "c"], &["a", "b", "c"], &["a ,\tb , c "]] {
            let offer = read(lines).expect("well formed");
            assert_eq!(offer.labels().collect::<Vec<_>>(), ["a", "b", "c"], "{lines:?}");
        }
        for nothing in [&[][..], &[""], &[" "]] {
            assert!(read(nothing).expect("well formed").is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_distinct_tokens_is_refused() {
        for lines in [
            &["", ""][..],
            &[","],
            &["a,,b"],
            &["a,"],
            &["a", ""],
            &["a, a"],
            &["a", "a"],
            &["api-key.x, api-key.x"],
            &["a b"],
            &["a/b"],
            &["auth_tokens/kmt_x"],
            &["a=b"],
            &["a:b"],
            &["a@b"],
            &["\"a\""],
            &["ä"],
        ] {
            assert_eq!(read(lines).expect_err("refused").code, Code::RequestInvalid, "{lines:?}");
        }
        for fine in ["a+b", "a%2Fb", "sk-proj_A.b~c", "A, a"] {
            assert!(read(&[fine]).is_ok(), "{fine}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(read(&[&"a".repeat(4096)]).is_ok());
        assert!(read(&[&"a".repeat(4097)]).is_err());
        assert!(read(&[&"a".repeat(4096), &"b".repeat(4000)]).is_ok());
        assert!(read(&[&"a".repeat(4096), &"b".repeat(4096)]).is_err());
    }

    #[test]
    fn credentials_leave_in_all_four_forms() {
        let mut offer = read(&[
            "keymoat.v1, api-key.raw",
            "keymoat.token.cmF3, openai-insecure-api-key.raw, base64url.bearer.authorization.k8s.io.cmF3, API-KEY.x",
        ])
        .expect("well formed");
        let taken = offer.withdraw(LoneSubprotocol::Refuse);
        assert_eq!(taken.len(), 4);
        for value in taken {
            assert!(value.expect("readable").matches(&Secret::from("raw")));
        }
        // Prefixes are compared exactly.
        assert_eq!(offer.labels().collect::<Vec<_>>(), ["API-KEY.x"]);
        assert!(offer.withdraw(LoneSubprotocol::Echo).is_empty());
    }

    #[test]
    fn an_entry_that_looks_like_a_credential_is_never_selected() {
        // Also before the credential was taken, as for a refusal by an earlier stage.
        for private in ["km_0123456789abcdef", "x.kmt_0123456789abcdef", "a21fMDEyMzQ1Njc4OWFiY2RlZg", "bearer.x"] {
            assert_eq!(read(&[private]).expect("well formed").select(Some(private)), None);
            let offer = read(&[private, "app"]).expect("well formed");
            assert_eq!(offer.select(Some(private)).as_deref(), Some("app"));
        }
    }

    #[test]
    fn what_was_offered_is_told_by_name_and_of_credentials_by_their_kind() {
        let offered =
            "keymoat.v1, api-key.raw, chat.v2, bearer.other, openai-organization.org_1, hunter, km_0123456789abcdef";
        let mut offer = read(&[offered]).expect("well formed");
        let _ = offer.withdraw(LoneSubprotocol::Refuse);
        assert_eq!(offer.drop_labels(|label| label == b"hunter"), 1);
        let told: Vec<&str> = offer.told().iter().map(|told| &**told).collect();
        assert_eq!(told, ["keymoat.v1", "api-key.•", "•", "bearer.•", "openai-organization.•", "•", "•"]);
        let many: Vec<String> = (0..99).map(|number| format!("p{number}")).collect();
        assert_eq!(read(&[&many.join(",")]).expect("well formed").told().len(), TOLD_MAX);
    }

    #[test]
    fn debug_shows_nothing() {
        assert!(!format!("{:?}", read(&["secret, api-key.secret"])).contains("secret"));
    }

    proptest! {
        #[test]
        fn what_is_selected_was_offered_and_is_no_credential(
            entries in proptest::collection::vec("(api-key\\.|keymoat\\.token\\.|keymoat\\.v|token\\.|)[a1]{0,3}", 0..5),
            upstream in "(api-key\\.|)[a1]{0,3}", echo in any::<bool>(),
        ) {
            let line = entries.join(", ");
            let lines = if entries.is_empty() { vec![] } else { vec![line.as_str()] };
            let Ok(mut offer) = read(&lines) else { return Ok(()) };
            let policy = if echo { LoneSubprotocol::Echo } else { LoneSubprotocol::Refuse };
            let _ = offer.withdraw(policy);
            if let Some(selected) = offer.select(Some(&upstream)) {
                prop_assert!(entries.contains(&selected));
                prop_assert!(!selected.starts_with("api-key.") && !selected.starts_with("keymoat.token."));
                prop_assert!(offer.expose_lone_credential().is_none());
            }
            if let Some(lone) = offer.expose_lone_credential() {
                prop_assert!(echo && entries.len() == 1 && lone.matches(&Secret::from(line.as_str())));
            }
        }
    }
}
