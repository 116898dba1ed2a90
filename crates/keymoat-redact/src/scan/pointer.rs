//! Where in a JSON text a byte is, as a JSON Pointer (RFC 6901), without building the text's values.

/// How deep is followed.
const DEPTH: usize = 64;
/// How much of a member's name is kept.
const NAME: usize = 64;

/// Follows a JSON text byte by byte. What is no JSON gives some pointer or none, and never an error.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    stack: Vec<Level>,
    too_deep: usize,
    in_string: bool,
    is_escaped: bool,
    /// Whether the string is, or a next one would be, a member's name.
    at_name: bool,
}

#[derive(Debug)]
enum Level {
    Object(Vec<u8>),
    Array(u64),
}

impl Tracker {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, text: &[u8]) {
        for byte in text {
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            return self.step_in_string(byte);
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if let (true, Some(Level::Object(name))) = (self.at_name, self.stack.last_mut()) {
                    name.clear();
                }
            }
            b'{' | b'[' if self.stack.len() >= DEPTH => self.too_deep += 1,
            b'{' => {
                self.stack.push(Level::Object(Vec::new()));
                self.at_name = true;
            }
            b'[' => {
                self.stack.push(Level::Array(0));
                self.at_name = false;
            }
            b'}' | b']' if self.too_deep > 0 => self.too_deep -= 1,
            b'}' | b']' => {
                self.stack.pop();
                self.at_name = false;
            }
            b':' => self.at_name = false,
            b',' if self.too_deep == 0 => match self.stack.last_mut() {
                Some(Level::Array(index)) => *index += 1,
                Some(Level::Object(_)) => self.at_name = true,
                None => {}
            },
            _ => {}
        }
    }

    fn step_in_string(&mut self, byte: u8) {
        if !self.is_escaped && byte == b'"' {
            self.in_string = false;
            return;
        }
        self.is_escaped = !self.is_escaped && byte == b'\\';
        let is_name = self.at_name && self.too_deep == 0;
        if let Some(Level::Object(name)) = self.stack.last_mut().filter(|_| is_name)
            && name.len() < NAME
        {
            name.push(byte);
        }
    }

    /// Where the next byte is; nothing outside of any value.
    pub(super) fn pointer(&self) -> Option<String> {
        if self.stack.is_empty() {
            return None;
        }
        let mut pointer = String::new();
        for level in &self.stack {
            pointer.push('/');
            match level {
                Level::Array(index) => pointer.push_str(&index.to_string()),
                Level::Object(name) => {
                    pointer.push_str(&String::from_utf8_lossy(name).replace('~', "~0").replace('/', "~1"));
                }
            }
        }
        Some(pointer)
    }
}

/// The pointer of the byte `at` in a line that is one JSON value.
pub(super) fn in_line(line: &[u8], at: usize) -> Option<String> {
    if !matches!(line.first(), Some(b'{' | b'[')) || !matches!(line.trim_ascii_end().last(), Some(b'}' | b']')) {
        return None;
    }
    let mut tracker = Tracker::default();
    tracker.feed(line.get(..at)?);
    tracker.pointer()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_has_the_pointer_of_its_value() {
        let line =
            br#"{"level":"info","request":{"uri":"/a","headers":{"X~A/b":["one","tw\"o,"]}},"n":[1,{"k":"HERE"}]}"#;
        let pointer = |needle: &str| in_line(line, memchr::memmem::find(line, needle.as_bytes()).expect("there"));
        assert_eq!(pointer("/a\"").as_deref(), Some("/request/uri"));
        assert_eq!(pointer("one").as_deref(), Some("/request/headers/X~0A~1b/0"));
        assert_eq!(pointer("o,").as_deref(), Some("/request/headers/X~0A~1b/1"));
        assert_eq!(pointer("HERE").as_deref(), Some("/n/1/k"));
    }

    #[test]
    fn what_is_no_json_line_has_none() {
        assert_eq!(in_line(b"GET /?a=b {", 3), None);
        assert_eq!(in_line(b"  {\"a\": 1}", 8), None);
        assert_eq!(in_line(b"{\"a\": 1},", 6), None);
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert!(in_line(deep.as_bytes(), 1200).is_some());
    }
}
