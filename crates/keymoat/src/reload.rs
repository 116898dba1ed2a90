//! Takes over a changed configuration while everything runs on: at SIGHUP, when a file that it was read from
//! changes, and when another secret is sealed for an upstream. At SIGUSR2 a new process takes over everything.
//!
//! All or nothing: whatever is wrong with the new one, the one in force stays whole, and the log says what to mend.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keymoat_admin::Acts;
use keymoat_admin::listener::Listening;
use keymoat_admin::otlp::{Endpoint, Signal};
use keymoat_core::Action;
use keymoat_gateway::Running;
use keymoat_store::Store;

use crate::admin::{self, Face};
use crate::config::{self, Admin, Chosen, Config, Flags, Log, Problems, Watched};
use crate::keys::Keys;
use crate::observed::Observed;
use crate::output::{Output, time};
use crate::process::Asked;
use crate::sealed::{self, Taken};
use crate::sunsets::Sunsets;
use crate::upgrade::{self, Program, Upgraded};
use crate::wiring;

/// How often the files of the configuration are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a reload needs, and what it compares with.
pub(crate) struct Reloader {
    /// What is started anew at an upgrade.
    pub(crate) program: Program,
    /// What is read.
    pub(crate) chosen: Chosen,
    /// What is changed.
    pub(crate) running: Arc<Running>,
    /// The keys in force.
    pub(crate) keys: Arc<Keys>,
    /// Where sealed secrets are.
    pub(crate) store: Arc<Store>,
    /// The sealed secrets in use.
    pub(crate) taken: Arc<Mutex<Taken>>,
    /// Who is told what Keymoat does by itself.
    pub(crate) acts: Acts,
    /// The ends of keys in URLs that were told of.
    pub(crate) sunsets: Sunsets,
    /// What cannot change.
    pub(crate) held: Held,
    /// The files that the configuration in force was read from.
    pub(crate) watched: Watched,
    /// The admin listener, if there is one.
    pub(crate) admin: Option<Arc<Listening>>,
    /// What it shows of the configuration.
    pub(crate) face: Face,
    /// What was said on the command line.
    pub(crate) flags: Flags,
    /// What is told to keep the secrets in use out of every line.
    pub(crate) output: Output,
    /// What is told of it.
    pub(crate) observed: Observed,
}

/// Why nothing is reloaded any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The end was asked for.
    End,
    /// A new process has taken over.
    HandedOver,
}

/// What the process was started with and holds until its end.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The folder of the store, as the configuration says it.
    pub(crate) store_dir: PathBuf,
    /// How lines are written.
    pub(crate) log: Log,
    /// How events are kept.
    pub(crate) events: config::Events,
    /// The collector that is told, and of what.
    pub(crate) telemetry: Option<(Endpoint, Vec<Signal>)>,
    /// The admin listener.
    pub(crate) admin: Option<Admin>,
    /// There is nothing but the emulators and the demo key.
    pub(crate) first_run: bool,
}

impl Reloader {
    /// Reloads whenever there is a reason, until the end is asked for or a new process has taken over.
    pub(crate) fn run(mut self, asked: &Receiver<Asked>) -> Over {
        loop {
            self.sunsets.tell(&self.running.routes(), &self.store, &self.acts, time::now());
            match asked.recv_timeout(LOOK) {
                Ok(Asked::Reload) => self.reload_asked(),
                Ok(Asked::Upgrade) => match self.upgrade(asked) {
                    Upgraded::HandedOver => return Over::HandedOver,
                    Upgraded::End => return Over::End,
                    Upgraded::Stays { why, reload } => {
                        tracing::error!("{why:#}");
                        tracing::warn!("there was no upgrade: this process goes on serving");
                        if reload {
                            self.reload_asked();
                        }
                    }
                },
                Err(RecvTimeoutError::Timeout) if self.watched.has_changed() => self.reload(),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Asked::End) | Err(RecvTimeoutError::Disconnected) => return Over::End,
            }
        }
    }

    fn upgrade(&self, asked: &Receiver<Asked>) -> Upgraded {
        if !self.chosen.is_lasting() {
            let why = anyhow::anyhow!("the secret came by standard input, which a new process cannot read again");
            return Upgraded::Stays { why, reload: false };
        }
        upgrade::attempt(&self.program, &self.running, self.admin.as_deref(), asked)
    }

    fn reload_asked(&mut self) {
        // Whoever rotates logs asks in the same way.
        self.observed.events.reopen();
        self.watched = self.watched.looked_at();
        self.reload();
    }

    fn reload(&mut self) {
        if self.held.first_run {
            tracing::warn!("there is no configuration to read anew: write a keymoat.toml and restart");
            return;
        }
        if !self.chosen.is_lasting() {
            tracing::warn!("the secret came by standard input, which cannot be read anew: restart to change it");
            return;
        }
        match self.take_over() {
            Ok(notes) => {
                for note in notes {
                    tracing::warn!("{note}");
                }
                tracing::info!("the configuration was read anew and is in force");
                self.observed.act(Action::ConfigurationReloaded, None);
            }
            Err(error) => {
                if let Some(problems) = error.downcast_ref::<Problems>() {
                    self.watched.join(&problems.watched);
                }
                for line in format!("{error:#}").lines() {
                    tracing::error!("{line}");
                }
                tracing::warn!("the changed configuration is not taken: the one in force stays");
            }
        }
    }

    /// Gives what works but should be known, or cannot change without a restart.
    fn take_over(&mut self) -> anyhow::Result<Vec<String>> {
        let mut config = self.chosen.read(&config::environment())?;
        // Whatever comes of it: these are the files to watch now.
        self.watched.join(&config.watched);
        let taken = sealed::take(&mut config, &self.store)?;
        sealed::demand_none_lost(&config, &self.taken.lock().unwrap_or_else(PoisonError::into_inner))?;
        sealed::tell_withheld(&config);
        let watched = std::mem::take(&mut config.watched);
        let mut notes = std::mem::take(&mut config.warnings);
        notes.extend(self.held.needs_restart(&config));
        let now = time::now();
        // Before anything is sent with them, and whatever comes of the rest.
        self.output.keep_out(wiring::secrets(&config));
        let rules = wiring::rules(&config)?;
        let configured = wiring::keys(std::mem::take(&mut config.keys), self.keys.pepper(), now);
        let shown = admin::configured(&config, self.chosen.shown(&self.flags, &config::environment())?);
        let (settings, certificate, _) = wiring::settings(config, &std::path::absolute(&self.held.store_dir)?, now)?;
        notes.extend(self.running.reload(settings)?);
        if let (Some(admin), Some(certificate)) = (&self.admin, certificate) {
            admin.present(certificate);
        }
        self.face.store(Arc::new(shown));
        self.output.mask_by(rules);
        self.keys.take_configured(configured, |key_id| end_sessions(&self.running, key_id));
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = taken;
        self.watched = watched;
        Ok(notes)
    }
}

impl Held {
    /// What a process holds that starts with this configuration.
    pub(crate) fn of(config: &Config, first_run: bool) -> Self {
        let telemetry = config.telemetry.as_ref();
        Self {
            store_dir: config.store_dir.clone(),
            log: config.log.clone(),
            admin: config.admin.clone(),
            events: config.events.clone(),
            telemetry: telemetry.map(|telemetry| (telemetry.endpoint.clone(), telemetry.signals.clone())),
            first_run,
        }
    }

    fn needs_restart(&self, config: &Config) -> Vec<String> {
        let mut notes = Vec::new();
        if config.store_dir != self.store_dir {
            notes.push("the store stays where it is until a restart".to_owned());
        }
        if config.admin != self.admin {
            notes.push("the admin listener stays as it is until a restart".to_owned());
        }
        if config.log != self.log {
            notes.push("the form and the level of the log stay as they are until a restart".to_owned());
        }
        let other = Self::of(config, self.first_run);
        if other.events != self.events || other.telemetry != self.telemetry {
            notes.push("events are kept and told as before until a restart".to_owned());
        }
        notes
    }
}

/// Ends the sessions of a key that is not good any more.
pub(crate) fn end_sessions(running: &Running, key_id: &str) {
    let sessions = running.end_sessions_of_key(key_id);
    tracing::info!(key_id, sessions, "the key is revoked");
}
