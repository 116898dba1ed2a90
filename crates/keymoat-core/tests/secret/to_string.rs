//! A secret does not become text.
use keymoat_core::Secret;

fn main() {
    let secret = Secret::from("hunter2");
    let _text: String = secret.to_string();
}
