//! What somebody did to Keymoat itself: made a key, revoked a token, enforced a policy. The other kind of event beside
//! [`crate::Record`].

use std::sync::Arc;

use crate::time::UnixMillis;

/// One thing that somebody did. Never holds a credential, nor any secret that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When it was done.
    pub at: UnixMillis,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// The id or name of what it was done to.
    pub target: Option<Arc<str>>,
    /// What changed, in words: masked before it is written.
    pub detail: Option<String>,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Keymoat by itself: a date came, a limit was reached.
    Keymoat,
    /// A command on the machine, by somebody who may read the store.
    Command,
    /// An admin key or a person who signed in, by id.
    Admin(Arc<str>),
}

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// What can be done. The words are stable: they are searched for and subscribed to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word in logs, in the API and in subscriptions.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

actions! {
    /// A key was made.
    KeyCreated = "key.created",
    /// A key was taken over from elsewhere.
    KeyImported = "key.imported",
    /// A key's name, scopes, limits or dates changed.
    KeyChanged = "key.changed",
    /// A key got a second secret.
    KeyRotated = "key.rotated",
    /// A key was revoked.
    KeyRevoked = "key.revoked",
    /// A token was minted by an admin; one that a client mints is a request.
    TokenMinted = "token.minted",
    /// A token was revoked.
    TokenRevoked = "token.revoked",
    /// A live session was ended.
    SessionEnded = "session.ended",
    /// An upstream got a secret, or another one.
    UpstreamSecretSealed = "upstream.secret_sealed",
    /// An upstream's secret was removed.
    UpstreamSecretRemoved = "upstream.secret_removed",
    /// An upstream was tried.
    UpstreamTested = "upstream.tested",
    /// A route's policy was overridden.
    RouteOverridden = "route.overridden",
    /// An override was removed.
    RouteOverrideRemoved = "route.override_removed",
    /// URL keys are refused from now on, or from a date on.
    SunsetEnforced = "sunset.enforced",
    /// The configuration was read again.
    ConfigurationReloaded = "configuration.reloaded",
    /// The first admin was made by the one-time link.
    AdminClaimed = "admin.claimed",
    /// Somebody may administer.
    AdminCreated = "admin.created",
    /// Somebody's role or password changed.
    AdminChanged = "admin.changed",
    /// Somebody may administer no longer.
    AdminRemoved = "admin.removed",
    /// A person signed in.
    SignedIn = "admin.signed_in",
    /// A person signed out.
    SignedOut = "admin.signed_out",
    /// A sign-in or an admin credential was refused.
    SignInRefused = "admin.refused",
    /// The gateway started.
    Started = "keymoat.started",
    /// The gateway stopped.
    Stopped = "keymoat.stopped",
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_action_has_a_word_of_its_own() {
        let words: HashSet<&str> = Action::ALL.iter().map(|action| action.word()).collect();
        assert_eq!(words.len(), Action::ALL.len());
    }
}
