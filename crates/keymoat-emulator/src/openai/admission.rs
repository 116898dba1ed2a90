//! Who may connect or call: the API key, or a client secret where one is taken.

use http::{HeaderMap, Uri};

use super::fault::Fault;
use super::secret::{self, ClientSecret};
use crate::credential::{self, parameters};
use crate::emulator::Emulator;
use crate::websocket::End;

/// Who was let in.
#[derive(Debug)]
pub(crate) enum Caller {
    /// The holder of the API key.
    Key,
    /// The holder of a client secret, with the session that it was minted for.
    Secret(ClientSecret),
}

/// Why a caller is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No credential in a place that is read.
    Missing,
    /// A credential that is not valid.
    Invalid,
    /// A credential in the URL, where the emulator is strict; the text names the place.
    InUrl(String),
    /// The beta's shape of Realtime, which is gone.
    Beta,
    /// Neither a model nor anything else to connect to.
    NoModel,
    /// A model that is none of Realtime's.
    Model(String),
    /// A call to attach to: the emulator has none.
    Call,
}

/// A Realtime WebSocket that may be served.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    pub(crate) model: String,
}

/// Decides about a Realtime WebSocket.
pub(crate) fn socket(emulator: &Emulator, headers: &HeaderMap, uri: &Uri) -> Result<Admitted, Refused> {
    let offered = credential::subprotocols(headers);
    let caller = caller(emulator, headers, uri)?;
    let asks_for_beta =
        headers.get_all("openai-beta").iter().any(|value| credential::lossy(value.as_bytes()).contains("realtime="));
    if asks_for_beta || offered.iter().any(|entry| entry.starts_with("openai-beta.realtime")) {
        return Err(Refused::Beta);
    }
    let parameter = |wanted: &str| parameters(uri.query()).find(|(name, _)| name == wanted).map(|(_, value)| value);
    if parameter("call_id").is_some() {
        return Err(Refused::Call);
    }
    let of_secret = match &caller {
        Caller::Key => None,
        Caller::Secret(secret) => secret.model(),
    };
    let model = parameter("model").or(of_secret).ok_or(Refused::NoModel)?;
    if !is_realtime(&model) {
        return Err(Refused::Model(model));
    }
    Ok(Admitted { caller, model })
}

/// Decides about a call over HTTP, which takes the API key only.
pub(crate) fn key(emulator: &Emulator, headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
    match caller(emulator, headers, uri)? {
        Caller::Key => Ok(()),
        Caller::Secret(_) => Err(Refused::Invalid),
    }
}

/// Whether a model speaks Realtime.
pub(crate) fn is_realtime(model: &str) -> bool {
    model.starts_with("gpt-") && (model.contains("realtime") || model.starts_with("gpt-audio"))
}

fn caller(emulator: &Emulator, headers: &HeaderMap, uri: &Uri) -> Result<Caller, Refused> {
    let found = credential::find(headers, uri.query());
    if emulator.is_strict() {
        if let Some(place) = credential::in_url(&found) {
            return Err(Refused::InUrl(place.to_owned()));
        }
        if emulator.holds_key(&uri.to_string()) {
            return Err(Refused::InUrl("path or query".to_owned()));
        }
    }
    let in_header = credential::at(&found, "header:authorization");
    let in_header = in_header.map(|value| match value.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        _ => "",
    });
    let in_subprotocol = credential::at(&found, "subprotocol:openai-insecure-api-key");
    let mut copies = in_header.into_iter().chain(in_subprotocol);
    let first = copies.next().ok_or(Refused::Missing)?;
    if copies.any(|copy| copy != first) {
        return Err(Refused::Invalid);
    }
    if emulator.is_key(first) {
        return Ok(Caller::Key);
    }
    let secret = emulator.client_secrets.open(first, secret::now());
    secret.map(Caller::Secret).ok_or(Refused::Invalid)
}

impl Refused {
    /// The mistake, in the provider's words where they are known.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::new(
                "invalid_api_key",
                "You didn't provide an API key. You need to provide your API key in an Authorization header using \
                 Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            ),
            Self::Invalid => Fault::new(
                "invalid_api_key",
                "Incorrect API key provided. You can find your API key at \
                 https://platform.openai.com/account/api-keys.",
            ),
            Self::InUrl(place) => Fault::new(
                "invalid_api_key",
                format!("credential in the URL ({place}): this emulator is strict, send it as a header"),
            ),
            Self::Beta => Fault::new(
                "beta_api_shape_disabled",
                "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.",
            ),
            Self::NoModel => Fault::new("missing_model", "You must provide a model parameter."),
            Self::Model(model) => {
                let model: String = model.chars().take(64).collect();
                Fault::new("model_not_found", format!("The model '{model}' does not exist or is no Realtime model."))
            }
            Self::Call => Fault::new("call_id_not_found", "No call with this id: this emulator has none."),
        }
    }

    /// What a WebSocket is closed with after its `error` event.
    pub(crate) fn end(&self) -> End {
        let code = match self {
            Self::Missing | Self::Invalid | Self::InUrl(_) => 3000,
            Self::Beta | Self::NoModel | Self::Model(_) | Self::Call => 4000,
        };
        let word = self.fault().code.unwrap_or_default();
        End::Close(code, format!("invalid_request_error.{word}"))
    }
}
