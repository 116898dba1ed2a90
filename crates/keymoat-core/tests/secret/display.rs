//! A secret is not shown.
use keymoat_core::Secret;

fn main() {
    let secret = Secret::from("hunter2");
    let _text = format!("{secret}");
}
