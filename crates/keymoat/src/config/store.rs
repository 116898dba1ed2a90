//! Where the store is, and where its master key comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keymoat_admin::events::Delivery;
use keymoat_core::Secret;
use keymoat_store::MasterKey;

use super::file::{self, At, Quantity};
use super::limits;
use super::reader::Reader;
use super::source::{Place, Source};
use super::{DEFAULT_FILE, Environment, Problems, folder_of, text_of};

/// The folder of the embedded store when none is named.
pub(crate) const DEFAULT_DIR: &str = ".keymoat";

/// The name of the systemd credential that holds the master key.
const CREDENTIAL: &str = "keymoat-master-key";

/// The variable that names a file with the master key.
pub(super) const FILE_VARIABLE: &str = "KEYMOAT_MASTER_KEY_FILE";

/// The variable that holds the master key itself.
const VARIABLE: &str = "KEYMOAT_MASTER_KEY";

/// What a command needs that works on the store alone.
#[derive(Debug)]
pub(crate) struct StoreConfig {
    /// The folder of the embedded store, and of what belongs to this node.
    pub(crate) dir: PathBuf,
    /// The URL of the database, if the store is not the embedded one.
    pub(crate) database: Option<Secret>,
    /// Where its master key comes from.
    pub(crate) master_key: MasterKey,
    /// The upstreams of the configuration, each with whether a secret is named there; `None` without a configuration.
    pub(crate) upstreams: Option<BTreeMap<String, bool>>,
    /// What becomes of events that cannot be kept, by the configuration.
    pub(crate) delivery: Delivery,
    /// What works, but should not stay so.
    pub(crate) warnings: Vec<String>,
}

/// The store that a configuration names, without judging anything else of it.
///
/// Without a `path` it is `keymoat.toml`, if there is one.
///
/// # Errors
/// What is wrong with the file's form or the place of the master key.
pub(crate) fn of_configuration(path: Option<&Path>, environment: &Environment) -> Result<StoreConfig, Problems> {
    let default = Path::new(DEFAULT_FILE);
    let path = path.or_else(|| default.exists().then_some(default));
    let (text, base) = match path {
        Some(path) => (text_of(path)?, folder_of(path)),
        None => (String::new(), Path::new(".")),
    };
    let name = path.unwrap_or(default).display().to_string();
    let config = read(name, text, base, environment)?;
    Ok(StoreConfig { upstreams: config.upstreams.filter(|_| path.is_some()), ..config })
}

/// The store in this folder, whatever a configuration says.
///
/// # Errors
/// What is wrong with the place of the master key.
pub(crate) fn in_folder(dir: &Path, environment: &Environment) -> Result<StoreConfig, Problems> {
    let source = Source::new(DEFAULT_FILE.to_owned(), String::new(), []);
    let mut read = Reader::new(&source, Path::new("."), environment);
    let master_key = master_key(&mut read, &file::Store::default(), dir);
    let (problems, warnings, watched) = read.finish();
    let config = StoreConfig {
        dir: dir.to_owned(),
        database: None,
        master_key,
        upstreams: None,
        delivery: Delivery::default(),
        warnings,
    };
    if problems.is_empty() { Ok(config) } else { Err(Problems { problems, watched }) }
}

fn read(name: String, text: String, base: &Path, environment: &Environment) -> Result<StoreConfig, Problems> {
    let source = Source::new(name, text, environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    let file = source.read()?;
    let mut read = Reader::new(&source, base, environment);
    let Located { dir, database } = locate(&mut read, &file.store);
    let master_key = master_key(&mut read, &file.store, &dir);
    let upstream =
        |(name, upstream): (&At<String>, &file::Upstream)| (name.get_ref().clone(), upstream.secret.is_some());
    let upstreams = Some(file.upstream.iter().map(upstream).collect());
    let (problems, warnings, watched) = read.finish();
    if !problems.is_empty() {
        return Err(Problems { problems, watched });
    }
    // A word that is none is for `keymoat check` to find.
    let is_required = file.events.delivery.is_some_and(|word| word.get_ref() == "required");
    let delivery = if is_required { Delivery::Required } else { Delivery::BestEffort };
    Ok(StoreConfig { dir, database, master_key, upstreams, delivery, warnings })
}

/// Where a store is.
#[derive(Debug)]
pub(crate) struct Located {
    /// The folder of the embedded store, and of what belongs to this node.
    pub(crate) dir: PathBuf,
    /// The URL of the database, if the store is not the embedded one.
    pub(crate) database: Option<Secret>,
}

/// Where the store is: a folder, named as `dir` or within a `url`, or a database.
pub(super) fn locate(read: &mut Reader<'_>, file: &file::Store) -> Located {
    let named = file.url.as_ref().and_then(|url| {
        let named = if url.get_ref().starts_with("${") {
            let (secret, _) = read.fetch(url)?;
            Named::read(&secret)
        } else {
            let secret = Secret::from(url.get_ref().clone());
            let is_open = matches!(read.place(&url.span()), Place::File { .. });
            Named::read(&secret).and_then(|named| named.refuse_password_if(is_open))
        };
        named.map_err(|message| read.report(url.span(), message)).ok()
    });
    let (named, database) = match named {
        Some(Named::Folder(folder)) => (Some(folder), None),
        Some(Named::Database(url)) => (None, Some(url)),
        None => (None, None),
    };
    if let (Some(_), Some(url), None) = (&file.dir, &file.url, &database) {
        read.report(url.span(), "`dir` and `url` name the store twice: leave one of both out".to_owned());
    }
    let dir = match &file.dir {
        Some(dir) => read.path(dir),
        None => read.base().join(named.unwrap_or_else(|| PathBuf::from(DEFAULT_DIR))),
    };
    Located { dir, database }
}

/// What a URL names. It is not repeated in an error: it could hold a password.
#[derive(Debug)]
pub(crate) enum Named {
    /// `sqlite:PATH`, the path of a folder or of the `keymoat.db` in it.
    Folder(PathBuf),
    /// `postgres://…`.
    Database(Secret),
}

impl Named {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, without a part of it.
    pub(crate) fn read(url: &Secret) -> Result<Self, String> {
        // Only a folder is kept of it, or the whole as a secret.
        let bytes = url.expose();
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
        if ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Database(Secret::from(text)));
        }
        let Some(path) = text.strip_prefix("sqlite:") else {
            return Err("this names no store: write \"sqlite:/path/to/folder\", or \"postgres://USER@HOST/DATABASE\""
                .to_owned());
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        let folder = path.strip_suffix("/keymoat.db").unwrap_or(path);
        if folder.is_empty() || folder.contains(['?', '#', '@']) {
            return Err("this names no folder: write \"sqlite:/path/to/folder\"".to_owned());
        }
        Ok(Self::Folder(PathBuf::from(folder)))
    }

    /// A password does not stand where others read it.
    ///
    /// # Errors
    /// There is one, and `is_open` says that others read it.
    pub(crate) fn refuse_password_if(self, is_open: bool) -> Result<Self, String> {
        match &self {
            Self::Database(url) if is_open && password(url).is_some() => {
                Err("a password does not stand here: write the whole URL into a file of mode 0400, and \
                 \"${file:/path/of/it}\" here"
                    .to_owned())
            }
            _ => Ok(self),
        }
    }
}

/// The password in the URL of a database, as it stands there.
pub(crate) fn password(url: &Secret) -> Option<Secret> {
    // The password is what is asked for.
    let bytes = url.expose();
    let (_, rest) = std::str::from_utf8(bytes).ok()?.split_once("://")?;
    if let Some((_, rest)) = rest.split_once("password=") {
        return Some(Secret::from(rest.split('&').next().unwrap_or_default()));
    }
    let (user, _) = rest.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    (!password.is_empty()).then(|| Secret::from(password))
}

/// How old a node's view of the store may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Staleness {
    /// Nothing new is let in on an older one.
    pub(crate) refuse_after: Duration,
    /// Sessions that can be revoked are closed on an older one.
    pub(crate) close_after: Duration,
}

impl Default for Staleness {
    fn default() -> Self {
        Self { refuse_after: Duration::from_secs(5), close_after: Duration::from_secs(60) }
    }
}

/// The bounds that the file says, or the defaults.
pub(super) fn staleness(read: &mut Reader<'_>, file: &file::Store) -> Staleness {
    let within = |quantity: &Quantity, least: u64, most: u64| {
        let duration = limits::duration(quantity)?;
        let bounds = Duration::from_secs(least)..=Duration::from_secs(most);
        bounds.contains(&duration).then_some(duration).ok_or_else(|| format!("write {least} s to {most} s"))
    };
    let mut staleness = Staleness::default();
    if let Some(duration) = read.judge(file.refuse_after.as_ref(), |quantity| within(quantity, 1, 30)) {
        staleness.refuse_after = duration;
    }
    if let Some(duration) = read.judge(file.close_after.as_ref(), |quantity| within(quantity, 5, 600)) {
        staleness.close_after = duration;
    }
    if let (Some(written), true) = (&file.close_after, staleness.close_after < staleness.refuse_after) {
        read.report(
            written.span(),
            "sessions are not closed before new ones are refused: write `refuse_after` or more".to_owned(),
        );
    }
    staleness
}

/// Where the master key comes from, with a warning where a key lies in the store's folder all the same.
pub(super) fn master_key(read: &mut Reader<'_>, file: &file::Store, dir: &Path) -> MasterKey {
    let master_key = first_of(read, file);
    let (place, own) = (master_key.place(dir), MasterKey::InFolder.place(dir));
    if place != own && dir.join("master.key").exists() {
        read.warn(format!(
            "{own} is not used, because the master key comes from {place}: take it away from the database that it opens"
        ));
    }
    master_key
}

/// The first of: systemd's credential, the file that is named, the variable, and `master.key` in the store's folder.
fn first_of(read: &mut Reader<'_>, file: &file::Store) -> MasterKey {
    let written = read.judge(file.master_key.as_ref(), |text| checked_path(text));
    let written = written.map(|path| read.base().join(path));
    let by_variable = match read.variable(FILE_VARIABLE).map(|text| checked_path(&text)) {
        Some(Err(message)) => {
            read.report_overall(format!("environment variable {FILE_VARIABLE}: {message}"));
            None
        }
        path => path.and_then(Result::ok),
    };
    if let (Some(by_variable), Some(written), Some(place)) = (&by_variable, &written, &file.master_key)
        && by_variable != written
    {
        let message = format!("environment variable {FILE_VARIABLE} names another master key: leave one of both out");
        read.report(place.span(), message);
    }
    if let Some(path) = credential(read) {
        return MasterKey::Credential(path);
    }
    if let Some(path) = by_variable.or(written) {
        return MasterKey::File(path);
    }
    let Some(text) = read.variable(VARIABLE) else { return MasterKey::InFolder };
    read.warn(format!(
        "the master key comes from environment variable {VARIABLE}, which its children and whoever may \
         look at this process can read: use a file of mode 0400 and {FILE_VARIABLE}, or systemd's LoadCredential"
    ));
    MasterKey::Given { text: Secret::from(text), place: format!("environment variable {VARIABLE}") }
}

/// The credential that systemd gave to this service, if it gave one.
fn credential(read: &Reader<'_>) -> Option<PathBuf> {
    let path = Path::new(&read.variable("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    // One that cannot be looked for counts as there, so that reading it tells what is wrong.
    (!matches!(path.try_exists(), Ok(false))).then_some(path)
}

/// A path shows as one. What is no path is not repeated: it may be the key.
fn checked_path(text: &str) -> Result<PathBuf, String> {
    if text.starts_with("${") || !text.contains('/') || MasterKey::is_one(text.as_bytes()) {
        return Err("the path of a file with the master key belongs here, such as \"/etc/keymoat/master.key\" or \
                    \"./master.key\", never the key itself"
            .to_owned());
    }
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(text: &str, variables: &[(&str, &str)]) -> Result<StoreConfig, Problems> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read("keymoat.toml".to_owned(), text.to_owned(), Path::new("/etc/keymoat"), &environment)
    }

    const WRITTEN: &str = "[store]\nmaster_key = \"./master\"\n";

    #[test]
    fn the_master_key_comes_from_the_first_place_that_has_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let credentials = folder.path().to_str().expect("a path");
        let variable = (VARIABLE, "canary");
        let place = |text: &str, variables: &[(&str, &str)]| {
            let config = read_with(text, variables).expect("well formed");
            assert!(!format!("{config:?}").contains("canary"));
            (config.master_key.place(&config.dir).to_string(), config.warnings.len())
        };
        let own = ("`/etc/keymoat/.keymoat/master.key`".to_owned(), 0);
        assert_eq!(place("", &[]), own);
        assert_eq!(place("", &[("CREDENTIALS_DIRECTORY", credentials)]), own, "systemd gave another credential only");
        assert_eq!(place("", &[variable]), ("environment variable KEYMOAT_MASTER_KEY".to_owned(), 1));
        assert_eq!(place(WRITTEN, &[variable]), ("`/etc/keymoat/./master`".to_owned(), 0));
        assert_eq!(place("", &[variable, (FILE_VARIABLE, "/run/key")]), ("`/run/key`".to_owned(), 0));
        std::fs::write(folder.path().join(CREDENTIAL), "").expect("written");
        let all = [variable, (FILE_VARIABLE, "/etc/keymoat/./master"), ("CREDENTIALS_DIRECTORY", credentials)];
        assert_eq!(place(WRITTEN, &all), (format!("`{credentials}/keymoat-master-key`"), 0));
    }

    #[test]
    fn a_master_key_that_lies_beside_the_database_unused_is_warned_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("master.key").display().to_string();
        let text = format!("[store]\ndir = \"{}\"\n", folder.path().display());
        let warnings = |variables: &[(&str, &str)]| read_with(&text, variables).expect("well formed").warnings;
        assert_eq!(warnings(&[(FILE_VARIABLE, "/elsewhere")]), [""; 0]);
        std::fs::write(&own, "").expect("written");
        assert_eq!(warnings(&[]), [""; 0]);
        assert_eq!(warnings(&[(FILE_VARIABLE, &own)]), [""; 0]);
        let [warning] = &warnings(&[(FILE_VARIABLE, "/elsewhere")])[..] else { panic!("one warning") };
        assert!(warning.contains(&own) && warning.contains("`/elsewhere`"), "{warning}");
    }

    #[test]
    fn a_key_in_the_place_of_a_path_is_refused_and_not_repeated() {
        let key = "0123456789abcdef".repeat(4);
        for text in [&*key, "canary", "${env:KEY}", "AAAA/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            let written =
                read_with(&format!("[store]\nmaster_key = \"{text}\"\n"), &[]).expect_err("refused").to_string();
            assert!(written.starts_with("keymoat.toml:2:14: the path of a file"), "{written}");
            let by_variable = read_with("", &[(FILE_VARIABLE, text)]).expect_err("refused").to_string();
            assert!(by_variable.starts_with("environment variable KEYMOAT_MASTER_KEY_FILE: the path"), "{by_variable}");
            assert!(!written.contains(text) && !by_variable.contains(text));
        }
    }

    #[test]
    fn two_files_for_one_master_key_are_refused() {
        let problem = read_with(WRITTEN, &[(FILE_VARIABLE, "/other")]).expect_err("refused").to_string();
        assert!(problem.starts_with("keymoat.toml:2:14: ") && problem.ends_with("leave one of both out"), "{problem}");
    }

    #[test]
    fn a_url_names_a_folder_and_is_never_repeated() {
        let named = |url: &str| Named::read(&Secret::from(url));
        for (url, folder) in [
            ("sqlite:/var/lib/keymoat", "/var/lib/keymoat"),
            ("sqlite:///var/lib/keymoat", "/var/lib/keymoat"),
            ("sqlite:data", "data"),
            ("sqlite:/var/lib/keymoat/keymoat.db", "/var/lib/keymoat"),
        ] {
            assert!(matches!(named(url), Ok(Named::Folder(path)) if path == Path::new(folder)), "{url}");
        }
        for bad in ["postgres:canary", "canary", "sqlite:", "sqlite://user:canary@host", "mysql:canary"] {
            let error = named(bad).expect_err("refused");
            assert!(!error.contains("canary"), "{error}");
        }
        assert!(matches!(named("postgresql://host/db"), Ok(Named::Database(_))));
    }

    #[test]
    fn the_password_of_a_database_stands_in_no_file_that_others_read() {
        for (url, holds) in [
            ("postgres://u:canary@h/db", true),
            ("postgres://u@h/db", false),
            ("postgres://h/db?user=u&password=canary", true),
            ("postgres://u:can:a@ry@h/db", true),
        ] {
            assert_eq!(password(&Secret::from(url)).is_some(), holds, "{url}");
            let written = read_with(&format!("[store]\nurl = \"{url}\"\n"), &[]);
            assert_eq!(written.is_err(), holds, "{url}");
            assert!(!format!("{written:?}").contains("canary"));
            let of_variable = read_with("[store]\nurl = \"${env:X}\"\ndir = \"here\"\n", &[("X", url)]).expect("read");
            assert!(of_variable.database.is_some() && of_variable.dir.ends_with("here"));
        }
    }
}
