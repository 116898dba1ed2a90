//! The effective setup: the client's and the token's, field by field.

use super::super::field;
use super::Lock;
use crate::json::{Object, Value};

/// A field that a lock with a mask does not let pass, because it may be another name of a locked one.
pub(super) struct Unknown {
    pub(super) field: String,
    pub(super) child: Option<String>,
}

impl Lock {
    /// The client's setup with what the mask names overwritten or cleared. All that a lock reaches into is an object.
    pub(super) fn merged(&self, client: Object) -> Result<Object, Unknown> {
        if self.mask.is_empty() {
            return Ok(client);
        }
        self.check_known(&client)?;
        let mut merged = client;
        for path in self.mask.paths() {
            let locked = self.setup.as_ref().and_then(|setup| setup.member(&path.field));
            match &path.child {
                None => put(&mut merged, &path.field, locked),
                Some(child) => {
                    let locked = locked.and_then(Value::as_object).and_then(|object| object.member(child));
                    put_below(&mut merged, &path.field, child, locked);
                }
            }
        }
        Ok(merged)
    }

    fn check_known(&self, client: &Object) -> Result<(), Unknown> {
        if let Some((name, _)) = client.iter().find(|(name, _)| field::reach(name).is_none()) {
            return Err(Unknown { field: name.to_owned(), child: None });
        }
        let generation = client.member("generationConfig").and_then(Value::as_object);
        let Some(generation) = generation.filter(|_| self.mask.touches("generationConfig")) else { return Ok(()) };
        match generation.iter().find(|(name, _)| !field::is_generation(name)) {
            Some((name, _)) => Err(Unknown { field: String::from("generationConfig"), child: Some(name.to_owned()) }),
            None => Ok(()),
        }
    }
}

fn put(object: &mut Object, name: &str, locked: Option<&Value>) {
    object.retain(|known, _| known == name || field::fold(known) != field::fold(name));
    match locked {
        Some(value) => object.set(name, value.clone()),
        None => {
            object.remove(name);
        }
    }
}

fn put_below(object: &mut Object, name: &str, child: &str, locked: Option<&Value>) {
    if let Some(Value::Object(parent)) = object.member_mut(name) {
        put(parent, child, locked);
    } else if let Some(value) = locked {
        let parent: Object = [(child, value.clone())].into_iter().collect();
        object.set(name, parent);
    }
}
