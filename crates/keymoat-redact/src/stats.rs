//! What a redactor counted.

use crate::finding::Kind;

/// Counts of one redactor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The bytes that were taken.
    pub bytes: u64,
    /// The lines that something was masked in.
    pub lines_masked: u64,
    /// The values that were masked.
    pub masked: u64,
    /// The values that were longer than the caps and were dropped.
    pub oversize: u64,
    /// The lines that were dropped because of an error of the engine.
    pub lines_dropped: u64,
    kinds: Vec<(Kind, u64)>,
}

impl Stats {
    /// How many of each kind were masked, those that were, in the order of kinds.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, u64)> {
        let mut kinds = self.kinds.clone();
        kinds.sort_unstable();
        kinds.into_iter()
    }

    pub(crate) fn count(&mut self, kind: Kind) {
        self.masked += 1;
        self.oversize += u64::from(kind == Kind::Oversize);
        match self.kinds.iter_mut().find(|(counted, _)| *counted == kind) {
            Some((_, count)) => *count += 1,
            None => self.kinds.push((kind, 1)),
        }
    }
}
