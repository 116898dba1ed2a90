//! What stands where a credential belongs: a key, a token, nothing, or a name for one.

use keymoat_core::Secret;
use keymoat_core::format::{self, NearMiss, Shape};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// What a value is, without the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Empty, `undefined`, `null`, `None`.
    Nothing,
    /// `auth_tokens/…`, not of Keymoat.
    GoogleToken,
    /// A key or token of Keymoat.
    Keymoat {
        /// Whether it is a token.
        token: bool,
    },
    /// Almost one of Keymoat's, or a token that is misspelt.
    NearMiss(NearMiss),
    /// `AIza…`, `AQ.…`
    GoogleKey,
    /// `sk-…`
    OpenAiKey,
    /// `ek_…`
    OpenAiToken,
    /// A variable or placeholder.
    Named {
        /// Whether its name speaks of a token or client secret.
        token: bool,
        /// Whether its name says that it was encoded.
        encoded: bool,
    },
    /// `ya29.…`, a token of OAuth.
    OAuth,
    /// Something else.
    Other,
}

impl What {
    /// Reads a value that stands behind no encoding.
    pub(super) fn of(value: &str) -> Self {
        let value = value.trim().trim_matches(['"', '\'', '`']).trim();
        if matches!(value, "" | "undefined" | "null" | "None" | "nil" | "NaN" | "[object Object]" | "${undefined}") {
            return Self::Nothing;
        }
        if is_placeholder(value) {
            let lower = Zeroizing::new(value.to_ascii_lowercase());
            let token = ["token", "ephemeral", "clientsecret", "client_secret", "ek_"];
            return match lower.starts_with("authtokens") || lower.starts_with("auth-tokens") {
                true => Self::NearMiss(NearMiss::TokenSpelling),
                false => Self::Named {
                    token: token.iter().any(|word| lower.contains(word)),
                    encoded: lower.contains("encode"),
                },
            };
        }
        match format::shape(&Secret::new(value.as_bytes().to_vec())) {
            Shape::Key => Self::Keymoat { token: false },
            Shape::Token { .. } => Self::Keymoat { token: true },
            Shape::NearMiss(miss) => Self::NearMiss(miss),
            Shape::Foreign if value.starts_with("auth_tokens/") => Self::GoogleToken,
            Shape::Foreign if value.starts_with("AIza") || value.starts_with("AQ.") => Self::GoogleKey,
            Shape::Foreign if value.starts_with("sk-") => Self::OpenAiKey,
            Shape::Foreign if value.starts_with("ek_") => Self::OpenAiToken,
            Shape::Foreign if value.starts_with("ya29.") => Self::OAuth,
            Shape::Foreign => Self::Other,
        }
    }

    /// Reads the value of a query parameter, which is percent-encoded once.
    pub(super) fn of_parameter(value: &str) -> Self {
        let decoded = Zeroizing::new(percent_decode_str(value).decode_utf8_lossy().into_owned());
        match Self::of(&decoded) {
            // In a URL an encoded variable is what it should be.
            Self::Named { token, .. } => Self::Named { token, encoded: false },
            what => what,
        }
    }

    /// Whether it is a token, as far as can be told.
    pub(super) const fn is_token(self) -> bool {
        match self {
            Self::GoogleToken | Self::OpenAiToken => true,
            Self::Keymoat { token } | Self::Named { token, .. } => token,
            Self::NearMiss(miss) => matches!(miss, NearMiss::TokenSpelling | NearMiss::Encoded),
            Self::Nothing | Self::GoogleKey | Self::OpenAiKey | Self::OAuth | Self::Other => false,
        }
    }

    /// Whether it is of Keymoat, well-formed or not.
    pub(super) const fn is_of_keymoat(self) -> bool {
        match self {
            Self::Keymoat { .. } => true,
            Self::NearMiss(miss) => !matches!(miss, NearMiss::TokenSpelling | NearMiss::Encoded),
            _ => false,
        }
    }

    /// Whether it is surely a credential, wherever it stands.
    pub(super) const fn is_certain(self) -> bool {
        !matches!(self, Self::Nothing | Self::Other | Self::Named { .. })
    }
}

/// Whether it only stands for a value: a variable, or what documentation writes.
fn is_placeholder(value: &str) -> bool {
    let lower = Zeroizing::new(value.to_ascii_lowercase());
    ["${", "{", "<", "$", "…", "...", "your", "xxx"].iter().any(|sign| lower.contains(sign))
}
