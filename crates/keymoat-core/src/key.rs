//! What is known of a long-lived key, without the key itself.

use std::sync::Arc;

use crate::time::UnixMillis;

/// The scope that allows minting tokens; no route has this name.
pub const MINT: &str = "mint";

/// A key as decisions see it. The credential is not in it; the snapshot finds it by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its stable id, such as `key_7f3k…`: safe to log, and what commands name it by.
    pub id: Arc<str>,
    /// The name that a person gave it.
    pub name: Arc<str>,
    /// Where it may be used.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: UnixMillis,
    /// From when on it is refused, if ever.
    pub expires_at: Option<UnixMillis>,
    /// Since when it is revoked.
    pub revoked_at: Option<UnixMillis>,
}

/// Where a key may be used: route names, or all of them; the scope `mint` allows minting tokens and is not a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// Every route, those that come later too; also `mint`.
    All,
    /// These and no others.
    Only(Vec<Arc<str>>),
}

impl Scopes {
    /// Reads the stored list; the single entry `*` means all.
    #[must_use]
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let words: Vec<Arc<str>> = words.into_iter().map(Arc::from).collect();
        if words.iter().any(|word| &**word == "*") { Self::All } else { Self::Only(words) }
    }

    /// The list as it is stored and shown.
    #[must_use]
    pub fn words(&self) -> Vec<Arc<str>> {
        match self {
            Self::All => vec!["*".into()],
            Self::Only(words) => words.clone(),
        }
    }

    /// Whether `word` (a route's name, or `mint`) is within them.
    #[must_use]
    pub fn allow(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(words) => words.iter().any(|known| &**known == word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_allows_everything_and_a_list_only_itself() {
        assert!(Scopes::from_words(["*"]).allow("voice"));
        let some = Scopes::from_words(["voice", "mint"]);
        assert!(some.allow("voice") && some.allow("mint") && !some.allow("events"));
        assert!(!Scopes::from_words([]).allow("voice"));
    }
}
