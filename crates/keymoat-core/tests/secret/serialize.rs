//! A secret is not serialized.
use keymoat_core::Secret;

fn main() {
    let secret = Secret::from("hunter2");
    let _text = serde_json::to_string(&secret);
}
