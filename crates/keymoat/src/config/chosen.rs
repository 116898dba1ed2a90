//! Which configuration the command line chose: read at the start, and again on every reload.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Config, DEFAULT_FILE, Environment, Flags, Shown, load, of_preset, show, show_preset, without_file};

/// A choice that can be read as often as needed; the same choice is made each time.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    place: Place,
    /// The flag that lies over everything.
    listen: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Preset {
        word: String,
        secret_file: PathBuf,
    },
    /// Nothing but variables.
    Nowhere,
}

impl Chosen {
    /// The file that was named, or the preset, or `keymoat.toml` if there is one, or else no file.
    pub(crate) fn new(file: Option<&Path>, preset: Option<(&str, &Path)>, listen: Option<SocketAddr>) -> Self {
        let default = Path::new(DEFAULT_FILE);
        let place = match (file, preset) {
            (Some(file), _) => Place::File(file.to_owned()),
            (None, Some((word, secret_file))) => {
                Place::Preset { word: word.to_owned(), secret_file: secret_file.to_owned() }
            }
            (None, None) if default.exists() => Place::File(default.to_owned()),
            (None, None) => Place::Nowhere,
        };
        Self { place, listen }
    }

    /// Reads it. Without a file and without variables it has neither upstreams nor routes: the first run.
    ///
    /// # Errors
    /// Everything that is wrong with it; mistakes in a file are a [`super::Problems`].
    pub(crate) fn read(&self, environment: &Environment) -> anyhow::Result<Config> {
        let mut config = match &self.place {
            Place::File(file) => load(file, environment)?,
            Place::Preset { word, secret_file } => of_preset(word, secret_file, environment)?,
            Place::Nowhere => without_file(environment)?,
        };
        if let Some(listen) = self.listen {
            config.listen_on(listen)?;
        }
        Ok(config)
    }

    /// Every setting of it, with where its value comes from.
    ///
    /// # Errors
    /// As of [`Chosen::read`].
    pub(crate) fn shown(&self, flags: &Flags, environment: &Environment) -> anyhow::Result<Vec<Shown>> {
        match &self.place {
            Place::File(file) => show(Some(file), flags, environment),
            Place::Preset { word, secret_file } => show_preset(word, Some(secret_file), flags, environment),
            Place::Nowhere => show(None, flags, environment),
        }
    }

    /// Whether it can be read a second time: standard input cannot.
    pub(crate) fn is_lasting(&self) -> bool {
        !matches!(&self.place, Place::Preset { secret_file, .. } if secret_file == Path::new("-"))
    }
}
