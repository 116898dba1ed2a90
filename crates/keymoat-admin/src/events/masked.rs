//! The last look at an event before it leaves: whatever looks like a credential, or is one of the secrets in use, is
//! masked, and what comes out is still one JSON object.

use std::sync::Arc;

use arc_swap::ArcSwap;
use keymoat_core::event::{Event, Written};
use keymoat_redact::{KnownSecrets, Options, Redactor, Rules};

/// Masks events, by the rules in force.
pub(super) struct Masker {
    rules: Arc<ArcSwap<Rules>>,
    /// Those that the redactor has.
    taken: Arc<Rules>,
    known: KnownSecrets,
    redactor: Redactor,
}

impl Masker {
    pub(super) fn new(known: KnownSecrets, rules: Arc<ArcSwap<Rules>>) -> Self {
        let taken = rules.load_full();
        let redactor = Self::redactor(&taken, &known);
        Self { rules, taken, known, redactor }
    }

    fn redactor(rules: &Arc<Rules>, known: &KnownSecrets) -> Redactor {
        Redactor::new(Arc::clone(rules), Options { known: known.clone(), ..Options::default() })
    }

    /// The JSON object of an event, masked. Each is looked at apart, so that none can hide another, and only what is not our
    /// own is looked at, unless something is in that.
    pub(super) fn mask(&mut self, event: &Event) -> String {
        let rules = self.rules.load();
        if !Arc::ptr_eq(&rules, &self.taken) {
            self.taken = Arc::clone(&rules);
            self.redactor = Self::redactor(&rules, &self.known);
        }
        let Written { text, outside } = event.written();
        if outside.is_some_and(|outside| self.redactor.are_clean(outside.as_bytes())) {
            return text;
        }
        let masked = match self.redactor.redact(text.as_bytes()) {
            std::borrow::Cow::Borrowed(_) => return text,
            std::borrow::Cow::Owned(masked) => masked,
        };
        let whole = serde_json::from_slice::<serde::de::IgnoredAny>(&masked).is_ok();
        match String::from_utf8(masked) {
            Ok(masked) if whole && masked.starts_with('{') => masked,
            // A mark may have taken a quote with it: then only our own words are kept.
            _ => format!(
                "{{\"type\":\"{}\",\"severity\":\"{}\",\"masked\":true}}",
                event.word(),
                event.severity().word()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use keymoat_core::record::Protocol;
    use keymoat_core::{Record, UnixMillis};
    use keymoat_redact::{Custom, Known, Pattern};

    use super::*;

    fn masked(path: &str, cause: &str) -> String {
        let known = KnownSecrets::default();
        known.replace(Known::new([&b"a-secret-in-use"[..]]));
        let mut record = Record::begin(UnixMillis(0), [127, 0, 0, 1].into(), Protocol::Http1);
        (record.path, record.cause) = (path.to_owned(), Some(cause.to_owned()));
        Masker::new(known, Arc::default()).mask(&Event::Decision(Arc::new(record)))
    }

    #[test]
    fn what_no_event_may_hold_is_masked_and_the_object_stays_whole() {
        for leak in [
            "a-secret-in-use",
            "\"a-secret-in-use\"",
            "api_key=Zk7Qw2Lr9TnXb4Vm",
            "api_key=\"Zk7Qw2Lr9TnXb4Vm",
            "{\"api_key\":\"Zk7Qw2Lr9TnXb4Vm\"}",
            "-----BEGIN PRIVATE KEY-----\nZk7Qw2Lr9TnXb4VmZk7Qw2Lr9TnXb4Vm\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nZk7Qw2Lr9TnXb4VmZk7Qw2Lr9TnXb4Vm",
            "Authorization: Bearer Zk7Qw2Lr9TnXb4Vm",
            "\\\"api_key\\\":\\\"Zk7Qw2Lr9TnXb4Vm",
        ] {
            for text in [masked(leak, "x"), masked("/x", leak)] {
                assert!(!text.contains("in-use") && !text.contains("Zk7Qw2Lr9TnXb4Vm"), "{text}");
                let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(object["type"], "request.aborted");
            }
        }
    }

    #[test]
    fn rules_that_change_hold_from_the_next_event_on() {
        let rules = Arc::new(ArcSwap::default());
        let mut masker = Masker::new(KnownSecrets::default(), Arc::clone(&rules));
        let mut record = Record::begin(UnixMillis(0), [127, 0, 0, 1].into(), Protocol::Http1);
        record.path = "/x/BDG-123456".to_owned();
        let event = Event::Decision(Arc::new(record));
        assert!(masker.mask(&event).contains("BDG-123456"));
        let pattern = Pattern { name: "badge".to_owned(), regex: "BDG-([0-9]{6})".to_owned() };
        let custom = Custom { patterns: vec![pattern], ..Custom::default() };
        rules.store(Arc::new(Rules::new(&custom).expect("a rule")));
        assert!(!masker.mask(&event).contains("123456"));
    }

    #[test]
    fn an_ordinary_event_is_left_as_it_is() {
        let text = masked("/ws/events", "key `key_1` lacks the scope `mint`");
        assert!(text.contains(r#""path":"/ws/events""#) && text.contains("lacks the scope"), "{text}");
    }
}
