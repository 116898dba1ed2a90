//! What somebody may do on the admin listener.

/// How much somebody may do there. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks, and changes nothing.
    Viewer,
    /// Makes, changes and ends keys, tokens and sessions, and steers the routes.
    Operator,
    /// Also says who may administer, and sets the upstreams' secrets.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word in the API and in the store.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// Whether whoever has this role may do what needs `needed`.
    #[must_use]
    pub fn may(self, needed: Self) -> bool {
        self >= needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        for (at, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(Role::from_word(role.word()), Some(role));
            for (other_at, other) in Role::ALL.into_iter().enumerate() {
                assert_eq!(role.may(other), at >= other_at);
            }
        }
        assert_eq!(Role::from_word("root"), None);
    }
}
