//! Runs hyper's tasks on the thread that they belong to.

use std::future::Future;

/// Spawns onto the current thread's task set; nothing needs to be `Send`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
