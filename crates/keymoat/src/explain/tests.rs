//! Whole pastes, as people bring them.

use std::collections::BTreeSet;

use super::explain;

/// The ids of everything that is recognised.
fn ids(text: &str) -> BTreeSet<&'static str> {
    let explained = explain(text);
    let mistakes = explained.mistakes.keys().map(|mistake| mistake.id());
    mistakes.chain(explained.refusals.iter().map(|(code, _)| code.word())).collect()
}

fn assert_ids(text: &str, expected: &[&str]) {
    assert_eq!(ids(text), expected.iter().copied().collect(), "{text}");
}

const PLAIN: &str = "wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent";

#[test]
fn the_three_attempts_with_a_gemini_token() {
    assert_ids(
        &format!("const e = encodeURIComponent(t);\nnew WebSocket(`{PLAIN}?key=${{encodedToken}}`)"),
        &["token-as-key", "plain-method"],
    );
    assert_ids(
        &format!("new WebSocket(`{PLAIN}`, [], {{ headers: {{ 'Authorization': `Bearer ${{data.token}}` }} }})"),
        &["bearer-at-google", "plain-method"],
    );
    assert_ids(
        &format!(
            "const wsUrl = '{PLAIN}';\nnew WebSocket(wsUrl, [], {{\n headers: {{\n 'x-goog-api-key': data.token\n }}\n}});"
        ),
        &["token-as-key", "plain-method"],
    );
    assert_ids(&format!("{PLAIN}?access_token=auth_tokens/abc"), &["plain-method"]);
}

#[test]
fn the_right_forms_are_no_mistakes() {
    let right = format!("{PLAIN}Constrained");
    assert_ids(&format!("{right}?access_token=auth_tokens/0123abcd"), &[]);
    assert_ids(&format!("new WebSocket('{right}', [], {{ headers: {{ Authorization: `Token ${{token}}` }} }})"), &[]);
    assert_ids("new WebSocket('wss://gateway.example/ws', ['keymoat.v1', 'api-key.' + key])", &[]);
    assert_ids("new WebSocket(url, ['realtime', 'openai-insecure-api-key.' + clientSecret])", &[]);
    assert_ids("curl -H \"X-API-Key: $(cat key.txt)\" https://gateway.example/api/events", &[]);
    assert_ids("GET /objects?key=photo.jpg HTTP/1.1", &[]);
    assert_ids("new WebSocket('ws://localhost:8000/ws')", &[]);
}

#[test]
fn what_is_advised_is_itself_no_mistake() {
    use keymoat_core::mistake::{Client, Remedy};
    for remedy in Remedy::ALL {
        for client in Client::ALL {
            assert_ids(remedy.code(client), &[]);
        }
    }
}

#[test]
fn a_key_in_a_url_in_all_its_forms() {
    assert_ids("curl 'https://h.example/api/events?api_key=0123456789abcdef'", &["key-in-url"]);
    assert_ids("new WebSocket(`ws://cam.example/ws?api_key=${key}`)", &["key-in-url", "plain-text"]);
    assert_ids("10.0.0.1 - \"GET /e?page=1&api_key=0123 HTTP/1.1\" 200", &["key-in-url"]);
    assert_ids("{\"url\": \"https://h.example/?a=1\\u0026access_token=0123456789\"}", &["key-in-url"]);
    assert_ids("new WebSocket('wss://h.example/ws?api_key=' + key)", &["key-in-url"]);
    assert_ids("curl \"https://h.example/?api_key=\\$API_KEY\"", &["key-in-url"]);
    assert_ids("do not write `?api_key=` into addresses", &[]);
    assert_ids("https://user:0123456789@h.example/api", &["key-in-userinfo"]);
    assert_ids("http://h.example/?api%5Fkey=0123456789", &["key-in-url", "plain-text"]);
}

#[test]
fn the_key_in_the_music_url_although_the_header_is_sent() {
    let text = "wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateMusic?key=AIzaSyA0123\n\
                x-goog-api-key: AIzaSyA0123\n";
    assert_ids(text, &["key-in-url", "key-in-url-and-header", "music-key-in-url"]);
}

#[test]
fn subprotocols() {
    assert_ids("new WebSocket('wss://h.example/ws', ['api-key.' + key])", &["lone-subprotocol"]);
    assert_ids("Sec-WebSocket-Protocol: api-key.0123456789", &["lone-subprotocol"]);
    assert_ids("new WebSocket(url, ['keymoat.v1', 'api-key.auth_tokens/0123'])", &["subprotocol-characters"]);
    assert_ids("Sec-WebSocket-Protocol: keymoat.v1, keymoat.token.a*b", &["subprotocol-not-base64url"]);
    assert_ids("new WebSocket(u, ['realtime', `openai-insecure-api-key.${apiKey}`])", &["insecure-api-key"]);
    assert_ids("Sec-WebSocket-Protocol: realtime, openai-beta.realtime-v1", &["realtime-beta"]);
    assert_ids(
        "WebSocket connection failed: Sent non-empty 'Sec-WebSocket-Protocol' header but no response was received",
        &["subprotocol-not-selected"],
    );
}

#[test]
fn headers() {
    assert_ids("Authorization: Basic dXNlcjpwYXNz", &["scheme-basic"]);
    assert_ids("curl -H 'Authorization: 0123456789' https://h.example", &["scheme-missing"]);
    assert_ids("Authorization: Digest 0123", &["scheme-other"]);
    assert_ids("Authorization: Bearer undefined", &["undefined-credential"]);
    assert_ids("{\"name\":\"Authorization\",\"value\":\"Bearer null\"}", &["undefined-credential"]);
    assert_ids("{\n \"name\": \"x-api-key\",\n \"value\": \"\"\n}", &["undefined-credential"]);
    assert_ids("wss://h.example/ws?key=undefined", &["undefined-credential"]);
    assert_ids("new WebSocket(url, { headers: { Authorization: `Bearer ${key}` } })", &["browser-headers"]);
    assert_ids("new EventSource(url, { headers: { 'X-API-Key': key } })", &["eventsource-headers"]);
    assert_ids("Authorization: Bearer sk-a1\nX-API-Key: sk-b2\n", &["two-credentials"]);
    assert_ids("OpenAI-Beta: realtime=v1", &["realtime-beta"]);
}

#[test]
fn spellings() {
    let body = "0000000000000000000000000000000000000000000";
    assert_ids("Authorization: Token authTokens/0123", &["token-spelling"]);
    assert_ids(&format!("{PLAIN}Constrained?access_token=auth_tokens%252F0123"), &["encoded-twice"]);
    assert_ids("Authorization: Token auth_tokens%2F0123", &["encoded-twice"]);
    assert_ids(&format!("X-API-Key: km_{body}"), &["key-length"]);
    assert_ids(&format!("X-API-Key: km_{body}000000"), &["key-checksum"]);
    assert_ids(&format!("X-API-Key: km_{body}00_000"), &["key-alphabet"]);
    assert_ids("X-API-Key: kma_0123456789", &["admin-credential"]);
    assert_ids(&format!("{}?key=AIza0123", PLAIN.replace("v1alpha", "v1")), &["key-in-url"]);
    assert_ids(
        &format!("{}Constrained?access_token=auth_tokens/0", PLAIN.replace("v1alpha", "v1")),
        &["token-version"],
    );
}

#[test]
fn errors_close_codes_and_refusals() {
    assert_ids(
        "Error: Method doesn't allow unregistered callers (callers without established identity).",
        &["unregistered-callers"],
    );
    assert_ids("received 1007 (invalid frame payload data) API key not valid. Please pass", &["api-key-not-valid"]);
    assert_ids("Incorrect API key provided: sk-abc", &["incorrect-api-key"]);
    assert_ids("onclose code=1006 reason=''", &["closed-1006"]);
    assert_ids("1008", &["closed-1008"]);
    assert_ids("CloseEvent {code: 4001, reason: 'no'}", &["closed-4001"]);
    assert_ids("closed with 3000", &["closed-3000"]);
    assert_ids("Error: Unexpected server response: 401", &["handshake-refused"]);
    assert_ids("4001 credential_in_query: long-lived key in query parameter `api_key`", &["credential_in_query"]);
    assert_ids("4003 forbidden: this key may not", &["forbidden"]);
    assert_ids("{\"code\":\"unavailable\"}", &["unavailable"]);
    assert_ids("it is forbidden and unavailable since 1008 years", &[]);
    assert_ids("hello", &[]);
}

#[test]
fn through_a_gateway_either_method_and_bearer_are_right() {
    let text = "new WebSocket('wss://gateway.example/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent', [], \
                { headers: { Authorization: `Bearer ${token}` } }) // React Native";
    assert_ids(text, &[]);
}

#[test]
fn a_hostile_text_costs_little() {
    // Each of them would take minutes if a part of it were looked at once for each other part.
    for part in
        ["?", "?key={", "authorization: ", "code 1006 ", "ws://a", "new WebSocket(", "?key=a", "&amp;", "authTokens/"]
    {
        explain(&part.repeat((256 << 10) / part.len()));
    }
}

#[test]
fn keys_in_messages_are_told_in_every_dialect() {
    for message in [
        r#"{"type":"session.update","session":{"type":"realtime","api_key":"sk-made-up"}}"#,
        r#"{"setup":{"model":"models/x","api_key":"made-up"}}"#,
        "ws.send(JSON.stringify({ api_key: key, model: 'stt-rt' }))",
        "ws.send(JSON.stringify({ text: ' ', xi_api_key: key }))",
        r#"{"x_gladia_key":"made-up","sample_rate":16000}"#,
        r#"{"type":"connection_init","payload":{"Authorization":"Bearer made-up"}}"#,
        r#"{"type":"auth","access_token":"made-up"}"#,
        r#"{"op":2,"d":{"token":"made-up"}}"#,
    ] {
        assert!(ids(message).contains("key-in-message"), "{message}: {:?}", ids(message));
    }
    for other in [
        "const client = new OpenAI({ apiKey: key });",
        "{\"setup\":{\"tools\":[{\"name\":\"token\"}]}}",
        "requests.post(url, json={\"token\": \"x\"})",
    ] {
        assert!(!ids(other).contains("key-in-message"), "{other}");
    }
}

#[test]
fn options_that_become_query_parameters_are_told() {
    assert_ids("io('https://app.example', { query: { token } });", &["key-in-library-url"]);
    assert_ids("new Socket('/socket', { params: { token: userToken } });", &["key-in-library-url"]);
    assert_ids("io('https://app.example', { auth: { token } });", &[]);
    assert_ids("new Socket('/socket', { params: { vsn: '2.0.0' } });", &[]);
    assert_ids("wss://realtime.example/?key=app12.id3456:secret789012", &["key-in-url"]);
}

#[test]
fn each_provider_has_a_header_of_its_own() {
    let curl = |header: &str, host: &str| format!("curl -H \"{header}\" https://{host}/v1/x");
    for (wrong, right, host) in [
        ("Authorization: Bearer $KEY", "x-api-key: $KEY", "api.anthropic.com"),
        ("Authorization: Bearer $KEY", "xi-api-key: $KEY", "api.elevenlabs.io"),
        ("Authorization: Bearer $API_KEY", "Authorization: Token $API_KEY", "api.deepgram.com"),
        ("Authorization: Bearer $KEY", "Authorization: $KEY", "api.assemblyai.com"),
        ("Authorization: Bearer $KEY", "x-gladia-key: $KEY", "api.gladia.io"),
    ] {
        assert_ids(&curl(wrong, host), &["header-of-another"]);
        assert_ids(&curl(right, host), &[]);
    }
    assert_ids(&curl("Authorization: Bearer $ACCESS_TOKEN", "api.deepgram.com"), &[]);
}

#[test]
fn close_codes_of_other_servers_are_known() {
    assert_ids("closed with code 4008", &["closed-4008"]);
    assert_ids("disconnected, code 3500", &["closed-4001"]);
}
