//! Who made a credential, told by its prefix, and where it is rotated.

/// A maker of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vendor {
    /// Anthropic.
    Anthropic,
    /// Amazon Web Services.
    Aws,
    /// GitHub.
    Github,
    /// GitLab.
    Gitlab,
    /// Google.
    Google,
    /// Hugging Face.
    HuggingFace,
    /// Keymoat itself.
    Keymoat,
    /// npm.
    Npm,
    /// OpenAI, and those who took over its prefix.
    OpenAi,
    /// Slack.
    Slack,
    /// Stripe.
    Stripe,
}

/// Longer prefixes of the same beginning come first.
const PREFIXES: [(&[u8], Vendor); 29] = [
    (b"sk-ant-", Vendor::Anthropic),
    (b"sk_live_", Vendor::Stripe),
    (b"sk_test_", Vendor::Stripe),
    (b"rk_live_", Vendor::Stripe),
    (b"whsec_", Vendor::Stripe),
    (b"sk-", Vendor::OpenAi),
    (b"ek_kmt_", Vendor::Keymoat),
    (b"auth_tokens/kmt_", Vendor::Keymoat),
    (b"auth_tokens%2Fkmt_", Vendor::Keymoat),
    (b"auth_tokens%2fkmt_", Vendor::Keymoat),
    (b"kmt_", Vendor::Keymoat),
    (b"km_", Vendor::Keymoat),
    (b"ek_", Vendor::OpenAi),
    (b"AIza", Vendor::Google),
    (b"ya29.", Vendor::Google),
    (b"auth_tokens", Vendor::Google),
    (b"AKIA", Vendor::Aws),
    (b"ASIA", Vendor::Aws),
    (b"ghp_", Vendor::Github),
    (b"gho_", Vendor::Github),
    (b"ghu_", Vendor::Github),
    (b"ghs_", Vendor::Github),
    (b"ghr_", Vendor::Github),
    (b"github_pat_", Vendor::Github),
    (b"glpat-", Vendor::Gitlab),
    (b"hf_", Vendor::HuggingFace),
    (b"npm_", Vendor::Npm),
    (b"xox", Vendor::Slack),
    (b"xapp-", Vendor::Slack),
];

impl Vendor {
    /// The maker of a value, if its beginning tells.
    pub(super) fn of(value: &[u8]) -> Option<Self> {
        PREFIXES.iter().find(|(prefix, _)| value.starts_with(prefix)).map(|(_, vendor)| *vendor)
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "Anthropic",
            Self::Aws => "AWS",
            Self::Github => "GitHub",
            Self::Gitlab => "GitLab",
            Self::Google => "Google",
            Self::HuggingFace => "Hugging Face",
            Self::Keymoat => "Keymoat",
            Self::Npm => "npm",
            Self::OpenAi => "OpenAI",
            Self::Slack => "Slack",
            Self::Stripe => "Stripe",
        }
    }

    /// How the credential is made worthless.
    #[must_use]
    pub const fn rotation(self) -> &'static str {
        match self {
            Self::Anthropic => "revoke it at https://console.anthropic.com/settings/keys",
            Self::Aws => "deactivate it in IAM, under the user's security credentials",
            Self::Github => "revoke it at https://github.com/settings/tokens",
            Self::Gitlab => "revoke it under Preferences, Access tokens",
            Self::Google => "replace it at https://console.cloud.google.com/apis/credentials",
            Self::HuggingFace => "revoke it at https://huggingface.co/settings/tokens",
            Self::Keymoat => "revoke it with `keymoat key revoke`",
            Self::Npm => "revoke it with `npm token revoke`",
            Self::OpenAi => "revoke it at https://platform.openai.com/api-keys, or with whoever else issued it",
            Self::Slack => "revoke it on the app's page at https://api.slack.com/apps",
            Self::Stripe => "roll it at https://dashboard.stripe.com/apikeys",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_prefix_tells() {
        assert_eq!(Vendor::of(b"sk-ant-api03-x"), Some(Vendor::Anthropic));
        assert_eq!(Vendor::of(b"sk-proj-x"), Some(Vendor::OpenAi));
        assert_eq!(Vendor::of(b"auth_tokens/kmt_x"), Some(Vendor::Keymoat));
        assert_eq!(Vendor::of(b"3f2a"), None);
        for (at, (prefix, _)) in PREFIXES.iter().enumerate() {
            let earlier = PREFIXES.get(..at).expect("in it");
            assert!(earlier.iter().all(|(before, _)| !prefix.starts_with(before)), "{}", prefix.escape_ascii());
        }
    }
}
