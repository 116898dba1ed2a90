//! What may be told of the entries of `Sec-WebSocket-Protocol`: names of protocols, and of a credential only its kind.

/// What stands for what is not told.
const HIDDEN: &str = "•";

/// Names of protocols that may be told: those of IANA's registry of WebSocket subprotocols that are met, and what is in use
/// without standing there. Any other word may be somebody's password.
const KNOWN: [&str; 38] = [
    "keymoat.v1",
    "realtime",
    "openai-beta.realtime-v1",
    "graphql-ws",
    "graphql-transport-ws",
    "mqtt",
    "mqttv3.1",
    "wamp.2.json",
    "wamp.2.msgpack",
    "wamp.2.cbor",
    "v10.stomp",
    "v11.stomp",
    "v12.stomp",
    "soap",
    "xmpp",
    "sip",
    "msrp",
    "amqp",
    "amqpwsb10",
    "bfcp",
    "jsonrpc",
    "coap",
    "ocpp1.2",
    "ocpp1.5",
    "ocpp1.6",
    "ocpp2.0",
    "ocpp2.0.1",
    "ocpp2.1",
    "v4.channel.k8s.io",
    "v5.channel.k8s.io",
    "base64.channel.k8s.io",
    "base64.binary.k8s.io",
    "portforward.k8s.io",
    "actioncable-v1-json",
    "actioncable-unsupported",
    "json.webpubsub.azure.v1",
    "janus-protocol",
    "binary",
];

/// An entry as it is told: a credential by what stands before it, and as itself only the name of a known protocol.
pub(crate) fn told(entry: &str, credential_prefixes: &[&str], is_private: bool) -> Box<str> {
    if let Some(prefix) = credential_prefixes.iter().find(|prefix| entry.starts_with(**prefix)) {
        return format!("{prefix}{HIDDEN}").into();
    }
    if !is_private && KNOWN.contains(&entry) { entry.into() } else { HIDDEN.into() }
}

/// What is told of an entry that turned out to be a credential.
pub(crate) fn hidden() -> Box<str> {
    HIDDEN.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_known_protocols_are_told() {
        for name in KNOWN {
            assert_eq!(&*told(name, &["api-key."], false), name);
        }
    }

    #[test]
    fn a_word_that_no_protocol_is_known_by_may_be_a_password() {
        for word in ["hunter2", "secret", "chat.superchat", "Realtime", ""] {
            assert_eq!(&*told(word, &["api-key."], false), "•");
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
