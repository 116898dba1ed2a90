//! WebSocket frames without I/O (RFC 6455 section 5): one frame's header, the close payload, and the flow of one direction.

pub mod close;
pub mod flow;
pub mod frame;

pub use close::Close;
pub use flow::{Caps, Control, Direction, Flow, Step};
pub use frame::{FrameError, Header, Opcode};
