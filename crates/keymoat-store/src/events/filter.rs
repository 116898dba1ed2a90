//! What events are looked for, and how few of them have to be looked at.
//!
//! Each filter alone is found by an index. Of several, the one that leaves the fewest is found so, and the others are
//! compared; so that a combination which hardly ever occurs does not read everything, one page looks at a bounded number.

use keymoat_core::UnixMillis;
use keymoat_core::event::{Kind, Severity};
use keymoat_core::record::Outcome;
use rusqlite::types::Value;

/// One page looks at so many events at most.
pub const SCAN_MAX: usize = 2_500;

/// The type of which there are the most: it is in no index.
const USUAL: &str = "request.allowed";

/// Which events; what is not set matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one sort.
    pub kind: Option<Kind>,
    /// Of one type, such as `key.revoked`, or of all that begin like `request.*`.
    pub word: Option<String>,
    /// That matter at least so much.
    pub severity_min: Option<Severity>,
    /// That ended like this.
    pub outcome: Option<Outcome>,
    /// That were refused or failed for this reason.
    pub code: Option<String>,
    /// That this route took.
    pub route: Option<String>,
    /// Whose credential came by this carrier; `query:*` is any query parameter.
    pub carrier: Option<String>,
    /// Of this key, and acts on it.
    pub key_id: Option<String>,
    /// Of this token.
    pub token_id: Option<String>,
    /// In which this text stands anywhere; ASCII letters match in either case.
    pub text: Option<String>,
    /// That were written down at this moment or later.
    pub from: Option<UnixMillis>,
    /// That were written down before this moment.
    pub to: Option<UnixMillis>,
}

/// A condition with its parameters, which are written `?`.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

impl Condition {
    fn and(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(sql);
        self.values.extend(values);
    }
}

impl Filter {
    /// The condition that an index finds, which leaves the fewest.
    pub(crate) fn driving(&self) -> Condition {
        let mut driving = Condition::default();
        if let Some(token_id) = &self.token_id {
            driving.and("token_id = ?", [token_id.clone().into()]);
        } else if let Some(key_id) = &self.key_id {
            driving.and("key_id = ?", [key_id.clone().into()]);
        } else if self.is_rare() {
            driving.and("kind IN ('act', 'lost')", []);
        } else if let Some(code) = &self.code {
            driving.and("code = ?", [code.clone().into()]);
        } else if let Some(word) = self.word.as_ref().filter(|word| !word.ends_with('*') && *word != USUAL) {
            driving.and("type <> 'request.allowed' AND type = ?", [word.clone().into()]);
        } else if let Some(outcome) = self.outcome.filter(|outcome| *outcome != Outcome::Allowed) {
            driving.and("outcome <> 'allowed' AND outcome = ?", [outcome.word().to_owned().into()]);
        } else if self.severity_min.is_some_and(|severity| severity > Severity::Low) {
            driving.and("severity > 0", []);
        } else if let Some(carrier) = self.carrier.as_ref().filter(|carrier| !carrier.ends_with('*')) {
            driving.and("carrier = ?", [carrier.clone().into()]);
        } else if let Some(route) = &self.route {
            driving.and("route = ?", [route.clone().into()]);
        }
        driving
    }

    /// Whether only acts and losses can match: of those there are few.
    fn is_rare(&self) -> bool {
        let is_rare_word = |word: &String| !["request.", "session."].iter().any(|subject| word.starts_with(subject));
        let is_rare_kind = |kind| matches!(kind, Kind::Act | Kind::Lost);
        self.kind.is_some_and(is_rare_kind) || self.word.as_ref().is_some_and(|word| word != "*" && is_rare_word(word))
    }

    /// All conditions.
    pub(crate) fn whole(&self) -> Condition {
        let mut whole = Condition::default();
        let mut equal = |column: &str, value: Option<String>| {
            if let Some(value) = value {
                whole.and(&format!("{column} = ?"), [value.into()]);
            }
        };
        equal("kind", self.kind.map(|kind| kind.word().to_owned()));
        equal("outcome", self.outcome.map(|outcome| outcome.word().to_owned()));
        equal("code", self.code.clone());
        equal("route", self.route.clone());
        equal("key_id", self.key_id.clone());
        equal("token_id", self.token_id.clone());
        for (column, pattern) in [("type", &self.word), ("carrier", &self.carrier)] {
            match pattern.as_ref().map(|pattern| (pattern, pattern.strip_suffix('*'))) {
                None | Some((_, Some(""))) => {}
                Some((_, Some(start))) => {
                    whole.and(&format!("{column} LIKE ? ESCAPE '\\'"), [(escaped(start) + "%").into()]);
                }
                Some((exact, None)) => whole.and(&format!("{column} = ?"), [exact.clone().into()]),
            }
        }
        if let Some(severity) = self.severity_min {
            whole.and("severity >= ?", [Value::from(severity as i64)]);
        }
        if let Some(from) = self.from {
            whole.and("at >= ?", [from.0.into()]);
        }
        if let Some(to) = self.to {
            whole.and("at < ?", [to.0.into()]);
        }
        if let Some(text) = &self.text {
            whole.and("body LIKE ? ESCAPE '\\'", [format!("%{}%", escaped(text)).into()]);
        }
        whole
    }
}

/// A text that stands for itself in a pattern.
fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|letter| matches!(letter, '%' | '_' | '\\').then_some('\\').into_iter().chain([letter]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_s_own_letters_stand_for_themselves() {
        assert_eq!(escaped(r"50%_a\b"), r"50\%\_a\\b");
    }

    #[test]
    fn the_filter_that_leaves_the_fewest_leads() {
        let filter = Filter { key_id: Some("key_1".into()), route: Some("voice".into()), ..Filter::default() };
        assert_eq!(filter.driving().sql, " AND key_id = ?");
        let acts = Filter { word: Some("key.*".into()), ..Filter::default() };
        assert_eq!(acts.driving().sql, " AND kind IN ('act', 'lost')");
        let refused = Filter { word: Some("request.refused".into()), ..Filter::default() };
        assert_eq!(refused.driving().sql, " AND type <> 'request.allowed' AND type = ?");
        let usual = Filter { word: Some("request.allowed".into()), ..Filter::default() };
        assert_eq!(usual.driving().sql, "");
        assert_eq!(Filter::default().driving().sql, "");
    }
}
