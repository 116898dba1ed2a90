//! Lists come in pages: `{items, next_cursor}`, where a cursor says nothing to whoever has it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Code, Problem};

/// A page has so many items unless `limit` says otherwise.
pub(crate) const LIMIT: u16 = 50;

/// A page has at most so many items.
pub(crate) const LIMIT_MAX: u16 = 500;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// What there is.
    pub(crate) items: Vec<T>,
    /// Where the next page begins; null on the last one.
    pub(crate) next_cursor: Option<String>,
}

/// The number of items that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit(usize);

impl Default for Limit {
    fn default() -> Self {
        Self(LIMIT.into())
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.parse().ok().filter(|number| (1..=LIMIT_MAX).contains(number));
        let number = number.ok_or_else(|| serde::de::Error::custom("this must be a whole number from 1 to 500"))?;
        Ok(Self(number.into()))
    }
}

impl Limit {
    /// The number.
    pub(crate) fn number(self) -> usize {
        self.0
    }
}

/// Which part of a list is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// How many items.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
    /// Where to go on: `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

impl Part {
    /// Cuts this part out of a list in its order; `key` as for [`cut`].
    pub(crate) fn of<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> Result<Page<T>, Problem> {
        cut(items, key, self.cursor.as_deref(), self.limit)
    }
}

/// Cuts the page that begins behind `cursor` out of a list in its order; `key` is a text by which an item is found again,
/// in descending order over the list.
pub(crate) fn cut<T>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    cursor: Option<&str>,
    limit: Limit,
) -> Result<Page<T>, Problem> {
    let behind = cursor.map(open).transpose()?;
    let mut rest = items.into_iter().skip_while(|item| behind.as_ref().is_some_and(|behind| key(item) >= *behind));
    let items: Vec<T> = rest.by_ref().take(limit.number()).collect();
    let next_cursor = if rest.next().is_some() { items.last().map(|last| seal(&key(last))) } else { None };
    Ok(Page { items, next_cursor })
}

/// A text that sorts the other way round, for lists in ascending order.
pub(crate) fn turned(name: &str) -> String {
    name.bytes().map(|byte| format!("{:02x}", 255 - byte)).collect::<String>() + "~"
}

/// A cursor for a place in a list.
pub(crate) fn seal(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

/// The place that a cursor stands for.
///
/// # Errors
/// It is none of ours.
pub(crate) fn open(cursor: &str) -> Result<String, Problem> {
    let place = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    place.filter(|place| !place.is_empty()).ok_or_else(no_cursor)
}

/// What is said of a cursor that is none.
pub(crate) fn no_cursor() -> Problem {
    Problem::with(Code::FieldInvalid, "this is no cursor: take `next_cursor` of the page before").field("cursor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_to_the_whole_list() {
        let list: Vec<String> = (0..7).rev().map(|number| format!("{number:02}")).collect();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = cut(list.clone(), Clone::clone, cursor.as_deref(), Limit(3)).expect("our own cursor");
            seen.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, list);
        assert!(cut(list, Clone::clone, Some("%%"), Limit(3)).is_err());
    }
}
