//! A bounded queue in front of a thread that writes. Under load nobody is woken for a line: the thread comes by itself.
//!
//! ```text
//!   asleep ──something is sent: one wake-up──▶ gathering ──GATHER, urgent or half full──▶ writing ──▶ gathering
//!     ▲                                                                                      │
//!     └──────────────────────── nothing came while it was gathering ◀────────────────────────┘
//! ```

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the thread lets lines gather after it has written some.
const GATHER: Duration = Duration::from_millis(50);

/// A queue of things to write, from many threads to one.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    called: Condvar,
    items_max: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    /// How many were taken and are being written; they count as waiting.
    in_hand: usize,
    asleep: bool,
    /// Somebody waits for what is in it.
    urgent: bool,
    ended: bool,
}

impl<T> Queue<T> {
    /// Holds at most `items_max`, those that are being written among them.
    #[must_use]
    pub fn new(items_max: usize) -> Self {
        let state = State { items: VecDeque::new(), in_hand: 0, asleep: false, urgent: false, ended: false };
        Self { state: Mutex::new(state), called: Condvar::new(), items_max }
    }

    /// Puts `item` in.
    ///
    /// # Errors
    /// Gives it back when the queue is full.
    pub fn send(&self, item: T) -> Result<(), T> {
        self.put(item, false)
    }

    /// The same, and has it written at once.
    ///
    /// # Errors
    /// Gives it back when the queue is full.
    pub fn send_urgently(&self, item: T) -> Result<(), T> {
        self.put(item, true)
    }

    /// The same, unless as many as that wait: the rest of the room is kept for others.
    ///
    /// # Errors
    /// Gives it back when there are so many.
    pub fn send_urgently_below(&self, items_max: usize, item: T) -> Result<(), T> {
        if self.len() >= items_max { Err(item) } else { self.put(item, true) }
    }

    /// How many wait, those that are being written among them.
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.items.len() + state.in_hand
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&self, item: T, urgent: bool) -> Result<(), T> {
        let mut state = self.lock();
        if state.items.len() + state.in_hand >= self.items_max {
            return Err(item);
        }
        state.items.push_back(item);
        state.urgent |= urgent;
        let call = urgent || state.asleep || state.items.len() == self.items_max / 2;
        state.asleep = false;
        drop(state);
        if call {
            self.called.notify_one();
        }
        Ok(())
    }

    /// Nothing more will be sent.
    pub fn end(&self) {
        self.lock().ended = true;
        self.called.notify_one();
    }

    /// Waits for something to write, but not longer than `patience`; what comes may be nothing then.
    pub fn take_within(&self, patience: Duration) -> Option<VecDeque<T>> {
        self.take_until(Some(Instant::now() + patience))
    }

    /// Waits for something to write; nothing once the queue has ended and is empty. What was taken before counts as
    /// written by now.
    pub fn take(&self) -> Option<VecDeque<T>> {
        self.take_until(None)
    }

    fn take_until(&self, deadline: Option<Instant>) -> Option<VecDeque<T>> {
        let mut state = self.lock();
        let has_written = state.in_hand > 0;
        state.in_hand = 0;
        if has_written {
            let gathers =
                |state: &mut State<T>| !state.urgent && !state.ended && state.items.len() < self.items_max / 2;
            let waited = self.called.wait_timeout_while(state, GATHER, gathers);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        while state.items.is_empty() && !state.ended {
            state.asleep = true;
            let Some(deadline) = deadline else {
                state = self.called.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.asleep = false;
                return Some(VecDeque::new());
            }
            state = self.called.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        (state.asleep, state.urgent) = (false, false);
        state.in_hand = state.items.len();
        (state.in_hand > 0).then(|| std::mem::take(&mut state.items))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_written_takes_room() {
        let queue = Queue::new(2);
        assert_eq!((queue.send(1), queue.send(2), queue.send(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(queue.take(), Some([1, 2].into()));
        assert_eq!(queue.send(4), Err(4));
        queue.end();
        assert_eq!(queue.take(), None);
        assert_eq!(queue.send(5), Ok(()));
    }

    #[test]
    fn who_does_not_wait_for_ever_comes_back_with_nothing() {
        let queue = Queue::<u8>::new(2);
        assert_eq!(queue.take_within(Duration::from_millis(1)), Some(VecDeque::new()));
        queue.send(1).expect("room");
        assert_eq!(queue.take_within(Duration::ZERO), Some([1].into()));
        queue.end();
        assert_eq!(queue.take_within(Duration::from_millis(1)), None);
    }

    #[test]
    fn a_part_of_the_room_can_be_kept_for_others() {
        let queue = Queue::new(2);
        assert_eq!((queue.send_urgently_below(1, 1), queue.send_urgently_below(1, 2)), (Ok(()), Err(2)));
        assert_eq!((queue.send(3), queue.len(), queue.is_empty()), (Ok(()), 2, false));
    }

    #[test]
    fn what_is_left_at_the_end_is_still_taken() {
        let queue = Queue::new(8);
        queue.send(1).expect("room");
        queue.end();
        assert_eq!(queue.take(), Some([1].into()));
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn a_sleeping_writer_is_woken_and_an_urgent_item_does_not_wait() {
        let queue = Queue::new(8);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| std::iter::from_fn(|| queue.take()).flatten().collect::<Vec<_>>());
            while !queue.lock().asleep {
                std::thread::yield_now();
            }
            queue.send(1).expect("room");
            queue.send_urgently(2).expect("room");
            queue.end();
            assert_eq!(writer.join().expect("no panic"), [1, 2]);
        });
    }
}
