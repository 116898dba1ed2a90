//! What may be told of the entries of `Sec-WebSocket-Protocol`: names of protocols, and of a credential only its kind.

/// What stands for what is not told.
const HIDDEN: &str = "•";

/// A name of a protocol has at most so many bytes.
const NAME_BYTES_MAX: usize = 48;

/// A part of a name that has letters and digits, such as `mqttv5`, has at most so many of them.
const MIXED_MAX: usize = 8;

/// A name has at most so many digits, such as those of `ocpp2.0.1`.
const DIGITS_MAX: usize = 6;

/// An entry as it is told: a credential by what stands before it, and as itself only what is built like the name of a protocol.
pub(crate) fn told(entry: &str, credential_prefixes: &[&str], is_private: bool) -> Box<str> {
    if let Some(prefix) = credential_prefixes.iter().find(|prefix| entry.starts_with(**prefix)) {
        return format!("{prefix}{HIDDEN}").into();
    }
    if !is_private && is_name(entry) { entry.into() } else { HIDDEN.into() }
}

/// What is told of an entry that turned out to be a credential.
pub(crate) fn hidden() -> Box<str> {
    HIDDEN.into()
}

/// Whether a text is words and versions, such as `graphql-transport-ws` and `v4.channel.k8s.io`. What was drawn at random
/// mixes letters and digits for longer.
fn is_name(entry: &str) -> bool {
    let is_mixed = |part: &str| part.bytes().any(|byte| byte.is_ascii_digit());
    let digits = entry.bytes().filter(u8::is_ascii_digit).count();
    let turns = |part: &str| {
        let cases = part.as_bytes().windows(2);
        cases.filter(|pair| matches!(pair, [a, b] if a.is_ascii_lowercase() && b.is_ascii_uppercase())).count()
    };
    entry.len() <= NAME_BYTES_MAX
        && digits <= DIGITS_MAX
        && entry.split(|letter: char| !letter.is_ascii_alphanumeric()).all(|part| {
            let is_short = part.len() <= MIXED_MAX;
            // `graphqlTransportWs` turns twice; what was drawn at random does so in every other place.
            if is_mixed(part) { is_short } else { is_short || turns(part) <= part.len() / 6 }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_protocols_are_told() {
        for name in [
            "keymoat.v1",
            "realtime",
            "graphql-transport-ws",
            "v4.channel.k8s.io",
            "ocpp2.0.1",
            "wamp.2.json",
            "mqtt",
            "actioncable-v1-json",
            "v10.stomp",
            "soap",
            "chat.superchat",
            "graphqlTransportWs",
        ] {
            assert_eq!(&*told(name, &["api-key."], false), name);
        }
    }

    #[test]
    fn of_a_credential_only_its_kind_is_told() {
        for (entry, shown) in [
            ("api-key.km_0123456789abcdef", "api-key.•"),
            ("km_0123456789abcdef", "•"),
            ("Zk7Qw2Lr9TnXb4Vm", "•"),
            ("ZkQwLrTnXbVmAcBdEfGhIjKl", "•"),
            ("550e8400-e29b-41d4-a716-446655440000", "•"),
            ("sk-proj-4fT9aQ7Lr2TnXb4Vm", "•"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "•"),
        ] {
            assert_eq!(&*told(entry, &["api-key."], false), shown);
        }
        assert_eq!(&*told("realtime", &[], true), "•");
    }
}
