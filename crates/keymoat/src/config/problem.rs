//! What is wrong with a configuration: where, what, and what was perhaps meant.

use std::fmt;

use super::source::Place;
use super::watched::Watched;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    place: Option<Place>,
    message: String,
}

impl Problem {
    /// A problem with the value at `place`. The message never repeats a value that could be a secret.
    pub(crate) fn at(place: Place, message: String) -> Self {
        Self { place: Some(place), message }
    }

    /// A problem with the configuration as a whole.
    pub(crate) fn overall(message: String) -> Self {
        Self { place: None, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Everything that is wrong with a configuration; at least one problem.
#[derive(Debug)]
pub(crate) struct Problems {
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
    /// The files that were read on the way: mending one of them may mend the configuration.
    pub(crate) watched: Watched,
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], watched: Watched::default() }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The known word that `word` was perhaps meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = word.chars().count().div_ceil(3).min(3);
    let by_edits = known.into_iter().map(|near| (strsim::damerau_levenshtein(word, near), near));
    by_edits.filter(|(edits, _)| *edits <= edits_max).min_by_key(|(edits, _)| *edits).map(|(_, near)| near)
}

/// `unknown preset `x`: did you mean `y`?`, or the list of what is known.
pub(crate) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("unknown {what} `{word}`: did you mean `{near}`?"),
        None => format!("unknown {what} `{word}`: write one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("gemni", ["generic", "gemini"]), Some("gemini"));
        assert_eq!(nearest("carrier", ["carriers", "query"]), Some("carriers"));
        assert_eq!(nearest("postgres", ["generic", "gemini"]), None);
    }
}
