//! What both examples are told on the command line. A credential is read from a file or the environment, never from an argument.

use std::collections::HashMap;
use std::error::Error;
use std::str::FromStr;

use keymoat_client::gemini::GOOGLE;
use keymoat_client::{Client, Credential, Secret};

/// Options by name, and what stands between them.
pub(crate) struct Settings {
    options: HashMap<String, String>,
    pub(crate) files: Vec<String>,
}

impl Settings {
    /// Reads `--name value` and file names.
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        let mut settings = Self { options: HashMap::new(), files: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--") {
                Some(name) => {
                    let value = arguments.next().ok_or_else(|| format!("`--{name}` needs a value"))?;
                    settings.options.insert(name.to_owned(), value);
                }
                None => settings.files.push(argument),
            }
        }
        Ok(settings)
    }

    /// An option, or what it is without.
    pub(crate) fn option<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T, Box<dyn Error>> {
        let Some(text) = self.options.get(name) else { return Ok(otherwise) };
        text.parse().map_err(|_| format!("`--{name} {text}` cannot be read").into())
    }

    /// Connects to `--url` (Google without it), trusting `--ca-file` too, with the credential in `--credential-file` or
    /// `GEMINI_API_KEY`.
    pub(crate) fn client(&self) -> Result<Client, Box<dyn Error>> {
        let url = self.option("url", GOOGLE.to_owned())?;
        let text = match self.options.get("credential-file") {
            Some(path) => std::fs::read_to_string(path)?,
            None => std::env::var("GEMINI_API_KEY").map_err(|_| "set GEMINI_API_KEY, or name --credential-file")?,
        };
        let mut builder = Client::builder(url.parse()?, credential(text.trim()));
        if let Some(path) = self.options.get("ca-file") {
            builder = builder.ca_file(path);
        }
        Ok(builder.build()?)
    }
}

/// By what it starts with.
fn credential(text: &str) -> Credential {
    let secret = Secret::from(text);
    match text {
        token if token.starts_with("auth_tokens/") || token.starts_with("kmt_") => Credential::token(secret),
        key if key.starts_with("km_") => Credential::keymoat(secret),
        _ => Credential::api_key(secret),
    }
}
