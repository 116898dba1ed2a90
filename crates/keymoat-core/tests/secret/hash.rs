//! A secret is not hashed into a table.
use keymoat_core::Secret;

fn main() {
    let secret = Secret::from("hunter2");
    let _set = std::collections::HashSet::from([secret]);
}
