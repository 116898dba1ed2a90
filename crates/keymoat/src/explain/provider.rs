//! What is particular to one provider or library: keys in messages, libraries that write the URL themselves, and headers that only
//! another provider reads.

use keymoat_core::Mistake;

use super::Explained;
use super::header::Header;
use super::parameter::Address;
use super::pasted::Pasted;

/// How far before a name its message begins.
const MESSAGE_BYTES_MAX: usize = 400;

/// Fields of messages that carry a credential, and what tells that they stand in a message. Without words the name is enough.
const FIELDS: [(&str, &[&str]); 9] = [
    ("xi_api_key", &[]),
    ("x_gladia_key", &[]),
    ("single_use_token", &[".send("]),
    ("api_key", &MESSAGES),
    ("apikey", &MESSAGES),
    ("authorization", &["connection_init"]),
    ("x-api-key", &["connection_init"]),
    ("token", &["connection_init", "\"op\":2", "\"op\": 2", "op: 2", "\"connect\":"]),
    ("access_token", &["connection_init", "\"type\":\"auth\"", "\"type\": \"auth\"", "type: 'auth'", "phx_join"]),
];
const MESSAGES: [&str; 8] = [
    ".send(",
    "session.update",
    "\"setup\"",
    "setup:",
    "connection_init",
    "\"type\":\"auth\"",
    "\"type\": \"auth\"",
    "\"audio_format\"",
];

/// Options of which a library makes query parameters.
const OPTIONS: [(&str, &str); 3] = [("io(", "query:"), ("io.connect(", "query:"), ("new socket(", "params:")];
const CREDENTIAL_WORDS: [&str; 6] = ["token", "apikey", "api_key", "auth", "jwt", "key:"];

/// Providers that read one header, and how it has to be written.
const PROVIDERS: [(&str, &str, Scheme); 7] = [
    ("api.anthropic.com", "x-api-key", Scheme::None),
    ("api.elevenlabs.io", "xi-api-key", Scheme::None),
    ("api.deepgram.com", "authorization", Scheme::Token),
    ("agent.deepgram.com", "authorization", Scheme::Token),
    ("streaming.assemblyai.com", "authorization", Scheme::None),
    ("api.assemblyai.com", "authorization", Scheme::None),
    ("api.gladia.io", "x-gladia-key", Scheme::None),
];

/// What stands before the credential.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    None,
    /// `Token` for a key; `Bearer` for a JSON Web Token.
    Token,
}

/// Whether one of `addresses` is of a provider that takes `Authorization` without a scheme.
pub(super) fn takes_no_scheme(addresses: &[Address<'_>]) -> bool {
    addresses.iter().any(|address| {
        PROVIDERS.iter().any(|(host, name, scheme)| {
            *scheme == Scheme::None && *name == "authorization" && address.host.eq_ignore_ascii_case(host)
        })
    })
}

/// Applies the rules of this file.
pub(super) fn judge(
    pasted: &Pasted,
    addresses: &[Address<'_>],
    headers: &[Header<'_>],
    single: bool,
    explained: &mut Explained,
) {
    judge_messages(pasted, explained);
    judge_libraries(pasted, explained);
    if single {
        judge_headers(addresses, headers, explained);
    }
}

fn judge_messages(pasted: &Pasted, explained: &mut Explained) {
    for (field, messages) in FIELDS {
        for at in pasted.places(field) {
            let before = pasted.before(at);
            let behind = pasted.after(at + field.len()).trim_start_matches(['"', '\'', '`']).trim_start();
            if before.is_ascii_alphanumeric() || "_-.?&".contains(before) || !behind.starts_with(':') {
                continue;
            }
            let start = pasted.lower().ceil_char_boundary(at.saturating_sub(MESSAGE_BYTES_MAX));
            let message = pasted.lower().get(start..at).unwrap_or_default();
            if messages.is_empty() || messages.iter().any(|word| message.contains(word)) {
                explained.add(Mistake::KeyInMessage, pasted.line(at), &format!("field `{field}`"));
            }
        }
    }
}

fn judge_libraries(pasted: &Pasted, explained: &mut Explained) {
    for (call, option) in OPTIONS {
        for at in pasted.places(call).filter(|at| !pasted.before(*at).is_ascii_alphanumeric()) {
            let start = at + call.len();
            let arguments = pasted.lower().get(start..start + pasted.after(start).len()).unwrap_or_default();
            let arguments = arguments.split_once(");").map_or(arguments, |(arguments, _)| arguments);
            let Some((_, rest)) = arguments.split_once(option) else { continue };
            let object = rest.split_once('}').map_or(rest, |(object, _)| object);
            if CREDENTIAL_WORDS.iter().any(|word| object.contains(word)) {
                explained.add(Mistake::KeyInLibraryUrl, pasted.line(at), "");
            }
        }
    }
}

fn judge_headers(addresses: &[Address<'_>], headers: &[Header<'_>], explained: &mut Explained) {
    let Some((_, name, scheme)) =
        PROVIDERS.iter().find(|(host, ..)| addresses.iter().any(|address| address.host.eq_ignore_ascii_case(host)))
    else {
        return;
    };
    let known = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "xi-api-key", "x-gladia-key"];
    let carrying: Vec<&Header<'_>> = headers.iter().filter(|header| known.contains(&header.name)).collect();
    let is_right = |header: &Header<'_>| {
        let word = header.value.split_once(' ').map_or("", |(word, _)| word).to_ascii_lowercase();
        let credential = header.value.split_once(' ').map_or(&*header.value, |(_, credential)| credential);
        header.name == *name
            && match scheme {
                Scheme::None => word.is_empty(),
                Scheme::Token => word == "token" || word == "bearer" && !is_key(credential),
            }
    };
    if carrying.iter().any(|header| is_right(header)) {
        return;
    }
    for header in carrying {
        explained.add(Mistake::HeaderOfAnother, header.line, &format!("header `{}`", header.name));
    }
}

/// Whether it is, or is called, a key, and no JSON Web Token.
fn is_key(credential: &str) -> bool {
    let lower = zeroize::Zeroizing::new(credential.to_ascii_lowercase());
    lower.contains("key") || !(lower.starts_with("eyj") || lower.contains("token") || lower.contains("jwt"))
}
