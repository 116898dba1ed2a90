//! Values as text: no white space, members in their order, only what must be escaped is.

use std::fmt::Write;

use super::{Object, Value};

impl Value {
    /// The text, which every JSON parser reads as this value.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        write_value(&mut text, self);
        text
    }
}

impl Object {
    /// The text, which every JSON parser reads as this object.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        write_object(&mut text, self);
        text
    }
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => text.push_str(number.as_str()),
        Value::String(string) => write_string(text, string),
        Value::Object(object) => write_object(text, object),
        Value::Array(elements) => {
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(text, element);
            }
            text.push(']');
        }
    }
}

fn write_object(text: &mut String, object: &Object) {
    text.push('{');
    for (index, (name, value)) in object.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_string(text, name);
        text.push(':');
        write_value(text, value);
    }
    text.push('}');
}

fn write_string(text: &mut String, string: &str) {
    text.push('"');
    let mut rest = string;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        // Such a byte is a character of its own, so both cuts are at characters.
        let (plain, tail) = rest.split_at(at);
        let mut tail = tail.chars();
        text.push_str(plain);
        match tail.next() {
            Some('"') => text.push_str("\\\""),
            Some('\\') => text.push_str("\\\\"),
            Some('\n') => text.push_str("\\n"),
            Some(control) => {
                let _ = write!(text, "\\u{:04x}", control as u32);
            }
            None => {}
        }
        rest = tail.as_str();
    }
    text.push_str(rest);
    text.push('"');
}
