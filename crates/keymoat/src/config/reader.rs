//! Goes through a file and gathers every problem and warning, so that all are told at once.

use std::ops::Range;
use std::path::{Path, PathBuf};

use keymoat_core::Secret;

use super::Environment;
use super::file::At;
use super::problem::Problem;
use super::secret::Reference;
use super::source::{Place, Source, VARIABLE_PREFIX};
use super::watched::Watched;

/// What is gathered on the way. There is no `Debug`: the environment may hold secrets.
pub(crate) struct Reader<'a> {
    source: &'a Source,
    base: &'a Path,
    environment: &'a Environment,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    watched: Watched,
}

impl<'a> Reader<'a> {
    /// Relative paths in the file start at `base`, the folder that it stands in.
    pub(crate) fn new(source: &'a Source, base: &'a Path, environment: &'a Environment) -> Self {
        Self { source, base, environment, problems: Vec::new(), warnings: Vec::new(), watched: Watched::default() }
    }

    /// All problems and warnings, and the files that were read.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<String>, Watched) {
        (self.problems, self.warnings, self.watched)
    }

    /// Where relative paths start.
    pub(crate) fn base(&self) -> &Path {
        self.base
    }

    /// The path of a file that the configuration depends on.
    pub(crate) fn watched_path(&mut self, written: &At<String>) -> PathBuf {
        let path = self.path(written);
        self.watched.note(&path);
        path
    }

    /// A path of the file, made independent of the working directory.
    pub(crate) fn path(&self, written: &At<String>) -> PathBuf {
        self.base.join(written.get_ref())
    }

    /// Fetches the secret that a value refers to; a warning is noted where it lies open to others.
    pub(crate) fn fetch(&mut self, written: &At<String>) -> Option<(Secret, Reference)> {
        let fetched = Reference::parse(written.get_ref(), self.base).and_then(|reference| {
            if let Reference::File(path) = &reference {
                self.watched.note(path);
            }
            Ok((reference.fetch(|name| self.variable(name))?, reference))
        });
        match fetched {
            Ok(((secret, warning), reference)) => {
                self.warnings.extend(warning);
                Some((secret, reference))
            }
            Err(error) => {
                self.report(written.span(), error.to_string());
                None
            }
        }
    }

    /// Where a value stands.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        self.source.place(span)
    }

    /// Whether a value comes from one of the home-security backend's own variables.
    pub(crate) fn is_of_backend(&self, span: &Range<usize>) -> bool {
        matches!(self.place(span), Place::Variable(name) if !name.starts_with(VARIABLE_PREFIX))
    }

    /// The value of an environment variable.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    /// The value of an environment variable that is set and not empty.
    pub(crate) fn given(&self, name: &str) -> Option<String> {
        self.environment.get(name).filter(|value| !value.trim().is_empty()).cloned()
    }

    /// Notes a problem with what stands at `span`.
    pub(crate) fn report(&mut self, span: Range<usize>, message: String) {
        self.problems.push(Problem::at(self.source.place(&span), message));
    }

    /// Notes a problem that stands nowhere in the file.
    pub(crate) fn report_overall(&mut self, message: String) {
        self.problems.push(Problem::overall(message));
    }

    /// Notes something that works, but should not stay so.
    pub(crate) fn warn(&mut self, message: String) {
        self.warnings.push(message);
    }

    /// Reads a value by `parse`; what it says is wrong becomes a problem at the value's place.
    pub(crate) fn judge<T, V>(
        &mut self,
        written: Option<&At<T>>,
        parse: impl FnOnce(&T) -> Result<V, String>,
    ) -> Option<V> {
        let written = written?;
        parse(written.get_ref()).map_err(|message| self.report(written.span(), message)).ok()
    }

    /// Checks the name of a section: it appears in logs, in scopes and in commands.
    pub(crate) fn name(&mut self, what: &str, name: &At<String>) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let written = name.get_ref();
        if written.is_empty() || written.len() > 64 || !written.bytes().all(plain) {
            let message = format!("the name of this {what} may have letters, digits, `-` and `_`, 64 at most");
            self.report(name.span(), message);
        }
        if what == "route" && written == "mint" {
            self.report(name.span(), "`mint` is the scope that allows minting tokens: name the route otherwise".into());
        }
    }
}
