//! Which keys a page shows, and the condition that finds them in either backend.

use keymoat_core::{Key, UnixMillis};
use rusqlite::types::Value;

/// Whether a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// It works.
    Live,
    /// Its time is over.
    Expired,
    /// Somebody revoked it.
    Revoked,
}

impl KeyState {
    /// The state of `key` at `now`.
    #[must_use]
    pub fn of(key: &Key, now: UnixMillis) -> Self {
        match (key.revoked_at, key.expires_at) {
            (Some(_), _) => Self::Revoked,
            (None, Some(at)) if at <= now => Self::Expired,
            _ => Self::Live,
        }
    }
}

/// A page of keys: those that match, the newest first and of one moment by their ids from the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQuery {
    /// Only those in this state at this moment.
    pub state: Option<(KeyState, UnixMillis)>,
    /// Only those with this text in their name, their id or what is said of their owner, in whatever case.
    pub text: Option<String>,
    /// Only those that come after this place: the moment and id of the last key of the page before.
    pub after: Option<(UnixMillis, String)>,
    /// At most so many.
    pub limit: usize,
}

/// How a backend says what both can do.
pub(crate) struct Dialect {
    /// The function that lowers letters.
    pub(crate) lowered: &'static str,
    /// The function that finds a text in another one, 0 for nowhere.
    pub(crate) place_of: &'static str,
    /// Has texts ordered by their bytes.
    pub(crate) bytewise: &'static str,
}

impl KeyQuery {
    /// Whether `key` is meant, wherever the page begins. The same as `condition`, for keys that are kept elsewhere.
    #[must_use]
    pub fn means(&self, key: &Key) -> bool {
        let is_in_state = self.state.is_none_or(|(state, now)| KeyState::of(key, now) == state);
        let has_text = |text: &str| {
            let is_in = |field: &str| field.to_lowercase().contains(text);
            is_in(&key.name) || is_in(&key.id) || key.owner.as_deref().is_some_and(is_in)
        };
        is_in_state && self.text.as_ref().is_none_or(|text| has_text(&text.to_lowercase()))
    }

    /// What follows `FROM api_key`, with its parameters, which are written `?`.
    pub(crate) fn condition(&self, dialect: &Dialect) -> (String, Vec<Value>) {
        let Dialect { lowered, place_of, bytewise } = dialect;
        let (mut sql, mut values) = (String::from("WHERE true"), Vec::<Value>::new());
        match self.state {
            None => {}
            Some((KeyState::Revoked, _)) => sql.push_str(" AND revoked_at IS NOT NULL"),
            Some((KeyState::Expired, now)) => {
                sql.push_str(" AND revoked_at IS NULL AND expires_at <= ?");
                values.push(now.0.into());
            }
            Some((KeyState::Live, now)) => {
                sql.push_str(" AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)");
                values.push(now.0.into());
            }
        }
        if let Some(text) = &self.text {
            let in_field = |field| format!("{place_of}({lowered}({field}), ?) > 0");
            let fields = ["name", "id", "coalesce(owner, '')"];
            sql.push_str(&format!(" AND ({})", fields.map(in_field).join(" OR ")));
            values.extend(fields.map(|_| text.to_lowercase().into()));
        }
        if let Some((at, id)) = &self.after {
            sql.push_str(&format!(" AND (created_at, id{bytewise}) < (?, ?)"));
            values.extend([at.0.into(), id.clone().into()]);
        }
        sql.push_str(&format!(" ORDER BY created_at DESC, id{bytewise} DESC LIMIT {}", self.limit));
        (sql, values)
    }
}
