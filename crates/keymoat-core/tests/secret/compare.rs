//! Secrets are compared in constant time only.
use keymoat_core::Secret;

fn main() {
    let secret = Secret::from("hunter2");
    let _equal = secret == Secret::from("hunter2");
}
