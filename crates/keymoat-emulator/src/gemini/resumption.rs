//! Sessions that can be resumed on a new connection, and which connections are still open.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::context::Context;
use crate::websocket::End;

/// How many handles are kept; the oldest is forgotten first.
const HANDLES_MAX: usize = 4096;

/// Every handle that was given out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resumptions(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    handles: HashMap<String, Saved>,
    order: VecDeque<String>,
    open: HashSet<u64>,
}

#[derive(Debug)]
struct Saved {
    connection: u64,
    model: String,
    context: Context,
}

/// Marks a connection as open until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    connection: u64,
    resumptions: Resumptions,
}

impl Resumptions {
    /// Marks `connection` as open.
    pub(crate) fn open(&self, connection: u64) -> Open {
        self.kept().open.insert(connection);
        Open { connection, resumptions: self.clone() }
    }

    /// Keeps what a session knows at this point under a handle.
    pub(crate) fn save(&self, handle: &str, connection: u64, model: &str, context: &Context) {
        let mut kept = self.kept();
        if kept.order.len() >= HANDLES_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.handles.remove(&oldest);
        }
        kept.order.push_back(handle.to_owned());
        let saved = Saved { connection, model: model.to_owned(), context: context.clone() };
        kept.handles.insert(handle.to_owned(), saved);
    }

    /// What the session of that handle knew. Everything but the model may differ in the new setup.
    pub(crate) fn resume(&self, handle: &str, model: &str) -> Result<Context, End> {
        let kept = self.kept();
        let Some(saved) = kept.handles.get(handle) else {
            return Err(End::Close(1008, "BidiGenerateContent session not found".to_owned()));
        };
        if kept.open.contains(&saved.connection) {
            return Err(End::Close(1011, "The session is still in use by another connection.".to_owned()));
        }
        if saved.model != model {
            return Err(End::Close(
                1007,
                "Request contains an invalid argument: the session has another model.".to_owned(),
            ));
        }
        Ok(saved.context.clone())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.resumptions.kept().open.remove(&self.connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resumes_only_after_the_old_connection_is_gone() {
        let resumptions = Resumptions::default();
        let open = resumptions.open(1);
        resumptions.save("h", 1, "models/gemini-x", &Context::default());
        assert!(matches!(resumptions.resume("h", "models/gemini-x"), Err(End::Close(1011, _))));
        drop(open);
        assert!(resumptions.resume("h", "models/gemini-x").is_ok());
        assert!(matches!(resumptions.resume("h", "models/gemini-y"), Err(End::Close(1007, _))));
        assert!(matches!(resumptions.resume("other", "models/gemini-x"), Err(End::Close(1008, _))));
    }
}
