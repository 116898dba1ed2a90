//! The formats of Keymoat's credentials: a prefix, 43 base62 characters of randomness, and 6 of CRC-32.
//!
//! ```text
//! km_  + 43 + 6    a long-lived key
//! kmt_ + 43 + 6    a token; also written auth_tokens/kmt_… and ek_kmt_…, where an SDK looks at the prefix
//! kma_ + 43 + 6    an admin credential, never taken with data
//! ```
//! The checksum finds typing errors and makes scanning exact. It protects nothing: anyone can compute it.

use memchr::memmem;
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use crate::mistake::Mistake;
use crate::secret::Secret;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BODY: usize = 43;
const CHECK: usize = 6;

/// The length of a token, the longer of the two.
const WHOLE_MAX: usize = 4 + BODY + CHECK;

/// So many base62 characters after a prefix look enough like a credential to be masked and stripped.
const LOOKALIKE_MIN: usize = 16;

/// What a credential of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A long-lived key.
    Key,
    /// A short-lived token.
    Token,
    /// What opens the admin listener, and nothing else.
    Admin,
}

impl Kind {
    /// What its canonical form starts with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Key => "km_",
            Self::Token => "kmt_",
            Self::Admin => "kma_",
        }
    }
}

/// How a token was written; all spellings are one credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `kmt_…`
    Plain,
    /// `auth_tokens/kmt_…`, as Google's SDKs want it.
    AuthTokens,
    /// `ek_kmt_…`, as OpenAI's SDKs want it.
    Ek,
}

impl Spelling {
    /// What stands before the canonical form.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::AuthTokens => "auth_tokens/",
            Self::Ek => "ek_",
        }
    }
}

/// What a credential looks like, from its text alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A well-formed key.
    Key,
    /// A well-formed token.
    Token {
        /// How it was written.
        spelling: Spelling,
    },
    /// Almost one of ours.
    NearMiss(NearMiss),
    /// Nothing of ours: perhaps a key that was imported.
    Foreign,
}

impl Shape {
    /// Whether it is a token, well-formed or almost.
    #[must_use]
    pub const fn is_of_token(self) -> bool {
        match self {
            Self::Token { .. } => true,
            Self::NearMiss(miss) => miss.kind_is_token(),
            Self::Key | Self::Foreign => false,
        }
    }
}

/// Why a credential is almost one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NearMiss {
    /// The checksum differs.
    Checksum(Kind),
    /// Too short or too long.
    Length(Kind),
    /// A character that base62 does not have.
    Alphabet(Kind),
    /// `authTokens/…` or another almost-spelling of `auth_tokens/`.
    TokenSpelling,
    /// It is percent-encoded once more than it should be.
    Encoded,
    /// A key in a token's spelling.
    KeyAsToken,
    /// An admin credential.
    Admin,
}

impl NearMiss {
    /// What to do about it, for the client; the text depends on nothing but what was presented.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        self.mistake().text()
    }

    /// The mistake that it is.
    #[must_use]
    pub const fn mistake(self) -> Mistake {
        match self {
            Self::Checksum(_) => Mistake::KeyChecksum,
            Self::Length(_) => Mistake::KeyLength,
            Self::Alphabet(_) => Mistake::KeyAlphabet,
            Self::TokenSpelling => Mistake::TokenSpelling,
            Self::Encoded => Mistake::Encoded,
            Self::KeyAsToken => Mistake::KeyAsToken,
            Self::Admin => Mistake::AdminCredential,
        }
    }

    const fn kind_is_token(self) -> bool {
        match self {
            Self::Checksum(kind) | Self::Length(kind) | Self::Alphabet(kind) => matches!(kind, Kind::Token),
            Self::TokenSpelling | Self::Encoded => true,
            Self::KeyAsToken | Self::Admin => false,
        }
    }
}

/// Makes a new credential. `random` fills the slice that it is given with bytes of a cryptographic generator.
///
/// Bytes of 248 and more are drawn again, so that every character is equally likely.
pub fn generate(kind: Kind, random: &mut dyn FnMut(&mut [u8])) -> Secret {
    let prefix = kind.prefix().as_bytes();
    let mut text = Vec::with_capacity(prefix.len() + BODY + CHECK);
    text.extend_from_slice(prefix);
    let mut drawn = Zeroizing::new([0u8; 64]);
    while text.len() < prefix.len() + BODY {
        random(drawn.as_mut_slice());
        let missing = prefix.len() + BODY - text.len();
        text.extend(drawn.iter().filter(|byte| **byte < 248).take(missing).map(|byte| digit(u32::from(*byte))));
    }
    let check = checksum(&text);
    text.extend_from_slice(&check);
    Secret::new(text)
}

/// What everybody may be shown of `credential` for good: what all keys of Keymoat's form begin with. All that follows in such
/// a key is secret; of one that came from elsewhere nobody knows which part is not.
#[must_use]
pub fn public_prefix(credential: &Secret) -> Option<&'static str> {
    matches!(shape(credential), Shape::Key).then(|| Kind::Key.prefix())
}

/// Says what `credential` looks like.
#[must_use]
pub fn shape(credential: &Secret) -> Shape {
    // Only the shape leaves this function.
    shape_of(credential.expose())
}

/// Whether `credential` is a well-formed admin credential. Everywhere else it is a [`NearMiss::Admin`].
#[must_use]
pub fn is_admin(credential: &Secret) -> bool {
    // Only whether it is well-formed leaves this function.
    is_admin_text(credential.expose())
}

/// Brings a credential into the form that is digested, without a token's dialect spelling, and says what it looks like.
#[must_use]
pub fn canonical(credential: Secret) -> (Secret, Shape) {
    let shape = shape(&credential);
    let Shape::Token { spelling: spelling @ (Spelling::AuthTokens | Spelling::Ek) } = shape else {
        return (credential, shape);
    };
    // The part behind the spelling is copied into a new secret; the old one is zeroized here.
    let bare = credential.expose().get(spelling.prefix().len()..).unwrap_or_default();
    (Secret::new(bare.to_vec()), shape)
}

/// Whether something in `text` looks like a credential of ours: a prefix and at least 16 base62 characters.
#[must_use]
pub fn is_in(text: &[u8]) -> bool {
    if text.len() < "km_".len() + LOOKALIKE_MIN {
        return false;
    }
    memmem::find_iter(text, b"km").any(|at| {
        let rest = text.get(at + 2..).unwrap_or_default();
        let rest = rest.strip_prefix(b"t").or_else(|| rest.strip_prefix(b"a")).unwrap_or(rest);
        let Some(body) = rest.strip_prefix(b"_") else { return false };
        body.len() >= LOOKALIKE_MIN && body.iter().take(LOOKALIKE_MIN).all(u8::is_ascii_alphanumeric)
    })
}

/// Whether a whole, well-formed credential of ours can be read in `text`: too much for chance.
#[must_use]
pub fn is_whole_in(text: &[u8]) -> bool {
    crate::disguise::any_reading(text, &mut |reading| {
        memmem::find_iter(reading, b"km").any(|at| {
            // No longer than it can be, so that a hostile text costs no more than its length.
            let rest = reading.get(at..(at + WHOLE_MAX + 1).min(reading.len())).unwrap_or_default();
            let end =
                rest.iter().skip(4).position(|byte| !byte.is_ascii_alphanumeric()).map_or(rest.len(), |end| end + 4);
            let word = rest.get(..end).unwrap_or_default();
            matches!(shape_of(word), Shape::Key | Shape::Token { .. }) || is_admin_text(word)
        })
    })
}

fn is_admin_text(bytes: &[u8]) -> bool {
    bytes.strip_prefix(Kind::Admin.prefix().as_bytes()).is_some_and(|tail| fault(bytes, tail, Kind::Admin).is_none())
}

fn shape_of(bytes: &[u8]) -> Shape {
    let (spelling, rest) = [Spelling::AuthTokens, Spelling::Ek]
        .into_iter()
        .find_map(|spelling| Some((spelling, bytes.strip_prefix(spelling.prefix().as_bytes())?)))
        .unwrap_or((Spelling::Plain, bytes));
    if let Some(tail) = rest.strip_prefix(Kind::Token.prefix().as_bytes()) {
        return match fault(rest, tail, Kind::Token) {
            None => Shape::Token { spelling },
            Some(miss) => Shape::NearMiss(miss),
        };
    }
    if let Some(tail) = rest.strip_prefix(Kind::Key.prefix().as_bytes()) {
        return match fault(rest, tail, Kind::Key) {
            None if spelling == Spelling::Plain => Shape::Key,
            None => Shape::NearMiss(NearMiss::KeyAsToken),
            Some(miss) => Shape::NearMiss(miss),
        };
    }
    if rest.starts_with(Kind::Admin.prefix().as_bytes()) {
        return Shape::NearMiss(NearMiss::Admin);
    }
    if is_encoded(bytes) {
        return Shape::NearMiss(NearMiss::Encoded);
    }
    if spelling == Spelling::Plain && is_almost_auth_tokens(bytes) {
        return Shape::NearMiss(NearMiss::TokenSpelling);
    }
    Shape::Foreign
}

fn fault(whole: &[u8], tail: &[u8], kind: Kind) -> Option<NearMiss> {
    if !tail.iter().all(u8::is_ascii_alphanumeric) {
        return Some(NearMiss::Alphabet(kind));
    }
    if tail.len() != BODY + CHECK {
        return Some(NearMiss::Length(kind));
    }
    let (text, check) = whole.split_at(whole.len() - CHECK);
    (checksum(text) != check).then_some(NearMiss::Checksum(kind))
}

/// Whether one or two further decodings give something of ours.
fn is_encoded(bytes: &[u8]) -> bool {
    let mut reading = Zeroizing::new(bytes.to_vec());
    for _ in 0..2 {
        if !reading.contains(&b'%') {
            return false;
        }
        reading = Zeroizing::new(percent_decode(&reading).collect());
        if reading.starts_with(Spelling::AuthTokens.prefix().as_bytes()) || is_in(&reading) {
            return true;
        }
    }
    false
}

fn is_almost_auth_tokens(bytes: &[u8]) -> bool {
    let Some(slash) = bytes.iter().position(|byte| *byte == b'/') else { return false };
    let word: Vec<u8> = bytes.iter().take(slash.min(16)).filter(|byte| byte.is_ascii_alphanumeric()).copied().collect();
    word.eq_ignore_ascii_case(b"authtokens") || word.eq_ignore_ascii_case(b"authtoken")
}

/// The zlib CRC-32 of `text` in base62, most significant digit first.
fn checksum(text: &[u8]) -> [u8; CHECK] {
    let mut rest = crc32fast::hash(text);
    let mut digits = [b'0'; CHECK];
    for place in digits.iter_mut().rev() {
        *place = digit(rest);
        rest /= 62;
    }
    digits
}

/// The base62 digit of `value` modulo 62.
fn digit(value: u32) -> u8 {
    ALPHABET.get((value % 62) as usize).copied().unwrap_or(b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape_text(text: &str) -> Shape {
        shape(&Secret::from(text))
    }

    #[test]
    fn the_published_check_values_hold() {
        let body = "TestVector0TestVector0TestVector0TestVector";
        let zeros = "0".repeat(43);
        assert_eq!(shape_text(&format!("km_{body}02cu8n")), Shape::Key);
        assert_eq!(shape_text(&format!("kmt_{body}13nLa6")), Shape::Token { spelling: Spelling::Plain });
        assert_eq!(shape_text(&format!("km_{zeros}1NLtxW")), Shape::Key);
        assert_eq!(shape_text(&format!("kmt_{zeros}23nMur")), Shape::Token { spelling: Spelling::Plain });
    }

    #[test]
    fn a_token_has_three_spellings_and_one_canonical_form() {
        let plain = format!("kmt_{}23nMur", "0".repeat(43));
        for (prefix, spelling) in [("auth_tokens/", Spelling::AuthTokens), ("ek_", Spelling::Ek), ("", Spelling::Plain)]
        {
            let (bare, shape) = canonical(Secret::from(format!("{prefix}{plain}")));
            assert_eq!(shape, Shape::Token { spelling });
            assert!(bare.matches(&Secret::from(plain.as_str())));
        }
        assert_eq!(shape_text(&format!("ek_auth_tokens/{plain}")), Shape::Foreign);
    }

    #[test]
    fn near_misses_are_told_apart() {
        let body = "TestVector0TestVector0TestVector0TestVector";
        for (text, miss) in [
            (format!("km_{body}02cu8m"), NearMiss::Checksum(Kind::Key)),
            (format!("kmt_{body}02cu8n"), NearMiss::Checksum(Kind::Token)),
            (format!("km_{body}02cu8"), NearMiss::Length(Kind::Key)),
            (format!("km_{body}02cu8n9"), NearMiss::Length(Kind::Key)),
            (String::from("kmt_"), NearMiss::Length(Kind::Token)),
            (format!("km_{body}02cu8-"), NearMiss::Alphabet(Kind::Key)),
            (format!("authTokens/kmt_{body}13nLa6"), NearMiss::TokenSpelling),
            (format!("auth-tokens/kmt_{body}13nLa6"), NearMiss::TokenSpelling),
            (format!("auth_tokens%2Fkmt_{body}13nLa6"), NearMiss::Encoded),
            (format!("auth_tokens%252Fkmt_{body}13nLa6"), NearMiss::Encoded),
            (format!("ek_km_{body}02cu8n"), NearMiss::KeyAsToken),
            (format!("kma_{body}000000"), NearMiss::Admin),
        ] {
            assert_eq!(shape_text(&text), Shape::NearMiss(miss), "{text}");
        }
        for foreign in ["", "sk-proj-abc", "AIzaSyX", "dGVzdA==", "km", "auth_tokens/0123abcd", "100%"] {
            assert_eq!(shape_text(foreign), Shape::Foreign, "{foreign}");
        }
    }

    #[test]
    fn looks_for_credentials_inside_text() {
        assert!(is_in(b"x=km_0123456789abcdef;"));
        assert!(is_in(b"auth_tokens/kmt_0123456789abcdef"));
        assert!(is_in(b"km km_ kma_0123456789abcdefghi"));
        assert!(!is_in(b"km_0123456789abcde"));
        assert!(!is_in(b"kmx_0123456789abcdef"));
    }

    #[test]
    fn a_whole_credential_inside_text_is_told_from_a_lookalike() {
        let key = format!("km_{}1NLtxW", "0".repeat(43));
        let token = format!("kmt_{}23nMur", "0".repeat(43));
        for text in [key.clone(), format!("/a/{key}/b"), format!("/{token}"), format!("/auth_tokens%2F{token}%20x")] {
            assert!(is_whole_in(text.as_bytes()), "{text}");
        }
        for text in
            [format!("/{key}0"), format!("/{token}0"), key.replace("1N", "1M"), format!("/km_{}", "0".repeat(30))]
        {
            assert!(!is_whole_in(text.as_bytes()), "{text}");
        }
        assert!(!is_whole_in("km".repeat(4096).as_bytes()));
    }

    #[test]
    fn characters_are_drawn_without_bias() {
        // Bytes of 248 and more are skipped: a generator that gives them first changes nothing.
        let mut next = 240u8;
        let secret = generate(Kind::Key, &mut |slice| {
            for byte in slice {
                *byte = next;
                next = next.wrapping_add(1);
            }
        });
        // Byte 240 is digit 54; the run goes on with 247 (digit 61), then 0.
        assert!(secret.expose().starts_with(b"km_stuvwxyz0123456789AB"));
        assert_eq!(shape(&secret), Shape::Key);
    }

    proptest! {
        #[test]
        fn an_admin_credential_is_well_formed_and_none_of_the_others(seed in any::<u64>()) {
            let mut state = seed;
            let mut random = |slice: &mut [u8]| for byte in slice {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            };
            let secret = generate(Kind::Admin, &mut random);
            prop_assert!(is_admin(&secret) && is_whole_in(secret.expose()));
            prop_assert_eq!(shape(&secret), Shape::NearMiss(NearMiss::Admin));
            let (key, token) = (generate(Kind::Key, &mut random), generate(Kind::Token, &mut random));
            prop_assert!(!is_admin(&key) && !is_admin(&token));
        }

        #[test]
        fn what_is_generated_is_well_formed(seed in any::<u64>(), token in any::<bool>()) {
            let mut state = seed;
            let mut random = |slice: &mut [u8]| for byte in slice {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            };
            let (kind, len) = if token { (Kind::Token, 53) } else { (Kind::Key, 52) };
            let secret = generate(kind, &mut random);
            prop_assert_eq!(secret.len(), len);
            let (again, shape) = canonical(secret);
            prop_assert_eq!(matches!(shape, Shape::Token { .. }), token);
            prop_assert_eq!(matches!(shape, Shape::Key), !token);
            prop_assert!(is_in(again.expose()));
        }

        #[test]
        fn any_text_has_a_shape(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = canonical(Secret::new(bytes));
        }
    }
}
