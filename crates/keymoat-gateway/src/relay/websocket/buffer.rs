//! The buffer that a thread lends to whichever of its relays is running.

use std::cell::Cell;

use keymoat_core::websocket::frame::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX};

/// Room before the bytes of a read for what was left of the last one: less than one whole control frame.
pub(super) const CARRY_BYTES_MAX: usize = HEADER_BYTES_MAX + CONTROL_BYTES_MAX;
/// One read: a little over 64 KiB, so that a frame of that size with its header comes in one.
pub(super) const READ_BYTES_MAX: usize = (64 << 10) + 1024;

thread_local! {
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Runs `work` with the thread's buffer of [`CARRY_BYTES_MAX`] and [`READ_BYTES_MAX`] bytes. What it holds is left over
/// from other sessions: only what was read into it may be looked at.
pub(super) fn lend<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    let lent = BUFFER.take();
    let mut buffer = lent.unwrap_or_else(|| vec![0; CARRY_BYTES_MAX + READ_BYTES_MAX].into_boxed_slice());
    let result = work(&mut buffer);
    BUFFER.set(Some(buffer));
    result
}
