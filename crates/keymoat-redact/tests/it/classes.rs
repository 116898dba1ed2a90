//! Carriers × names × encodings × split offsets: the classes of which the corpus has single cases.

use std::sync::{Arc, LazyLock};

use keymoat_redact::{Finder, Options, Redactor, Rules};

const SECRETS: [&str; 4] = [
    "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue",
    "sk-proj-9fK2mVx7Qw4Lr8TnXb3Yc6",
    "5f0c6e1e9c0e4a5e8f0b0a1b2c3d4e5f",
    "p4ssW0rd/with+odd=Zk7Qw2",
];

const NAMES: [&str; 24] = [
    "api_key",
    "apiKey",
    "API-KEY",
    "x-api-key",
    "exaApiKey",
    "access_token",
    "refreshToken",
    "id_token",
    "client_secret",
    "clientSecret",
    "aws_secret_access_key",
    "private_key",
    "signingKey",
    "encryption_key",
    "password",
    "db_password",
    "passphrase",
    "X-Amz-Security-Token",
    "x_goog_signature",
    "singleUseToken",
    "session_token",
    "auth_token",
    "securityToken",
    "secret",
];

/// `N` is the name and `V` the value; what stands around must survive.
const CARRIERS: [&str; 45] = [
    "GET /e?page=3&N=V&sort=asc HTTP/1.1",
    "https://h.example/e?N=V",
    "https://h.example/cb#N=V&state=1",
    "/p;N=V;v=1/x",
    "grant_type=x&N=V&scope=y",
    "<a href=\"/e?x=1&amp;N=V&amp;y=2\">",
    "{\"N\":\"V\",\"x\":1}",
    "{\"N\" : \"V\", \"x\": 1}",
    "\"{\\\"N\\\":\\\"V\\\",\\\"x\\\":1}\"",
    "{\"a\":{\"b\":\"{\\\\\\\"N\\\\\\\":\\\\\\\"V\\\\\\\"}\"}}",
    "{'N': 'V', 'x': 1}",
    "{'N': b'V', 'x': 1}",
    "Config { N: Some(\"V\"), port: 80 }",
    "Config { N: \"V\", port: 80 }",
    "Config { N: Secret(\"V\"), port: 80 }",
    "client = Client(N=\"V\", retries=3)",
    "N='V' next=ok",
    "level=info N=V path=/x",
    "level=info N=\"V\" path=/x",
    "export N=V",
    "N = \"V\"",
    "N: V",
    "  - N: V",
    "N: 'V'",
    "--N V --port 80",
    "--N=V --port 80",
    "<N>V</N>",
    "<ns:N type=\"x\">V</ns:N>",
    "<add key=\"N\" value=\"V\" />",
    "{\"name\":\"N\",\"value\":\"V\"}",
    "{\"name\": \"N\", \"comment\": \"\", \"value\": \"V\"}",
    "{\"value\":\"V\",\"name\":\"N\"}",
    "Header { name: \"N\", value: \"V\" }",
    "{\\\"name\\\":\\\"N\\\",\\\"value\\\":\\\"V\\\"}",
    "(b'N', b'V')",
    "[(\"N\", \"V\"), (\"accept\", \"*/*\")]",
    "map[N:[V] Accept:[*/*]]",
    "{\"headers\":{\"N\":[\"V\"],\"Accept\":[\"*/*\"]}}",
    "metadata={N=V, accept=*/*}",
    "N: >-\n  V\nnext: 1",
    "N: |\n  V\nnext: 1",
    "    N: Some(\n        \"V\",\n    ),\n    port: 80,",
    "Content-Disposition: form-data; name=\"N\"\r\n\r\nV\r\n--b--",
    "\"headers\": [\n  {\n    \"name\": \"N\",\n    \"value\": \"V\"\n  }\n]",
    "\"N\": [\n  \"V\"\n],\n\"x\": 1",
];

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(Arc::default);

fn redactor() -> Redactor {
    Redactor::new(Arc::clone(&RULES), Options::default())
}

fn redacted(text: &[u8]) -> Vec<u8> {
    redactor().redact(text).into_owned()
}

fn in_parts(text: &[u8], split: usize) -> Vec<u8> {
    let mut redactor = redactor();
    let mut out = Vec::new();
    let (first, second) = text.split_at(split);
    redactor.write(first, &mut out).expect("memory");
    redactor.write(second, &mut out).expect("memory");
    redactor.finish(&mut out).expect("memory");
    out
}

fn leaks(out: &[u8], secret: &str) -> bool {
    secret.as_bytes().windows(8).any(|window| memchr::memmem::find(out, window).is_some())
}

/// What is wrong with one text, if anything.
fn judge(text: &str, secret: &str) -> Option<String> {
    let out = redacted(text.as_bytes());
    let shown = String::from_utf8_lossy(&out);
    if leaks(&out, secret) {
        return Some(format!("leaks: {text:?}\n    -> {shown:?}"));
    }
    let (before, after) = text.split_once(secret)?;
    let (before, after) = (before.as_bytes(), after.as_bytes());
    if !out.starts_with(before) || !out.ends_with(after) {
        return Some(format!("eats neighbours: {text:?}\n    -> {shown:?}"));
    }
    if redacted(&out) != out {
        return Some(format!("changes again: {shown:?} -> {:?}", String::from_utf8_lossy(&redacted(&out))));
    }
    None
}

fn all(texts: impl Iterator<Item = (String, String)>) {
    let mut count = 0;
    let wrong: Vec<String> = texts.inspect(|_| count += 1).filter_map(|(text, secret)| judge(&text, &secret)).collect();
    assert!(
        wrong.is_empty(),
        "{} of {count} wrong:\n{}",
        wrong.len(),
        wrong.iter().take(60).cloned().collect::<Vec<_>>().join("\n")
    );
    assert!(count > 10);
}

#[test]
fn every_carrier_of_every_name_is_masked_and_its_neighbours_stay() {
    all(CARRIERS.iter().flat_map(|carrier| {
        NAMES.iter().flat_map(move |name| {
            SECRETS.iter().map(move |secret| (carrier.replace('N', name).replace('V', secret), (*secret).to_owned()))
        })
    }));
}

fn percent(text: &str, which: impl Fn(usize, u8) -> bool) -> String {
    text.bytes()
        .enumerate()
        .map(|(at, byte)| if which(at, byte) { format!("%{byte:02X}") } else { char::from(byte).to_string() })
        .collect()
}

type Spelling = (&'static str, fn(&str) -> String);

const SPELLINGS: [Spelling; 16] = [
    ("one letter", |name| percent(name, |at, _| at == 1)),
    ("last letter", |name| percent(name, |at, _| at + 1 == name.len())),
    ("all", |name| percent(name, |_, _| true)),
    ("lower hex", |name| percent(name, |_, byte| !byte.is_ascii_alphanumeric()).to_lowercase()),
    ("twice", |name| percent(&percent(name, |at, _| at == 2), |_, byte| byte == b'%')),
    ("thrice", |name| {
        percent(&percent(&percent(name, |at, _| at == 2), |_, byte| byte == b'%'), |_, byte| byte == b'%')
    }),
    ("backslash x", |name| format!("{}\\x{:02X}{}", &name[..2], name.as_bytes()[2], &name[3..])),
    ("backslash u", |name| format!("{}\\u{:04x}{}", &name[..2], name.as_bytes()[2], &name[3..])),
    ("octal", |name| format!("{}#{:03o}{}", &name[..2], name.as_bytes()[2], &name[3..])),
    ("full width", |name| name.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).expect("a letter")).collect()),
    ("zero width", |name| format!("{}\u{200b}{}", &name[..3], &name[3..])),
    ("colour", |name| format!("\x1b[1;31m{}\x1b[0m{}", &name[..3], &name[3..])),
    ("look-alike", |name| name.replace('e', "е").replace('a', "а")),
    ("upper", |name| name.to_uppercase()),
    ("mixed", |name| {
        name.chars()
            .enumerate()
            .map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect()
    }),
    ("brackets", |name| format!("auth%5B{name}%5D")),
];

#[test]
fn a_name_is_read_through_its_encoding() {
    let secret = SECRETS[0];
    all(SPELLINGS.iter().flat_map(|(_, spelling)| {
        ["api_key", "access_token", "client_secret", "apiKey", "password"].iter().flat_map(move |name| {
            ["GET /e?page=3&N=V&sort=asc HTTP/1.1", "level=info N=V path=/x"]
                .iter()
                .map(move |carrier| (carrier.replace('N', &spelling(name)).replace('V', secret), secret.to_owned()))
        })
    }));
}

#[test]
fn a_name_is_read_in_any_case_however_its_words_are_joined() {
    let secret = SECRETS[0];
    let words: [&[&str]; 8] = [
        &["pass", "word"],
        &["pass", "phrase"],
        &["api", "key"],
        &["access", "token"],
        &["client", "secret"],
        &["secret", "access", "key"],
        &["client", "assertion"],
        &["x", "amz", "signature"],
    ];
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let mut texts = Vec::new();
    for words in words {
        let mut capitals: Vec<String> = words.iter().map(|word| capital(word)).collect();
        for joint in ["", "_", "-", "."] {
            let plain = words.join(joint);
            let mut names = vec![plain.clone(), plain.to_uppercase(), capitals.join(joint)];
            names.push(
                plain.chars().enumerate().map(|(at, c)| if at % 2 > 0 { c.to_ascii_uppercase() } else { c }).collect(),
            );
            names.push(
                plain.chars().enumerate().map(|(at, c)| if at % 2 > 0 { c } else { c.to_ascii_uppercase() }).collect(),
            );
            texts.extend(names.into_iter().map(|name| format!("level=info {name}={secret} path=/x")));
        }
        capitals[0] = words[0].to_owned();
        texts.push(format!("GET /e?page=3&{}={secret}&sort=asc HTTP/1.1", capitals.concat()));
    }
    for header in ["aUTHORIZATION: Token V", "CooKie: sid=V", "sec-WebSocket-protoCOL: V"] {
        texts.push(header.replace('V', secret));
    }
    all(texts.into_iter().map(|text| (text, secret.to_owned())));
}

#[test]
fn nested_urls_are_read_at_every_depth() {
    let secret = SECRETS[0];
    let mut texts = Vec::new();
    for inner in [
        "/e?api_key=V&x=1",
        "https://h/?page=2&access_token=V&x=1",
        "{\"api_key\":\"V\",\"x\":1}",
        "Bearer V&x",
        "a;token=V;b",
    ] {
        let mut nested = inner.to_owned();
        for _ in 0..3 {
            nested = percent(&nested, |_, byte| !byte.is_ascii_alphanumeric());
            texts.push((format!("GET /login?next={}&page=1 HTTP/1.1", nested.replace('V', secret)), secret.to_owned()));
        }
    }
    texts.retain(|(text, _)| !text.contains("Bearer"));
    all(texts.into_iter());
}

#[test]
fn headers_are_masked_in_every_form() {
    let secret = SECRETS[0];
    let basic = "c3ZjOlprN1F3MkxyOVRuWGI0Vm04UGNZZDZIczNKZkdhMVVl";
    let forms = [
        "N: §",
        "> N: §",
        "< N: §\r",
        "curl -H \"N: §\" https://h/",
        "curl -H 'N: §' -v",
        "\"N\":\"§\",\"x\":1",
        "\"N\":[\"§\"],\"x\":1",
        "{\"name\":\"N\",\"value\":\"§\"}",
        "(b'N', b'§')",
        "[\"N\", \"§\"]",
        "map[N:[§] Accept:[*/*]]",
        "headers={'N': '§', 'a': 'b'}",
        "\"raw\":\"GET / HTTP/1.1\\r\\nN: §\\r\\nHost: h\\r\\n\"",
        "msg=\"sent\" N=\"§\" path=/x",
        "N = [§]",
        "recv (stream_id=1) N: §",
        "{\"msg\":\"{\\\"N\\\":\\\"§\\\"}\"}",
        "HeaderMap {\"N\": \"§\", \"accept\": \"*/*\"}",
    ];
    let values = [
        ("Authorization", format!("Bearer {secret}")),
        ("Proxy-Authorization", format!("Basic {basic}")),
        ("authorization", format!("Token {secret}")),
        ("AUTHORIZATION", format!("bearer {secret}")),
        ("X-API-Key", secret.to_owned()),
        ("xi-api-key", secret.to_owned()),
        ("X-Auth-Token", secret.to_owned()),
        ("x-csrf-token", secret.to_owned()),
        ("My-Own-Api-Key", secret.to_owned()),
        ("X-Hub-Secret", secret.to_owned()),
        ("x-amz-security-token", format!("{secret}//////////wEaCXVz")),
    ];
    all(forms.iter().flat_map(|form| {
        values.iter().map(move |(name, value)| {
            let secret = value.rsplit(' ').next().expect("one").to_owned();
            (form.replace('§', "\u{1}").replace('N', name).replace('\u{1}', value), secret)
        })
    }));
}

#[test]
fn cookies_subprotocols_and_users_are_masked() {
    let secret = SECRETS[0];
    let texts = [
        "Cookie: theme=dark; session=V; lang=en",
        "cookie: sid=V",
        "\"Cookie\":\"a=b; connect.sid=V; c=d\"",
        "Cookie: __Secure-x=V; a=b",
        "Cookie: random=V; a=b",
        "Set-Cookie: __Host-sid=V; Path=/; HttpOnly",
        "set-cookie: anything=V; Max-Age=3600",
        "\"Set-Cookie\":[\"sid=V; Path=/\"]",
        "{\"name\":\"cookie\",\"value\":\"a=b; auth=V\"}",
        "curl -b x -H 'Cookie: sid=V; a=b' h",
        "Sec-WebSocket-Protocol: api-key.V, chat",
        "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.V",
        "Sec-WebSocket-Protocol: chat, xai-client-secret.V",
        "sec-websocket-protocol: ai-gateway-auth.V",
        "Sec-WebSocket-Protocol: cf-aig-authorization.V",
        "Sec-WebSocket-Protocol: bearer.V",
        "Sec-WebSocket-Protocol: token, V",
        "Sec-WebSocket-Protocol: bearer, V, chat",
        "Sec-WebSocket-Protocol: soniox-api-key, V",
        "Sec-WebSocket-Protocol: base64url.bearer.phx.V, v4.channel.k8s.io",
        "Sec-WebSocket-Protocol: v1.token.websocket.jupyter.org.V",
        "Sec-WebSocket-Protocol: chat, V",
        "\"Sec-Websocket-Protocol\":[\"api-key.V, chat\"]",
        "new WebSocket(url, [\"realtime\", \"openai-insecure-api-key.V\"])",
        "{\"sec-websocket-protocol\":[\"token\",\"V\"]}",
        "https://svc:V@git.example/o/r.git",
        "postgres://app:p@ssV@db/x",
        "//svc:V@h/p",
        "https:/svc:V@h/",
        "https:svc:V@h/",
        "https:///svc:V@h/",
        ":authority: svc:V@h",
        "redis://:V@cache:6379/0",
        "mongodb+srv://u:V@h1,h2/db?x=1",
        "https://V@github.com/o/r",
        "https://x-access-token:V@github.com",
        "{\"url\":\"https:\\/\\/svc:V@h\\/p\"}",
        "next=https%3A%2F%2Fsvc%3AV%40h%2Fp",
        "root:V@tcp(db:3306)/x",
        "amqp://u:V@mq/",
        "curl -u svc:V https://h",
        "curl --user 'svc:V' https://h",
        "curl -u \"svc:V\" https://h",
    ];
    all(texts.iter().map(|text| {
        (text.replace('V', secret), if text.contains("p@ssV") { format!("p@ss{secret}") } else { secret.to_owned() })
    }));
}

#[test]
fn what_tells_by_itself_is_masked_anywhere() {
    let jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.MDEyMzQ1Njc4OWFiY2RlZjAxMjM0";
    let mut tokens = vec![
        jwt.to_owned(),
        jwt[..60].to_owned(),
        format!("AIza{}", "SyZk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue"),
        "AKIAIOSFODNN7EXAMPLE".into(),
    ];
    for prefix in [
        "ghp_",
        "gho_",
        "ghs_",
        "github_pat_",
        "npm_",
        "glpat-",
        "hf_",
        "sk-",
        "sk-proj-",
        "sk-ant-",
        "xoxb-",
        "xoxp-",
        "sk_live_",
        "rk_live_",
        "whsec_",
        "ya29.",
        "ek_",
        "rt_",
        "km_",
        "kmt_",
        "ek_kmt_",
        "auth_tokens/kmt_",
    ] {
        tokens.push(format!("{prefix}Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1UeZk7Qw2Lr9TnXb4Vm8"));
    }
    let places = [
        "user presented V and was refused",
        "\"V\"",
        "x=V&y=1",
        "path/V/x",
        "a,V,b",
        "(V)",
        "{\"a\":[\"V\"]}",
        "V",
        "text\\nV\\n",
        "a%20V%20b",
    ];
    all(tokens.iter().flat_map(|token| {
        places.iter().map(move |place| {
            let secret = token
                .strip_prefix("auth_tokens/")
                .or_else(|| token.strip_prefix("ek_").filter(|rest| rest.starts_with("kmt_")))
                .unwrap_or(token);
            (place.replace('V', token), secret.to_owned())
        })
    }));
}

#[test]
fn private_keys_are_masked_to_their_end() {
    let body = "MIIEowIBAAKCAQEAx7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1UeZk7Qw2Lr9TnXb4Vm8";
    for (begin, end) in [("\n", "\n"), ("\\n", "\\n"), ("\\\\n", "\\\\n"), ("\r\n", "\r\n")] {
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
            let text =
                format!("a=1 -----BEGIN {label}-----{begin}{body}{end}{body}{end}-----END {label}-----{end}b=2\n");
            let out = redacted(text.as_bytes());
            let shown = String::from_utf8_lossy(&out);
            assert!(!leaks(&out, body) && shown.starts_with("a=1 ") && shown.ends_with("b=2\n"), "{shown}");
            let cut = &text[..text.len() - 80];
            assert!(!leaks(&redacted(cut.as_bytes()), body), "{cut:?}");
        }
    }
    let public = "-----BEGIN PUBLIC KEY-----\nMIIEowIBAAKCAQEAx7Qw2Lr9TnXb4Vm8\n-----END PUBLIC KEY-----\n";
    assert_eq!(redacted(public.as_bytes()), public.as_bytes());
}

#[test]
fn what_is_no_credential_stays() {
    let texts = [
        "commit 3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
        "ETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
        "ETag: W/\"0815\"",
        "request_id=5f0c6e1e-9c0e-4a5e-8f0b-0a1b2c3d4e5f",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"span\":\"00f067aa0ba902b7\"}",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "integrity=\"sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC\"",
        "GET /x?sort_key=price&monkey=4 HTTP/1.1",
        "keyboard=qwerty monkey=12345678 keystone=1",
        "max_tokens=4096 tokens: 512",
        "{\"usage\":{\"prompt_tokens\":12,\"total_tokens\":30}}",
        "the api key: see docs for how to rotate",
        "password policy: min length 12",
        "Password: must be at least 8 characters",
        "token: the second argument",
        "authorization: failed for user bob",
        "Authorization failed: no such user",
        "secret: not found",
        "the access token: expired yesterday",
        "token_type=bearer expires_in=3600",
        "{\"token_type\":\"bearer\",\"expires_in\":3600}",
        "tokenType: Bearer",
        "GET /@handle/posts?email=a@b.example",
        "mail bob@example.com or //example.com/@bob",
        "https://example.com:8443/@handle?x=a@b",
        "git@github.com:o/r.git",
        "contact: https://h/?email=a@b",
        "curl \"https://localhost:8000/api/events?api_key=$API_KEY\"",
        "api_key=${API_KEY}",
        "api_key={{ key }}",
        "api_key=<key>",
        "?api_key=%s&x=1",
        "password=***",
        "password=[REDACTED]",
        "api_key=[REDACTED:api_key:fp=7f3a9c01]&x=1",
        "Authorization: Bearer [REDACTED:authorization]",
        "Authorization: Bearer $TOKEN",
        "Authorization: Bearer <token>",
        "curl -H \"Authorization: Bearer ${TOKEN}\"",
        "{\"password\":null,\"token\":\"\"}",
        "api_key=os.environ[\"API_KEY\"]",
        "client = Client(api_key=api_key)",
        "api_key=settings.API_KEY,",
        "let token = parse_token(input);",
        "const apiKey = process.env.API_KEY;",
        "if password == other {",
        "--api-key <KEY>  the key to use",
        "--token  Token to use for requests",
        "use --password to set one",
        "docker run -u 1000:1000 image",
        "sort -u file",
        "week_days part_of risk-free task-1 disk-usage-report-for-all",
        "Cookie: theme=dark; lang=en",
        "Sec-WebSocket-Protocol: graphql-transport-ws, chat",
        "Sec-WebSocket-Protocol: realtime, v4.channel.k8s.io",
        "session=123456789&utm_campaign=spring",
        "GET /objects?key=photo.jpg HTTP/1.1",
        "key: value",
        "author=bob authority=x",
        "{\"required\":[\"password\",\"username\"]}",
        "2026-01-03T10:30:45Z key rotation done",
        "[\"token\", \"type\"]",
        "secretary: bob",
        "https://h/p?next=%2Fhome%3Fpage%3D2",
        "a\u{0}b \u{1b}[0m grün 日本語",
        "KEY=",
        "basic auth is off",
        "bearer of bad news",
    ];
    let changed: Vec<String> = texts
        .iter()
        .filter(|text| redacted(text.as_bytes()) != text.as_bytes())
        .map(|text| format!("{text}\n  -> {}", String::from_utf8_lossy(&redacted(text.as_bytes()))))
        .collect();
    assert!(changed.is_empty(), "{} changed:\n{}", changed.len(), changed.join("\n"));
}

#[test]
fn no_split_changes_what_comes_out() {
    for carrier in CARRIERS {
        let text = carrier.replace('N', "api_key").replace('V', SECRETS[0]) + "\nnext line, clean\n";
        let whole = in_parts(text.as_bytes(), 0);
        for split in 0..text.len() {
            assert_eq!(
                String::from_utf8_lossy(&in_parts(text.as_bytes(), split)),
                String::from_utf8_lossy(&whole),
                "{split}: {text}"
            );
        }
    }
}

#[test]
fn a_value_that_was_cut_off_is_masked_at_every_length() {
    for carrier in CARRIERS {
        let text = carrier.replace('N', "api_key").replace('V', SECRETS[0]);
        let start = text.find(SECRETS[0]).expect("it is there");
        for end in start + 8..=text.len() {
            // The reversed pair has not said its name yet.
            if carrier.starts_with("{\"value\"") {
                break;
            }
            let cut = &text.as_bytes()[..end];
            let out = redacted(cut);
            assert!(
                !leaks(&out, SECRETS[0]) || end < start + 16,
                "{:?} -> {:?}",
                &text[..end],
                String::from_utf8_lossy(&out)
            );
        }
    }
}

#[test]
fn a_finding_says_where_the_name_and_the_value_are() {
    let text = b"a line\nGET /e?next=%2Fx%3Fapi%5Fkey%3DZk7Qw2Lr9TnXb4Vm8Pc%26y HTTP/1.1\n";
    let mut findings = Vec::new();
    Finder::default().find(text, &mut |finding| findings.push(finding));
    let [finding] = findings.as_slice() else { panic!("one: {findings:?}") };
    assert_eq!(&text[finding.span.clone()], b"Zk7Qw2Lr9TnXb4Vm8Pc");
    assert_eq!(&text[finding.name.clone().expect("a name")], b"api%5Fkey");
    assert_eq!((finding.depth, finding.kind.word()), (1, Some("api_key")));
}
