//! The shapes of other providers' credentials, for masking them where text is shown. No decision depends on them.

/// How such credentials begin, and how many characters of `[A-Za-z0-9_-]` follow at least.
const SHAPES: [(&[u8], usize); 14] = [
    (b"AIza", 30),
    (b"AQ.", 20),
    (b"ya29.", 20),
    (b"AKIA", 16),
    (b"sk-", 20),
    (b"sk_", 20),
    (b"ek_", 20),
    (b"gsk_", 20),
    (b"xai-", 20),
    (b"hf_", 20),
    (b"ghp_", 20),
    (b"github_pat_", 20),
    (b"xoxb-", 20),
    // A JSON Web Token: its header is `{"` in base64url.
    (b"eyJ", 30),
];

/// The shortest of them.
const WHOLE_MIN: usize = 20;

/// Whether something in `text` looks like a credential of a provider that is known here.
pub(crate) fn is_in(text: &[u8]) -> bool {
    let mut before = b' ';
    for at in 0..(text.len() + 1).saturating_sub(WHOLE_MIN) {
        let rest = text.get(at..).unwrap_or_default();
        if !before.is_ascii_alphanumeric() && starts(rest) {
            return true;
        }
        before = rest.first().copied().unwrap_or_default();
    }
    false
}

fn starts(text: &[u8]) -> bool {
    SHAPES.iter().any(|(prefix, tail_min)| {
        let Some(rest) = text.strip_prefix(*prefix) else { return false };
        let tail = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        // A name of many words has no digit; a random text of that length nearly always has.
        tail.clone().count() >= *tail_min && tail.into_iter().any(u8::is_ascii_digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_credentials_from_names() {
        for credential in [
            "AIzaSyA0b1C2d3E4f5G6h7I8j9K0l1M2n3O4p5Q",
            "AKIA0123456789ABCDEF",
            "before.sk-proj-abcdefghijklmnop0123456789",
            "key=ya29.a0AfH6SMBabcdefghijklmnopq",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIx",
        ] {
            assert!(is_in(credential.as_bytes()), "{credential}");
        }
        for name in [
            "",
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
