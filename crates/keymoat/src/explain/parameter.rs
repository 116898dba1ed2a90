//! Addresses in the pasted text, and the credentials in their queries.

use keymoat_core::carrier::KNOWN_QUERY;

use super::header::expression;
use super::pasted::{FOUND_MAX, Pasted};
use super::value::What;

/// A credential in a query.
pub(super) struct Parameter<'p> {
    /// The name, from the fixed list.
    pub(super) name: &'static str,
    pub(super) value: &'p str,
    pub(super) what: What,
    pub(super) line: usize,
}

/// An address with a scheme.
pub(super) struct Address<'p> {
    pub(super) scheme: &'static str,
    pub(super) host: &'p str,
    pub(super) has_userinfo: bool,
    pub(super) line: usize,
}

impl Address<'_> {
    /// Whether it is on this machine, or says nothing about where it is.
    pub(super) fn is_here(&self) -> bool {
        let host = self.host.to_ascii_lowercase();
        host.is_empty()
            || matches!(&*host, "localhost" | "[::1]" | "0.0.0.0")
            || host.starts_with("127.")
            || host.ends_with(".localhost")
            || host.contains(['$', '{', '<', '…'])
    }

    /// Whether it is a provider's own.
    pub(super) fn is_provider(&self) -> bool {
        let host = self.host.to_ascii_lowercase();
        ["googleapis.com", "openai.com", "openai.azure.com"]
            .iter()
            .any(|suffix| host.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    }
}

/// No name that is looked for is longer, with escapes.
const NAME_BYTES_MAX: usize = 40;

const SCHEMES: [&str; 4] = ["ws://", "wss://", "http://", "https://"];

/// All addresses.
pub(super) fn addresses(pasted: &Pasted) -> Vec<Address<'_>> {
    let mut addresses = Vec::new();
    for scheme in SCHEMES {
        for at in pasted.places(scheme).filter(|at| !pasted.before(*at).is_ascii_alphanumeric()) {
            let rest = pasted.after(at + scheme.len());
            let end = rest.find(|c: char| c.is_whitespace() || "/?#\"'`,)>\\".contains(c)).unwrap_or(rest.len());
            let authority = rest.get(..end).unwrap_or_default();
            let (has_userinfo, host) = match authority.rsplit_once('@') {
                Some((_, host)) => (true, host),
                None => (false, authority),
            };
            let host = match host.starts_with('[') {
                true => host.split_inclusive(']').next().unwrap_or_default(),
                false => host.split(':').next().unwrap_or_default(),
            };
            addresses.push(Address { scheme, host, has_userinfo, line: pasted.line(at) });
        }
    }
    addresses
}

/// All query parameters with a well-known name.
pub(super) fn parameters(pasted: &Pasted) -> Vec<Parameter<'_>> {
    let mut parameters = Vec::new();
    for (at, _) in pasted.text().match_indices(['?', '&']) {
        let rest = pasted.after(at + 1);
        let Some(equals) = rest.bytes().take(NAME_BYTES_MAX).position(|byte| byte == b'=') else { continue };
        let (Some(name), Some(value)) = (rest.get(..equals), rest.get(equals + 1..)) else { continue };
        let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let Some(name) = KNOWN_QUERY.into_iter().find(|known| decoded.eq_ignore_ascii_case(known)) else { continue };
        let (value, behind) = value.split_at_checked(end_of(value)).unwrap_or((value, ""));
        let what = match behind.chars().next().filter(|c| value.is_empty() && "\"'`".contains(*c)) {
            None => What::of_parameter(value),
            // The text ends here: in code a variable follows, elsewhere it is only spoken of.
            Some(quote) => match behind.trim_start_matches(quote).trim_start().strip_prefix('+') {
                Some(added) => What::of_parameter(&format!("${{{}}}", expression(added))),
                None => continue,
            },
        };
        parameters.push(Parameter { name, value, what, line: pasted.line(at) });
        if parameters.len() == FOUND_MAX {
            break;
        }
    }
    parameters
}

/// Where a value ends; what a template holds in braces belongs to it.
fn end_of(value: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in value.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '\n' => return at,
            _ if depth == 0 && (c.is_whitespace() || "&#\"'`),;\\]}|".contains(c)) => return at,
            _ => {}
        }
    }
    value.len()
}
