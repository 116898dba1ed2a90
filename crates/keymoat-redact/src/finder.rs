//! Finds credentials in a whole text.

use std::sync::Arc;

use crate::carry::Carry;
use crate::finding::Finding;
use crate::known::KnownSecrets;
use crate::line::{LineScan, Scratch};
use crate::rules::Rules;
use crate::streams::Folded;
use crate::suspect::{Suspects, line_start};

/// Tells where in a text credentials are, and why. It holds memory that is used again from text to text.
///
/// ```
/// use keymoat_redact::{Carrier, Finder, Kind};
/// let text = b"curl -H 'X-API-Key: Zk7Qw2Lr9TnXb4Vm8PcY' https://api.example/";
/// Finder::default().find(text, &mut |finding| {
///     assert_eq!((finding.kind, finding.carrier), (Kind::ApiKey, Carrier::Header));
///     assert_eq!(&text[finding.span], b"Zk7Qw2Lr9TnXb4Vm8PcY");
/// });
/// ```
#[derive(Debug, Default)]
pub struct Finder {
    rules: Arc<Rules>,
    known: KnownSecrets,
    scratch: Scratch,
    folded: Folded,
}

impl Finder {
    /// With these rules and registered secrets.
    #[must_use]
    pub fn new(rules: Arc<Rules>, known: KnownSecrets) -> Self {
        Self { rules, known, scratch: Scratch::default(), folded: Folded::default() }
    }

    /// The rules that it finds by.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Gives every finding in `text`, in order; none overlaps another. A line is looked at whole, so a text from outside
    /// is given in pieces that end at a line end and are bounded; values that go on in later lines are found within one
    /// piece.
    pub fn find(&mut self, text: &[u8], found: &mut impl FnMut(Finding)) {
        let known = self.known.load();
        let known = known.as_deref();
        let mut suspects = Suspects::new(&self.rules, known, text, &mut self.folded);
        let mut carry = Carry::None;
        let mut at = 0;
        while at < text.len() {
            let start = match carry {
                Carry::None => match suspects.next(at) {
                    Some(suspect) => line_start(text, at, suspect),
                    None => break,
                },
                _ => at,
            };
            let rest = text.get(start..).unwrap_or_default();
            let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
            carry = LineScan::run(&self.rules, known, &mut self.scratch, line, false, carry);
            for mut finding in self.scratch.findings.drain(..) {
                finding.span = finding.span.start + start..finding.span.end + start;
                finding.name = finding.name.map(|name| name.start + start..name.end + start);
                found(finding);
            }
            at = start + line.len() + 1;
        }
    }
}
