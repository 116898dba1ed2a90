//! What the JSON Schema says of values that are texts with a form of their own. The types are never made.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $schema:tt) => {
        $(#[$doc])*
        pub(crate) enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

kind!(
    /// Seconds, or a text with a unit.
    Duration,
    {
        "title": "duration",
        "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": "^[0-9]+ *(ms|s|m|min|h|d)$" }]
    }
);

kind!(
    /// Bytes, or a text with a unit.
    Size,
    {
        "title": "size",
        "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB)$" }]
    }
);

kind!(
    /// Where a secret is, never the secret itself.
    SecretReference,
    {
        "title": "secret reference",
        "type": "string",
        "pattern": r"^\$\{(env:[A-Za-z0-9_]+|file:.+)\}$"
    }
);

kind!(
    /// A day, or a moment, which TOML writes without quotes; tools that know JSON alone see its text.
    Day,
    {
        "title": "day",
        "type": "string",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    }
);
