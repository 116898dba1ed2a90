//! The bytes are private.
use keymoat_core::Secret;

fn main() {
    let secret = Secret::from("hunter2");
    let _bytes = secret.0;
}
