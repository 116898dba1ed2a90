//! `keymoat check`: says whether `keymoat serve` would take a configuration.

use std::path::PathBuf;

use anyhow::Context;
use keymoat_gateway::tls;

use super::{print, remark};
use crate::config::{self, Config, DEFAULT_FILE, Tls};
use crate::wiring;

/// Checks a configuration as `keymoat serve` would read it, secrets included.
///
/// Every mistake is told with file, line and column. Nothing is started and no secret is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file.
    #[arg(default_value = DEFAULT_FILE)]
    file: PathBuf,
}

/// Reads the configuration and the files that it names.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = config::load(&arguments.file, &config::environment())?;
    check_certificates(&config)?;
    for warning in &config.warnings {
        remark(&format!("keymoat: warning: {warning}"));
    }
    let file = arguments.file.display();
    print(&format!("{file} is well: {}\n", inventory(&config)))
}

/// Reads every certificate file that the configuration names.
fn check_certificates(config: &Config) -> anyhow::Result<()> {
    if let Tls::Provided { cert, key, .. } = &config.tls {
        tls::server::from_files(cert, key, &config.tls_demands).context(wiring::CERTIFICATE)?;
    }
    for upstream in &config.upstreams {
        tls::client::config(upstream.ca_file.as_deref(), tls::client::Alpn::Http1)
            .with_context(|| format!("[upstream.{}] ca", upstream.name))?;
    }
    Ok(())
}

fn inventory(config: &Config) -> String {
    let routes: Vec<String> =
        config.routes.iter().map(|route| format!("{} → {}", route.name, route.upstream)).collect();
    format!("{} ({})", if routes.len() == 1 { "1 route" } else { "routes" }, routes.join(", "))
}
