//! The sections of what is kept and told of what happens.

use keymoat_admin::events::Delivery;
use toml::{Table, Value};

use super::super::Config;
use super::super::file;
use super::limits::text_of_duration;
use super::{Sheet, number, text, texts};

impl Sheet<'_> {
    pub(super) fn events(&mut self, written: &file::Events, config: &Config) {
        self.begin("events");
        let file::Events { delivery, keep, keep_max, file, stdout } = written;
        let word = match config.events.delivery {
            Delivery::BestEffort => "best_effort",
            Delivery::Required => "required",
        };
        self.row("delivery", text(word), delivery.as_ref(), "default");
        self.row("keep", text(text_of_duration(config.events.keep)), keep.as_ref(), "default");
        self.row("keep_max", number(config.events.keep_max), keep_max.as_ref(), "default");
        match &config.events.file {
            Some(path) => self.row("file", self.path(path), file.as_ref(), "default"),
            None => self.unset("file", "default: none"),
        }
        self.row("stdout", Value::Boolean(config.events.stdout), stdout.as_ref(), "default");
    }

    pub(super) fn telemetry(&mut self, written: &file::Telemetry, config: &Config) {
        self.begin("telemetry");
        let file::Telemetry { otlp, headers, signals } = written;
        let Some(telemetry) = &config.telemetry else {
            self.unset("otlp", "default: nobody is told");
            self.unset("headers", "default: none");
            self.written("signals", signals.as_ref(), |list| texts(list.iter().map(file::At::get_ref)), "default: all");
            return;
        };
        self.row("otlp", text(&telemetry.endpoint), otlp.as_ref(), "default");
        match headers.keys().next() {
            Some(first) => {
                // What stands there are references: a secret itself is refused.
                let table: Table =
                    headers.iter().map(|(name, at)| (name.get_ref().clone(), text(at.get_ref()))).collect();
                self.row("headers", Value::Table(table), Some(first), "default");
            }
            None => self.unset("headers", "default: none"),
        }
        let words = texts(telemetry.signals.iter().map(|signal| signal.word()));
        self.row("signals", words, signals.as_ref(), "default");
    }
}
