//! The web console: built with Vite into `console/dist`, from where the binary takes it. Never committed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::packages::Store;
use crate::process::{self, Ended};

/// The feature of `keymoat` that puts it into the binary.
pub(crate) const FEATURE: &str = "console";

/// Installs what the console is built with and builds it; `console/dist` changes only if its content does, so that cargo
/// has nothing to do when nothing is new.
pub(crate) fn build(root: &Path, store: Store<'_>) -> Result<()> {
    let console = root.join("console");
    store.npm_locked(&console)?;
    let fresh = store.folder.join("console-dist");
    let mut vite = Command::new("npx");
    vite.args(["--no-install", "vite", "build", "--logLevel", "warn", "--emptyOutDir", "--outDir"]).arg(&fresh);
    match process::run(vite.current_dir(&console), store.log, store.deadline)? {
        Ended::Well => {}
        Ended::Badly(_) => bail!("`vite build` failed, see `{}`", store.log.display()),
        Ended::Late => bail!("`vite build` took too long, see `{}`", store.log.display()),
    }
    mirror(&fresh, &console.join("dist"))
}

/// Makes `to` hold what `from` holds, unless it does.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    let wanted = files(from)?;
    if wanted.is_empty() {
        bail!("the build of the console left nothing in `{}`", from.display());
    }
    if to.exists() && files(to)? == wanted {
        return Ok(());
    }
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot remove `{}`", to.display()))?;
    }
    for (name, content) in wanted {
        let path = to.join(name);
        let folder = path.parent().unwrap_or(to);
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        fs::write(&path, content).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// Every file below `folder`, by its path from there.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot list `{}`", next.display()))? {
            let path = entry.with_context(|| format!("cannot list `{}`", next.display()))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let content = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            found.insert(path.strip_prefix(folder).unwrap_or(&path).to_owned(), content);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn what_is_equal_is_not_touched_and_what_is_stale_goes() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("assets")).unwrap();
        assert!(mirror(&from, &to).is_err(), "nothing was built");
        fs::write(from.join("assets/a-1.js"), "one").unwrap();
        mirror(&from, &to).unwrap();
        let made = fs::metadata(to.join("assets/a-1.js")).unwrap().modified().unwrap();
        mirror(&from, &to).unwrap();
        assert_eq!(fs::metadata(to.join("assets/a-1.js")).unwrap().modified().unwrap(), made);
        fs::rename(from.join("assets/a-1.js"), from.join("assets/a-2.js")).unwrap();
        mirror(&from, &to).unwrap();
        assert_eq!(files(&to).unwrap(), files(&from).unwrap());
    }
}
