//! An answer that took long is given again for a while: counting what ten thousand keys did in a month is not done anew
//! for everybody who looks at it.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::problem::Problem;

/// It is given again for so many times as long as it took: what was quick is as good as always fresh.
const TIMES: u32 = 20;

/// It is given again for no longer than this.
const KEPT_MAX: Duration = Duration::from_secs(30);

/// The last answer, and until when it is given again.
#[derive(Debug)]
pub(crate) struct Kept<T>(Mutex<Option<(T, Instant)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Kept<T> {
    /// The last answer, or a new one, for which all who ask meanwhile wait together.
    pub(crate) async fn or(&self, ask: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        let mut kept = self.0.lock().await;
        if let Some((answer, until)) = &*kept
            && Instant::now() < *until
        {
            return Ok(answer.clone());
        }
        let start = Instant::now();
        let answer = ask.await?;
        let now = Instant::now();
        *kept = Some((answer.clone(), now + ((now - start) * TIMES).min(KEPT_MAX)));
        Ok(answer)
    }

    /// Forgets it, because something was changed here.
    pub(crate) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_took_long_is_given_again_until_it_is_forgotten() {
        let kept = Kept::default();
        let slow = |answer| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(answer)
        };
        assert_eq!(kept.or(slow(1)).await.ok(), Some(1));
        assert_eq!(kept.or(slow(2)).await.ok(), Some(1), "it took 50 ms, and holds for a second");
        kept.forget().await;
        assert_eq!(kept.or(slow(3)).await.ok(), Some(3));
    }
}
