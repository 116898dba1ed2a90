//! What was found: where, under which name, in which carrier, and how sure that is.

use std::ops::Range;

/// What a credential is, which is what stands in its place: `[REDACTED:api_key]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A long-lived key of an API.
    ApiKey,
    /// A key that signs, encrypts or opens storage.
    AccessKey,
    /// The public half of a pair that identifies an account, such as `AKIA…`.
    AccessKeyId,
    /// A shared secret.
    Secret,
    /// What a person or service proves itself with.
    Password,
    /// A token of any lifetime.
    Token,
    /// A signature, which is as good as a key until it expires.
    Signature,
    /// A credential that says no more about itself.
    Credential,
    /// What stands in an `Authorization` header.
    Authorization,
    /// The value of a cookie.
    Cookie,
    /// A credential among WebSocket subprotocols.
    Subprotocol,
    /// A JSON Web Token.
    Jwt,
    /// A private key in PEM.
    PrivateKey,
    /// A key or token of Keymoat itself.
    Keymoat,
    /// One of the secrets that were registered.
    Known,
    /// What was longer than the caps allow.
    Oversize,
    /// What the user's own rule with this index matched.
    User(u16),
}

impl Kind {
    /// The mark without a fingerprint; `None` for a user's rule.
    pub(crate) const fn mark(self) -> Option<&'static str> {
        macro_rules! mark {
            ($word:literal) => {
                Some(concat!("[REDACTED:", $word, "]"))
            };
        }
        match self {
            Self::ApiKey => mark!("api_key"),
            Self::AccessKey => mark!("access_key"),
            Self::AccessKeyId => mark!("access_key_id"),
            Self::Secret => mark!("secret"),
            Self::Password => mark!("password"),
            Self::Token => mark!("token"),
            Self::Signature => mark!("signature"),
            Self::Credential => mark!("credential"),
            Self::Authorization => mark!("authorization"),
            Self::Cookie => mark!("cookie"),
            Self::Subprotocol => mark!("subprotocol"),
            Self::Jwt => mark!("jwt"),
            Self::PrivateKey => mark!("private_key"),
            Self::Keymoat => mark!("keymoat"),
            Self::Known => mark!("known"),
            Self::Oversize => mark!("oversize"),
            Self::User(_) => None,
        }
    }

    /// The word in the mark; `None` for a user's rule, whose word is its name.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        self.mark()?.strip_prefix("[REDACTED:")?.strip_suffix(']')
    }
}

/// Where in the text a credential stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Carrier {
    /// A parameter of a URL's query, fragment or matrix, or of a form.
    Query,
    /// `name=value`, as in logfmt, environment files and configuration.
    Assignment,
    /// A member of JSON, or of a literal in Python, Rust, Go or JavaScript.
    Member,
    /// `name: value` in YAML or prose.
    Entry,
    /// A header.
    Header,
    /// A pair in `Cookie`, or the first of `Set-Cookie`.
    Cookie,
    /// An entry of `Sec-WebSocket-Protocol`.
    Subprotocol,
    /// The user or password in front of a host.
    Userinfo,
    /// An option of a command line.
    Flag,
    /// An XML element.
    Element,
    /// A part of a multipart form.
    Multipart,
    /// An object with a name and a value, as in HAR.
    Pair,
    /// A tuple of a header's name and value.
    Tuple,
    /// The value tells by itself: a prefix, a JWT, a scheme word in front.
    Bare,
    /// A PEM block.
    Pem,
    /// A registered secret, wherever it stood.
    Known,
    /// A user's rule.
    Rule,
}

impl Carrier {
    /// The word for reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Assignment => "assignment",
            Self::Member => "member",
            Self::Entry => "entry",
            Self::Header => "header",
            Self::Cookie => "cookie",
            Self::Subprotocol => "subprotocol",
            Self::Userinfo => "userinfo",
            Self::Flag => "flag",
            Self::Element => "element",
            Self::Multipart => "multipart",
            Self::Pair => "pair",
            Self::Tuple => "tuple",
            Self::Bare => "bare",
            Self::Pem => "pem",
            Self::Known => "known",
            Self::Rule => "rule",
        }
    }
}

/// How sure a finding is. The redactor masks all of them; a report may sort by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// Only the value's shape speaks for it.
    Shape,
    /// A name, header or prefix says so.
    Named,
    /// A checksum holds, or the secret is a registered one.
    Proven,
}

/// What the checksum inside a value says. It never cancels masking: a mistyped key is still nearly a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The form has none that is known.
    None,
    /// It holds.
    Holds,
    /// It does not.
    Fails,
}

/// One credential in a text. Positions are bytes of the text as it was given, encoded or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The bytes to mask: the value alone, without name, separator and quotes.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
    /// The bytes of the name that gave it away.
    pub name: Option<Range<usize>>,
    /// Where it stood.
    pub carrier: Carrier,
    /// How sure that is.
    pub confidence: Confidence,
    /// What its own checksum says.
    pub checksum: Checksum,
    /// How many levels of encoding lay around its name.
    pub depth: u8,
    /// Whether the mark needs quotes, because the value was a bare number in JSON.
    pub(crate) unquoted_member: bool,
    /// How a value ends that ran into the end of what could be seen.
    pub(crate) end: End,
}

impl Finding {
    /// A whole line that could not be looked at.
    pub(crate) const fn dropped(length: usize) -> Self {
        Self {
            span: 0..length,
            kind: Kind::Oversize,
            name: None,
            carrier: Carrier::Rule,
            confidence: Confidence::Shape,
            checksum: Checksum::None,
            depth: u8::MAX,
            unquoted_member: false,
            end: End::Line,
        }
    }

    pub(crate) const fn is_dropped(&self) -> bool {
        self.depth == u8::MAX
    }
}

/// What ends a value, for one that is longer than the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A delimiter of queries, or white space.
    Delimiter,
    /// A closing quote behind so many backslashes.
    Quote(u8, u8),
    /// The end of the line.
    Line,
}
