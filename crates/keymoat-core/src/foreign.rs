//! The shapes of other providers' credentials, for masking them where text is shown. No decision depends on them.

use memchr::memmem;

/// How such credentials begin, and how many characters of `[A-Za-z0-9_-]` follow at least.
const SHAPES: [(&str, usize); 14] = [
    ("AIza", 30),
    ("AQ.", 20),
    ("ya29.", 20),
    ("AKIA", 16),
    ("sk-", 20),
    ("sk_", 20),
    ("ek_", 20),
    ("gsk_", 20),
    ("xai-", 20),
    ("hf_", 20),
    ("ghp_", 20),
    ("github_pat_", 20),
    ("xoxb-", 20),
    // A JSON Web Token: its header is `{"` in base64url.
    ("eyJ", 30),
];

/// Whether something in `text` looks like a credential of a provider that is known here.
pub(crate) fn is_in(text: &[u8]) -> bool {
    SHAPES.iter().any(|(prefix, tail_min)| {
        memmem::find_iter(text, prefix.as_bytes()).any(|at| {
            let starts_word = at == 0 || text.get(at - 1).is_none_or(|before| !before.is_ascii_alphanumeric());
            let tail = text.get(at + prefix.len()..).unwrap_or_default().iter();
            let tail = tail.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            // A name of many words has no digit; a random text of that length nearly always has.
            starts_word && tail.clone().count() >= *tail_min && tail.into_iter().any(u8::is_ascii_digit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_credentials_from_names() {
        for credential in [
            "AIzaSyA0b1C2d3E4f5G6h7I8j9K0l1M2n3O4p5Q",
            "before.sk-proj-abcdefghijklmnop0123456789",
            "key=ya29.a0AfH6SMBabcdefghijklmnopq",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIx",
        ] {
            assert!(is_in(credential.as_bytes()), "{credential}");
        }
        for name in [
            "AIza",
            "risk-assessment-of-the-year-2026",
            "sk-a-name-of-many-words-without-any",
            "models/gemini-2.5-flash-native-audio-preview-09-2025:generateContent",
            "eyJust-a-name",
        ] {
            assert!(!is_in(name.as_bytes()), "{name}");
        }
    }
}
