//! The flags of `serve` that set a value: they go before the file and the variables.

use std::net::SocketAddr;

use tracing::Level;

use super::{Environment, LogFormat, address};

/// The variable that is as good as `--log`.
const LEVEL_VARIABLE: &str = "KEYMOAT_LOG";

/// What was said on the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// Where to listen; TLS listens two ports further, or on a free port beside a free port (127.0.0.1:0).
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// How lines are written to standard error [default: human on a terminal, json otherwise].
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// How much Keymoat tells of its own doings: error, warn, info, debug, trace [default: info].
    #[arg(long = "log", value_name = "LEVEL", env = LEVEL_VARIABLE)]
    pub(crate) log_level: Option<Level>,
}

impl Flags {
    /// Whether the level was said by the flag or by its variable.
    pub(super) fn source_of_level(&self, environment: &Environment) -> String {
        let by_variable = environment.get(LEVEL_VARIABLE).and_then(|word| word.parse::<Level>().ok());
        if by_variable.is_some() && by_variable == self.log_level {
            format!("environment variable {LEVEL_VARIABLE}")
        } else {
            "flag --log".to_owned()
        }
    }
}
