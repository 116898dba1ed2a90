//! A secret is read by its one method only.
use keymoat_core::Secret;

fn main() {
    let secret = Secret::from("hunter2");
    let _bytes: &[u8] = &secret;
}
