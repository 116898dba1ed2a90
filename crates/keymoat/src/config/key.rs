//! One `[key.NAME]`: a key that is kept in the file, for platforms without a disk.

use std::sync::Arc;

use keymoat_core::credential::UNGUESSABLE_BYTES_MIN;
use keymoat_core::format::{NearMiss, Shape, canonical};
use keymoat_core::{Scopes, Secret};

use super::Reader;
use super::file::{self, At};
use super::problem::unknown;

/// A longer one is refused wherever it is presented.
const BYTES_MAX: usize = 1 << 10;

/// A key of the configuration. It is digested like one of the store, and never written there.
#[derive(Debug)]
pub(crate) struct ConfiguredKey {
    /// `file_NAME`, or `env_1` and on.
    pub(crate) id: Arc<str>,
    /// What people call it.
    pub(crate) name: Arc<str>,
    /// Where it may be used.
    pub(crate) scopes: Scopes,
    /// The key itself, in its canonical form.
    pub(crate) secret: Secret,
}

/// Reads one key; problems are noted in `read`, and then there is none. `routes` are the names in the file.
pub(crate) fn key(
    read: &mut Reader<'_>,
    name: &At<String>,
    file: &file::Key,
    routes: &[&str],
) -> Option<ConfiguredKey> {
    read.name("key", name);
    let scopes = file.scopes.as_ref().map_or(Some(Scopes::All), |written| scopes(read, name, written, routes));
    let Some(written) = &file.secret else {
        let message = format!("key `{}` has no secret: write secret = \"${{file:/path/to/key}}\"", name.get_ref());
        read.report(name.span(), message);
        return None;
    };
    let (secret, _) = read.fetch(written)?;
    let what = format!("key `{}`", name.get_ref());
    let (secret, remark) = checked(secret, &what).map_err(|message| read.report(written.span(), message)).ok()?;
    if let Some(remark) = remark {
        read.warn(remark);
    }
    let id = format!("file_{}", name.get_ref()).into();
    Some(ConfiguredKey { id, name: name.get_ref().as_str().into(), scopes: scopes?, secret })
}

/// The canonical form of a key that clients are to come with, and what should be known of it.
///
/// # Errors
/// It is nothing that a client could present, or not a key at all.
pub(crate) fn checked(secret: Secret, what: &str) -> Result<(Secret, Option<String>), String> {
    if secret.len() > BYTES_MAX {
        return Err(format!("{what} is longer than 1 KiB, and no request may bring such a one"));
    }
    // Looked at and forgotten.
    let text = secret.expose();
    if !text.iter().all(u8::is_ascii_graphic) || text.is_empty() {
        return Err(format!("{what} is empty or has a space in it, and no request could bring it"));
    }
    if text == b"undefined" || text == b"null" {
        return Err(format!("{what} is what a script writes for want of a key"));
    }
    let (secret, shape) = canonical(secret);
    let remark = match shape {
        Shape::Key => None,
        Shape::Token { .. } => return Err(format!("{what} is a token: keys start with `km_`")),
        Shape::NearMiss(NearMiss::Admin) => return Err(format!("{what} is an admin credential")),
        Shape::NearMiss(miss) => Some(format!("{what} is almost one of Keymoat's: {}", miss.hint())),
        Shape::Foreign if secret.len() < UNGUESSABLE_BYTES_MIN => {
            Some(format!("{what} has {} characters and can be guessed: replace it", secret.len()))
        }
        Shape::Foreign => Some(format!(
            "{what} has no checksum, so that scanners cannot find it where it leaked: replace it with one of `keymoat key create`"
        )),
    };
    Ok((secret, remark))
}

fn scopes(read: &mut Reader<'_>, name: &At<String>, written: &[At<String>], routes: &[&str]) -> Option<Scopes> {
    if written.is_empty() {
        read.report(name.span(), format!("key `{}` may be used nowhere: write scopes = [\"ROUTE\"]", name.get_ref()));
        return None;
    }
    let known: Vec<&str> = routes.iter().copied().chain(["mint", "*"]).collect();
    let mut well_formed = true;
    for word in written {
        let judged = |word: &String| match known.contains(&word.as_str()) {
            true => Ok(()),
            false => Err(unknown("scope", word, &known)),
        };
        well_formed &= read.judge(Some(word), judged).is_some();
    }
    well_formed.then(|| Scopes::from_words(written.iter().map(|word| word.get_ref().as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_client_could_present_is_refused_and_never_repeated() {
        for bad in ["", "can ary", "undefined", &"canary".repeat(200), "kma_canarycanarycanarycanary"] {
            let error = checked(Secret::from(bad), "key `x`").expect_err(bad);
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_key_of_another_shape_is_taken_with_a_remark() {
        let remark = |text: &str| checked(Secret::from(text), "key `x`").expect("taken").1.expect("a remark");
        assert!(remark("k1").contains("can be guessed"));
        assert!(remark("a-key-of-some-other-maker").contains("no checksum"));
    }
}
