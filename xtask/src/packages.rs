//! npm and PyPI packages of the suites: exact versions from committed manifests, installed under `target/suites`, and for a
//! package of ours beside its own lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, Ended};

/// What was installed last stands in this file, to be compared with the manifest.
const STAMP: &str = ".installed";

/// Where packages go, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store<'a> {
    /// `target/suites`.
    pub(crate) folder: &'a Path,
    /// What the installers print.
    pub(crate) log: &'a Path,
    /// When they are killed.
    pub(crate) deadline: Instant,
}

impl Store<'_> {
    /// Installs the npm packages that `manifest` names, unless they are there, and returns their folder.
    pub(crate) fn npm(&self, name: &str, manifest: &Path) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        self.once(&folder, manifest, || {
            println!("installs npm packages of `{name}`");
            fs::copy(manifest, folder.join("package.json")).context("cannot copy the package.json")?;
            self.run(Command::new("npm").args(["install", "--no-fund", "--no-audit"]).current_dir(&folder))
        })?;
        Ok(folder)
    }

    /// Installs in `folder` the very npm packages that its committed lock names, unless they are there.
    pub(crate) fn npm_locked(&self, folder: &Path) -> Result<()> {
        self.once(&folder.join("node_modules"), &folder.join("package-lock.json"), || {
            println!("installs npm packages of `{}`", folder.display());
            self.run(Command::new("npm").args(["ci", "--no-fund", "--no-audit"]).current_dir(folder))
        })
    }

    /// Makes a virtual environment of the PyPI packages that `requirements` names, unless it is there, and returns its Python.
    pub(crate) fn venv(&self, name: &str, requirements: &Path) -> Result<PathBuf> {
        let folder = self.folder.join(format!("venv-{name}"));
        let python = folder.join("bin/python");
        self.once(&folder, requirements, || {
            println!("installs PyPI packages of `{name}`");
            self.run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
            let mut pip = Command::new(&python);
            self.run(pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))
        })?;
        Ok(python)
    }

    /// Unpacks the one PyPI package that `requirements` names, without what it needs, and returns its folder. It is there to be read
    /// and not to be run; the pip is that of `python`.
    pub(crate) fn unpacked(&self, python: &Path, name: &str, requirements: &Path) -> Result<PathBuf> {
        let folder = self.folder.join(format!("unpacked-{name}"));
        self.once(&folder, requirements, || {
            println!("unpacks the PyPI package `{name}`");
            let mut pip = Command::new(python);
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(&folder).arg("--requirement");
            self.run(pip.arg(requirements))
        })?;
        Ok(folder)
    }

    /// Calls `install` unless the stamp in `folder` says that this very `manifest` was installed to its end.
    fn once(&self, folder: &Path, manifest: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
        let wanted = fs::read(manifest).with_context(|| format!("cannot read `{}`", manifest.display()))?;
        let stamp = folder.join(STAMP);
        if fs::read(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(());
        }
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        install()?;
        fs::write(&stamp, wanted).context("cannot write the stamp of an installation")
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        match process::run(command, self.log, self.deadline)? {
            Ended::Well => Ok(()),
            Ended::Badly(_) => bail!("`{program}` could not install packages, see `{}`", self.log.display()),
            Ended::Late => bail!("`{program}` took too long to install packages, see `{}`", self.log.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use std::cell::Cell;

    use super::*;

    #[test]
    fn installs_again_only_when_the_manifest_changed_or_the_last_time_failed() {
        let root = tempfile::tempdir().unwrap();
        let (manifest, folder, log) = (root.path().join("m"), root.path().join("f"), root.path().join("log"));
        let store = Store { folder: root.path(), log: &log, deadline: Instant::now() };
        let installed = Cell::new(0);
        let install = || {
            installed.set(installed.get() + 1);
            Ok(())
        };
        fs::write(&manifest, "one").unwrap();
        assert!(store.once(&folder, &manifest, || bail!("no network")).is_err());
        store.once(&folder, &manifest, install).unwrap();
        store.once(&folder, &manifest, install).unwrap();
        assert_eq!(installed.get(), 1);
        fs::write(&manifest, "two").unwrap();
        store.once(&folder, &manifest, install).unwrap();
        assert_eq!(installed.get(), 2);
    }
}
