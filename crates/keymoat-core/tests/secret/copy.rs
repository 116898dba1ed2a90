//! A secret moves.
use keymoat_core::Secret;

fn main() {
    let secret = Secret::from("hunter2");
    let moved = secret;
    let _again = (secret, moved);
}
