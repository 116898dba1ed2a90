//! What a token's sessions may ask for.

/// What a token's sessions may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Constraint {
    /// Whatever the route lets pass.
    #[default]
    None,
}

/// A text that is no constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no constraint")]
pub struct MalformedConstraint;

impl Constraint {
    /// The canonical JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        "{}".to_owned()
    }

    /// Reads it back.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_json(json: &str) -> Result<Self, MalformedConstraint> {
        if json == "{}" { Ok(Self::None) } else { Err(MalformedConstraint) }
    }
}
