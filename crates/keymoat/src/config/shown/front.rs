//! The sections of the process itself: where it listens, with which certificate, where its keys are, what it writes.

use keymoat_gateway::tls::server::MinVersion;
use keymoat_store::MasterKey;
use toml::Value;

use super::super::file;
use super::super::store::FILE_VARIABLE;
use super::super::{Certificate, Config, LogFormat, Tls};
use super::{Sheet, number, text, texts};

/// What is said of a setting that another one makes meaningless.
const UNUSED: &str = "not used with this mode";

impl Sheet<'_> {
    pub(super) fn listen(&mut self, written: &file::Listen, config: &Config) {
        self.begin("listen");
        let file::Listen { data, data_tls, threads, trusted_proxies } = written;
        let flag = self.origin.flags.listen.is_some();
        match flag {
            true => self.given("data", text(config.data), "flag --listen"),
            false => self.row("data", text(config.data), data.as_ref(), "default"),
        }
        match &config.tls {
            Tls::SelfSigned { listen } | Tls::Provided { listen, .. } if flag => {
                self.given("data_tls", text(listen), "flag --listen: beside it");
            }
            Tls::SelfSigned { listen } | Tls::Provided { listen, .. } => {
                self.row("data_tls", text(listen), data_tls.as_ref(), "default: two ports further");
            }
            Tls::Disabled | Tls::BehindProxy => self.unset("data_tls", "no TLS with this mode"),
        }
        self.written("threads", threads.as_ref(), |threads| number(*threads), "default: one per processor");
        let proxies = texts(&config.trusted_proxies);
        self.written("trusted_proxies", trusted_proxies.as_ref(), |_| proxies.clone(), "default: nobody is believed");
    }

    pub(super) fn tls(&mut self, written: &file::Tls, config: &Config) {
        self.begin("tls");
        let file::Tls { mode, cert, key, client_ca, verify_client, min_version } = written;
        let word = match &config.tls {
            Tls::Disabled => "disabled",
            Tls::BehindProxy => "behind_proxy",
            Tls::SelfSigned { .. } => "self_signed",
            Tls::Provided { .. } => "provided",
        };
        self.row("mode", text(word), mode.as_ref(), "default");
        match &config.tls {
            Tls::Provided { cert: cert_file, key: key_file, .. } => {
                self.row("cert", self.path(cert_file), cert.as_ref(), "default");
                self.row("key", self.path(key_file), key.as_ref(), "default");
            }
            _ => {
                self.unset("cert", UNUSED);
                self.unset("key", UNUSED);
            }
        }
        if matches!(config.tls, Tls::Disabled | Tls::BehindProxy) {
            ["client_ca", "verify_client", "min_version"].into_iter().for_each(|name| self.unset(name, UNUSED));
            return;
        }
        let base = self.origin.base;
        let authorities = client_ca.as_ref().map(|written| self.path(&base.join(written.get_ref())));
        match authorities {
            Some(path) => self.row("client_ca", path, client_ca.as_ref(), "default"),
            None => self.unset("client_ca", "default: nobody is asked for a certificate"),
        }
        self.written("verify_client", verify_client.as_ref(), |on| Value::Boolean(*on), "default: true with client_ca");
        let oldest = match config.tls_demands.min_version {
            MinVersion::Tls12 => "1.2",
            MinVersion::Tls13 => "1.3",
        };
        self.row("min_version", text(oldest), min_version.as_ref(), "default");
    }

    pub(super) fn store(&mut self, written: &file::Store, config: &Config) {
        self.begin("store");
        let file::Store { dir, master_key, url, refuse_after, close_after } = written;
        let seconds = |duration| text(super::limits::text_of_duration(duration));
        self.row("refuse_after", seconds(config.staleness.refuse_after), refuse_after.as_ref(), "default");
        self.row("close_after", seconds(config.staleness.close_after), close_after.as_ref(), "default");
        let of_url = url.as_ref().filter(|_| config.database.is_none());
        self.row("dir", self.path(&config.store_dir), dir.as_ref().or(of_url), "default");
        self.master_key(master_key.as_ref(), config);
        if let (Some(written), Some(_)) = (url, &config.database) {
            // A reference is shown as it is written; a URL without a password, too.
            return self.given("url", text(written.get_ref()), self.place(written));
        }
        self.unset("url", if url.is_some() { "the same as `dir`, and shown there" } else { "default: `dir` says it" });
    }

    /// Only a path can stand in a file, and only one that is the same from everywhere.
    fn master_key(&mut self, written: Option<&file::At<String>>, config: &Config) {
        let by_variable = self.origin.environment.contains_key(FILE_VARIABLE);
        match (&config.master_key, written) {
            (MasterKey::File(path), Some(written)) => self.given("master_key", self.path(path), self.place(written)),
            (MasterKey::File(path), None) if by_variable && path.is_absolute() => {
                self.given("master_key", text(path.display()), format!("environment variable {FILE_VARIABLE}"));
            }
            (MasterKey::File(path), None) => {
                self.unset("master_key", format!("environment variable {FILE_VARIABLE}: {}", path.display()));
            }
            (MasterKey::Credential(path), _) => {
                self.unset("master_key", format!("systemd's credential: {}", path.display()));
            }
            (MasterKey::Given { place, .. }, _) => self.unset("master_key", format!("{place}: not shown")),
            (MasterKey::InFolder, _) => {
                let place = config.master_key.place(&config.store_dir);
                self.unset("master_key", format!("default: {place}, made with the store"));
            }
        }
    }

    pub(super) fn admin(&mut self, written: &file::Admin, config: &Config) {
        self.begin("admin");
        let file::Admin { enabled, listen, cert, key, hosts } = written;
        self.row("enabled", Value::Boolean(config.admin.is_some()), enabled.as_ref(), "default");
        let Some(admin) = &config.admin else {
            return ["listen", "cert", "key", "hosts"]
                .into_iter()
                .for_each(|name| self.unset(name, "there is no admin listener"));
        };
        match (listen, self.origin.flags.listen) {
            (None, Some(_)) => self.given("listen", text(admin.listen), "flag --listen: beside it"),
            _ => self.row("listen", text(admin.listen), listen.as_ref(), "default"),
        }
        match &admin.certificate {
            Certificate::Own { cert: cert_file, key: key_file } => {
                self.row("cert", self.path(cert_file), cert.as_ref(), "default");
                self.row("key", self.path(key_file), key.as_ref(), "default");
            }
            Certificate::OfTls => {
                for name in ["cert", "key"] {
                    self.unset(name, "default: those of [tls]");
                }
            }
            Certificate::None => {
                for name in ["cert", "key"] {
                    self.unset(name, "default: plain text on loopback");
                }
            }
        }
        let names = texts(&admin.hosts);
        self.written("hosts", hosts.as_ref(), |_| names.clone(), "default: `localhost` and addresses");
    }

    pub(super) fn redact(&mut self, written: &file::Redact) {
        self.begin("redact");
        let file::Redact { names, rules, allow, protocols } = written;
        let texts =
            |list: &Vec<file::At<String>>| Value::Array(list.iter().map(|one| text(one.get_ref().as_str())).collect());
        for (name, list) in [("names", names), ("allow", allow), ("protocols", protocols)] {
            self.written(name, list.as_ref(), texts, "default: none");
        }
        match rules.keys().next() {
            Some(first) => {
                let table = rules.iter().map(|(name, regex)| (name.get_ref().clone(), text(regex.get_ref().as_str())));
                self.row("rules", Value::Table(table.collect()), Some(first), "default");
            }
            None => self.unset("rules", "default: none"),
        }
    }

    pub(super) fn log(&mut self, written: &file::Log, config: &Config) {
        self.begin("log");
        let file::Log { format, level } = written;
        let flags = self.origin.flags;
        let word = |format: LogFormat| match format {
            LogFormat::Json => text("json"),
            LogFormat::Human => text("human"),
        };
        match (flags.log_format, config.log.format) {
            (Some(format), _) => self.given("format", word(format), "flag --log-format"),
            (None, Some(chosen)) => self.row("format", word(chosen), format.as_ref(), "default"),
            (None, None) => self.unset("format", "default: human on a terminal, else json"),
        }
        let word = |level: tracing::Level| text(level.to_string().to_lowercase());
        match flags.log_level {
            Some(level) => self.given("level", word(level), flags.source_of_level(self.origin.environment)),
            None => {
                self.row("level", word(config.log.level.unwrap_or(tracing::Level::INFO)), level.as_ref(), "default");
            }
        }
    }
}
