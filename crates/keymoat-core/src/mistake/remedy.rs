//! What to send instead, for each kind of client.
//!
//! Placeholders only: a credential is never put into one of these texts.

use crate::route::Dialect;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// A page in a browser.
    Browser,
    /// React Native, whose `WebSocket` takes headers.
    ReactNative,
    /// Python, with the provider's SDK or `websockets`.
    Python,
    /// curl, and `keymoat ws` for WebSockets.
    Curl,
}

impl Client {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Browser, Self::ReactNative, Self::Python, Self::Curl];

    /// The word in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::ReactNative => "react_native",
            Self::Python => "python",
            Self::Curl => "curl",
        }
    }

    /// As a person reads it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::ReactNative => "React Native",
            Self::Python => "Python",
            Self::Curl => "curl",
        }
    }
}

/// The right way to send one kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Remedy {
    /// A key or token of an API that follows no provider.
    Key,
    /// An API key for Gemini.
    GeminiKey,
    /// An ephemeral token for Gemini Live.
    GeminiToken,
    /// A key or client secret for OpenAI Realtime.
    OpenAi,
}

impl Remedy {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Key, Self::GeminiKey, Self::GeminiToken, Self::OpenAi];

    /// The one for a long-lived key of this dialect.
    #[must_use]
    pub const fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Generic => Self::Key,
            Dialect::Gemini => Self::GeminiKey,
            Dialect::OpenAi => Self::OpenAi,
        }
    }

    /// The stable word for it.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::GeminiKey => "gemini-key",
            Self::GeminiToken => "gemini-token",
            Self::OpenAi => "openai",
        }
    }

    /// What it is about.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Key => "a key, to an API behind Keymoat",
            Self::GeminiKey => "an API key, to Gemini",
            Self::GeminiToken => "an ephemeral token, to Gemini Live",
            Self::OpenAi => "a key or client secret, to OpenAI Realtime",
        }
    }

    /// Code for `client`, lines without a line end at the last.
    #[must_use]
    pub const fn code(self, client: Client) -> &'static str {
        match (self, client) {
            (Self::Key, Client::Browser) => {
                "new WebSocket('wss://gateway.example/ws/events', ['keymoat.v1', 'api-key.' + key])\n\
                 fetch('https://gateway.example/api/events', { headers: { 'X-API-Key': key } })"
            }
            (Self::Key, Client::ReactNative) => {
                "new WebSocket('wss://gateway.example/ws/events', [], { headers: { Authorization: `Bearer ${key}` } })"
            }
            (Self::Key, Client::Python) => {
                "websockets.connect(\"wss://gateway.example/ws/events\",\n    \
                 additional_headers={\"Authorization\": f\"Bearer {key}\"})"
            }
            (Self::Key, Client::Curl) => {
                "curl -H \"X-API-Key: $(cat key.txt)\" https://gateway.example/api/events\n\
                 keymoat ws wss://gateway.example/ws/events --secret-file key.txt"
            }
            (Self::GeminiKey, Client::Browser) => {
                "// no API key into a page: let your backend mint a token and connect with that, see gemini-token"
            }
            (Self::GeminiKey, Client::ReactNative) => {
                "// no API key into an app either: let your backend mint a token and connect with that, see gemini-token"
            }
            (Self::GeminiKey, Client::Python) => {
                "# google-genai 2.9.0 or later sends the key in x-goog-api-key only, for Live Music too\n\
                 genai.Client(api_key=key)\n\
                 # through Keymoat, with a key of Keymoat\n\
                 genai.Client(api_key=key, http_options=types.HttpOptions(base_url=\"https://gateway.example\"))"
            }
            (Self::GeminiKey, Client::Curl) => {
                "curl -H \"x-goog-api-key: $(cat key.txt)\" https://generativelanguage.googleapis.com/v1beta/models\n\
                 keymoat ws wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.\
                 GenerativeService.BidiGenerateContent \\\n    --carrier header:x-goog-api-key --secret-file key.txt"
            }
            (Self::GeminiToken, Client::Browser) => {
                "// straight to Google a page has the URL only: one use, a short life, and no logs of it\n\
                 const path = 'google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained';\n\
                 new WebSocket(`wss://generativelanguage.googleapis.com/ws/${path}?access_token=${token}`)\n\
                 // through Keymoat, with a token of Keymoat, nothing stands in the URL\n\
                 new WebSocket(`wss://gateway.example/ws/${path}`,\n    \
                 ['keymoat.v1', 'api-key.' + token.replace('auth_tokens/', '')])"
            }
            (Self::GeminiToken, Client::ReactNative) => {
                "// token is 'auth_tokens/…' as it was minted, not percent-encoded\n\
                 const path = 'google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained';\n\
                 const ws = new WebSocket(`wss://generativelanguage.googleapis.com/ws/${path}`, [],\n    \
                 { headers: { Authorization: `Token ${token}` } });\n\
                 ws.onopen = () => ws.send(JSON.stringify({ setup: { model: 'models/…' } }));\n\
                 // through Keymoat the same with wss://gateway.example/ws/…, either method, Token or Bearer"
            }
            (Self::GeminiToken, Client::Python) => {
                "# the SDK chooses method and header by itself when the key begins with auth_tokens/\n\
                 client = genai.Client(api_key=token, http_options={\"api_version\": \"v1alpha\"})\n\
                 async with client.aio.live.connect(model=model) as session: ..."
            }
            (Self::GeminiToken, Client::Curl) => {
                "keymoat ws wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1alpha.\
                 GenerativeService.BidiGenerateContentConstrained \\\n    --carrier token --secret-file token.txt"
            }
            (Self::OpenAi, Client::Browser) => {
                "// a client secret (ek_…) that your backend has minted, never a key\n\
                 new WebSocket('wss://api.openai.com/v1/realtime?model=…',\n    \
                 ['realtime', 'openai-insecure-api-key.' + clientSecret])\n\
                 // through Keymoat the same with wss://gateway.example/v1/realtime?model=… and a token of Keymoat"
            }
            (Self::OpenAi, Client::ReactNative) => {
                "new WebSocket('wss://api.openai.com/v1/realtime?model=…', ['realtime'],\n    \
                 { headers: { Authorization: `Bearer ${clientSecret}` } })"
            }
            (Self::OpenAi, Client::Python) => {
                "client = AsyncOpenAI(api_key=key)   # through Keymoat: base_url=\"https://gateway.example/v1\"\n\
                 async with client.realtime.connect(model=model) as connection: ..."
            }
            (Self::OpenAi, Client::Curl) => {
                "curl -H \"Authorization: Bearer $(cat key.txt)\" https://api.openai.com/v1/models\n\
                 keymoat ws 'wss://api.openai.com/v1/realtime?model=…' --secret-file key.txt"
            }
        }
    }
}
