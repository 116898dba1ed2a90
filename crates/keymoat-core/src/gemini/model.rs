//! Names of models: one spelling, compared exactly.

/// A name may be this long.
const NAME_BYTES_MAX: usize = 256;

/// The name in full: `gemini-x` becomes `models/gemini-x`. `None` for what no model can be called: other characters
/// than ASCII letters, digits and `._-`, empty segments, `..`.
pub(super) fn canonical(name: &str) -> Option<String> {
    let fits = |segment: &str| {
        !segment.is_empty()
            && !segment.starts_with('.')
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    if name.len() > NAME_BYTES_MAX || !name.split('/').all(fits) {
        return None;
    }
    Some(if name.contains('/') { name.to_owned() } else { format!("models/{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e69_only_the_short_spelling_is_another_one_of_the_same_model() {
        assert_eq!(canonical("x-1.5").as_deref(), Some("models/x-1.5"));
        for whole in ["models/x", "tunedModels/x", "projects/p/locations/l/publishers/google/models/x", "models/X"] {
            assert_eq!(canonical(whole).as_deref(), Some(whole));
        }
        for bad in [
            "",
            "models/",
            "/x",
            "models/x ",
            " models/x",
            "models/x/../y",
            "models//x",
            "models/\u{445}",
            "x\0",
            "models/x?y",
            "models/%78",
        ] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
        assert_eq!(canonical(&"x".repeat(257)), None);
    }
}
