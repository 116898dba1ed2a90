//! `[store]`: the folder that keys are kept in, named as `dir` or within a `url`.

use std::path::PathBuf;

use super::{DEFAULT_STORE_DIR, Reader, file};

/// The folder of the store; problems are noted in `read`.
pub(crate) fn dir(read: &mut Reader<'_>, file: &file::Store) -> PathBuf {
    if let (Some(_), Some(url)) = (&file.dir, &file.url) {
        read.report(url.span(), "`dir` and `url` name the store twice: leave one of both out".to_owned());
    }
    if let Some(dir) = &file.dir {
        return read.path(dir);
    }
    let named = file.url.as_ref().and_then(|url| {
        let folder = if url.get_ref().starts_with("${") {
            let (secret, _) = read.fetch(url)?;
            // A URL may hold a password; only a folder is kept of it.
            let text = secret.expose();
            folder_of_url(std::str::from_utf8(text).unwrap_or_default())
        } else {
            folder_of_url(url.get_ref())
        };
        folder.map_err(|message| read.report(url.span(), message)).ok()
    });
    read.base().join(named.unwrap_or_else(|| PathBuf::from(DEFAULT_STORE_DIR)))
}

/// Reads `sqlite:PATH`, the path of a folder or of the `keymoat.db` in it. The URL is not repeated in an error: it could
/// hold a password.
fn folder_of_url(url: &str) -> Result<PathBuf, String> {
    let Some(path) = url.strip_prefix("sqlite:") else {
        let later = ["postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme));
        return Err(if later {
            "a PostgreSQL store does not work in this version: write \"sqlite:/path/to/folder\"".to_owned()
        } else {
            "this names no store: write \"sqlite:/path/to/folder\"".to_owned()
        });
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    let folder = path.strip_suffix("/keymoat.db").unwrap_or(path);
    if folder.is_empty() || folder.contains(['?', '#', '@']) {
        return Err("this names no folder: write \"sqlite:/path/to/folder\"".to_owned());
    }
    Ok(PathBuf::from(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_folder_and_is_never_repeated() {
        for (url, folder) in [
            ("sqlite:/var/lib/keymoat", "/var/lib/keymoat"),
            ("sqlite:///var/lib/keymoat", "/var/lib/keymoat"),
            ("sqlite:data", "data"),
            ("sqlite:/var/lib/keymoat/keymoat.db", "/var/lib/keymoat"),
        ] {
            assert_eq!(folder_of_url(url), Ok(folder.into()));
        }
        for bad in ["postgres://user:canary@host/db", "canary", "sqlite:", "sqlite://user:canary@host", "mysql:canary"]
        {
            let error = folder_of_url(bad).expect_err("refused");
            assert!(!error.contains("canary"), "{error}");
        }
        assert!(folder_of_url("postgresql://host/db").is_err_and(|error| error.contains("in this version")));
    }
}
