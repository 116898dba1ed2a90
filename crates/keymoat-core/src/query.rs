//! A query string that parameters can be taken out of, the rest staying as it was written.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use crate::disguise::LEVELS;
use crate::secret::Secret;

/// The query of a request, raw. Until [`crate::credential::take`] has run it may hold a credential; `Debug` shows
/// nothing of it.
#[derive(Default)]
pub struct Query {
    text: Zeroizing<String>,
}

/// What [`Query::take`] took out.
pub struct Taken {
    /// The values of the parameters that have exactly the name, decoded once.
    pub exact: Vec<Secret>,
    /// How many more were removed because a server might read their name as the same.
    pub resembling: usize,
}

impl Query {
    /// Keeps the text behind the `?`.
    #[must_use]
    pub fn parse(raw: &str) -> Self {
        Self { text: Zeroizing::new(raw.to_owned()) }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text as it goes upstream, without `?`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Removes every parameter called `name` and gives out the values of those that are called exactly so.
    ///
    /// Parameters that some server might read as `name` are removed too and given to nobody: names that differ in
    /// case, are encoded up to three times, have an index (`name[]`), an encoded `=`, or stand behind a `;`.
    pub fn take(&mut self, name: &str) -> Taken {
        let mut taken = Taken { exact: Vec::new(), resembling: 0 };
        self.retain(|pair| {
            if pair.is_called(name) {
                taken.exact.push(pair.value());
                return false;
            }
            let resembles = pair.resembles(name);
            taken.resembling += usize::from(resembles);
            !resembles
        });
        taken
    }

    /// Whether there is a parameter whose name, decoded once, is `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.text.split('&').any(|raw| !raw.is_empty() && Pair { raw }.is_called(name))
    }

    /// Keeps the parameters that `keep` says yes to, as they were written.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Pair<'_>) -> bool) {
        if self.text.is_empty() {
            return;
        }
        let text = self.text.as_str();
        // Made at the first removal: mostly there is none.
        let mut kept: Option<Zeroizing<String>> = None;
        let mut at = 0;
        for raw in text.split('&') {
            let start = at;
            at += raw.len() + 1;
            if !keep(Pair { raw }) {
                kept.get_or_insert_with(|| {
                    let mut kept = Zeroizing::new(String::with_capacity(text.len()));
                    kept.push_str(text.get(..start).unwrap_or_default());
                    kept
                });
                continue;
            }
            if let Some(kept) = &mut kept {
                kept.push_str(raw);
                kept.push('&');
            }
        }
        if let Some(mut kept) = kept {
            // Every one that was kept has a separator behind it.
            kept.pop();
            self.text = kept;
        }
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Query(..)")
    }
}

/// One parameter, raw.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    raw: &'a str,
}

impl<'a> Pair<'a> {
    /// Name and value as they were written.
    pub(crate) fn raw(self) -> &'a [u8] {
        self.raw.as_bytes()
    }

    /// The value as it was written.
    pub(crate) fn raw_value(self) -> &'a [u8] {
        self.raw.split_once('=').map_or(&[], |(_, value)| value.as_bytes())
    }

    /// The name, decoded once.
    pub(crate) fn name(self) -> Cow<'a, [u8]> {
        let raw = self.raw_name().as_bytes();
        if is_encoded(raw) { Cow::Owned(form_decode(raw)) } else { Cow::Borrowed(raw) }
    }

    /// Whether the name, decoded once, is exactly `name`.
    pub(crate) fn is_called(self, name: &str) -> bool {
        self.raw_name() == name || is_encoded(self.raw_name().as_bytes()) && *self.name() == *name.as_bytes()
    }

    /// Whether some server might read the name as `name`.
    pub(crate) fn resembles(self, name: &str) -> bool {
        if !self.raw.contains(';') {
            return reads_as(self.raw_name(), name);
        }
        let behind_semicolons = self.raw.split(';').skip(1).map(|raw| Pair { raw }.raw_name());
        std::iter::once(self.raw_name()).chain(behind_semicolons).any(|written| reads_as(written, name))
    }

    fn raw_name(self) -> &'a str {
        self.raw.split_once('=').map_or(self.raw, |(name, _)| name)
    }

    fn value(self) -> Secret {
        Secret::new(form_decode(self.raw_value()))
    }
}

fn reads_as(written: &str, name: &str) -> bool {
    if is_name(written.as_bytes(), name) {
        return true;
    }
    if !is_encoded(written.as_bytes()) {
        return false;
    }
    let mut reading = Zeroizing::new(written.as_bytes().to_vec());
    for _ in 0..LEVELS {
        reading = Zeroizing::new(form_decode(&reading));
        if is_name(&reading, name) {
            return true;
        }
        if !is_encoded(&reading) {
            return false;
        }
    }
    false
}

fn is_name(reading: &[u8], name: &str) -> bool {
    let bare = reading.split(|byte| matches!(byte, b'[' | b'=')).next().unwrap_or_default();
    bare.trim_ascii().eq_ignore_ascii_case(name.as_bytes())
}

fn is_encoded(raw: &[u8]) -> bool {
    raw.iter().any(|byte| matches!(byte, b'%' | b'+'))
}

/// Decodes `application/x-www-form-urlencoded` text once; broken escapes stay as they are.
fn form_decode(raw: &[u8]) -> Vec<u8> {
    let spaced = Zeroizing::new(raw.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect::<Vec<u8>>());
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(raw: &str, name: &str) -> (Vec<String>, usize, String) {
        let mut query = Query::parse(raw);
        let taken = query.take(name);
        let exact = taken.exact.iter().map(|secret| String::from_utf8_lossy(secret.expose()).into_owned()).collect();
        (exact, taken.resembling, query.as_str().to_owned())
    }

    #[test]
    fn takes_by_name_and_leaves_the_rest_as_written() {
        assert_eq!(take("a=%7e&api_key=K&b=1+2&&c", "api_key"), (vec!["K".into()], 0, "a=%7e&b=1+2&&c".into()));
        assert_eq!(take("api_key=K", "api_key"), (vec!["K".into()], 0, String::new()));
        assert_eq!(take("a=1", "api_key"), (vec![], 0, "a=1".into()));
        assert_eq!(take("", "api_key"), (vec![], 0, String::new()));
        assert_eq!(take("api_key", "api_key"), (vec![String::new()], 0, String::new()));
    }

    #[test]
    fn c41_a_value_is_decoded_once() {
        assert_eq!(take("key=auth_tokens%2Fkmt_x", "key").0, ["auth_tokens/kmt_x"]);
        assert_eq!(take("key=auth_tokens%252Fkmt_x", "key").0, ["auth_tokens%2Fkmt_x"]);
        assert_eq!(take("api%5Fkey=K", "api_key").0, ["K"]);
    }

    #[test]
    fn what_only_resembles_the_name_is_removed_and_not_given_out() {
        for raw in [
            "API_KEY=K",
            "api%255Fkey=K",
            "api%25255Fkey=K",
            "api_key[]=K",
            "api_key%3DK",
            "x=1;api_key=K",
            "+api_key=K",
            "api_key%5B0%5D=K",
            "%61PI_key=K",
        ] {
            assert_eq!(take(raw, "api_key"), (vec![], 1, String::new()), "{raw}");
        }
        assert_eq!(take("my_api_key=K&apikey=K", "api_key").2, "my_api_key=K&apikey=K");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Query::parse("api_key=K")), "Query(..)");
    }

    proptest! {
        #[test]
        fn after_a_take_nothing_of_that_name_is_left(raw in "[a-cKk=&;%25F_+\\[]{0,40}", name in "[a-ck_]{1,4}") {
            let mut query = Query::parse(&raw);
            let _ = query.take(&name);
            let again = query.take(&name);
            prop_assert!(again.exact.is_empty() && again.resembling == 0);
        }
    }
}
