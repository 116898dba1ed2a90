//! A secret has one owner.
use keymoat_core::Secret;

fn main() {
    let secret = Secret::from("hunter2");
    let _second: Secret = secret.clone();
}
