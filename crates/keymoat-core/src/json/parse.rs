//! The parser: one pass, recursion bounded by the depth that is allowed.

use std::collections::HashSet;

use super::{Caps, Fault, JsonError, Number, Object, Value};

/// Objects with more members are checked for names that stand twice through a set.
const FEW_MEMBERS: usize = 16;

/// Reads one JSON value, with white space around it and nothing else.
///
/// # Errors
/// [`JsonError`] with the place; the text itself is never in it.
///
/// ```
/// use keymoat_core::json::{self, Caps, Fault};
/// let twice = json::parse(br#"{"setup": {}, "\u0073etup": {}}"#, &Caps::default());
/// assert_eq!(twice.expect_err("refused").fault, Fault::Twice);
/// ```
pub fn parse(bytes: &[u8], caps: &Caps) -> Result<Value, JsonError> {
    if bytes.len() > caps.bytes_max {
        return Err(Fault::too_long(caps));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Fault::Utf8.at(error.valid_up_to()))?;
    if text.starts_with('\u{feff}') {
        return Err(Fault::ByteOrderMark.at(0));
    }
    let mut parser = Parser { text, at: 0, caps, depth: 0, members: 0 };
    parser.skip_space();
    let value = parser.value()?;
    parser.skip_space();
    if parser.at < text.len() { Err(Fault::Trailing.at(parser.at)) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    caps: &'a Caps,
    depth: usize,
    members: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fault<T>(&self, fault: Fault) -> Result<T, JsonError> {
        Err(fault.at(self.at))
    }

    /// The complaint that something else than what stands here was awaited.
    fn unexpected<T>(&self) -> Result<T, JsonError> {
        self.fault(if self.peek().is_none() { Fault::End } else { Fault::Syntax })
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return self.unexpected();
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'{') => self.object().map(Value::Object),
            Some(b'[') => self.array().map(Value::Array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => self.unexpected(),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        for byte in word.bytes() {
            self.take(byte)?;
        }
        Ok(value)
    }

    /// Goes into an object or array; `open` was seen already.
    fn enter(&mut self) -> Result<(), JsonError> {
        if self.depth >= self.caps.depth_max {
            return self.fault(Fault::TooDeep(self.caps.depth_max));
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn count_member(&mut self) -> Result<(), JsonError> {
        if self.members >= self.caps.members_max {
            return self.fault(Fault::TooMany(self.caps.members_max));
        }
        self.members += 1;
        Ok(())
    }

    fn array(&mut self) -> Result<Vec<Value>, JsonError> {
        self.enter()?;
        let mut elements = Vec::new();
        if self.peek() != Some(b']') {
            loop {
                self.count_member()?;
                elements.push(self.value()?);
                self.skip_space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.skip_space();
            }
        }
        if self.peek() != Some(b']') {
            return self.unexpected();
        }
        self.leave();
        Ok(elements)
    }

    fn object(&mut self) -> Result<Object, JsonError> {
        self.enter()?;
        let mut members: Vec<(String, Value)> = Vec::new();
        let mut names = HashSet::new();
        if self.peek() != Some(b'}') {
            loop {
                self.count_member()?;
                let at = self.at;
                let name = self.string()?;
                if is_known(&members, &mut names, &name) {
                    return Err(Fault::Twice.at(at));
                }
                self.skip_space();
                self.take(b':')?;
                self.skip_space();
                let value = self.value()?;
                members.push((name, value));
                self.skip_space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.skip_space();
            }
        }
        if self.peek() != Some(b'}') {
            return self.unexpected();
        }
        self.leave();
        Ok(Object::of_distinct(members))
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.take(b'"')?;
        let mut string = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(plain) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) else {
                self.at = self.text.len();
                return self.fault(Fault::End);
            };
            let (plain, _) = rest.split_at(plain);
            // Looked at as a whole first, which is quicker by far where audio is one long string.
            if plain.bytes().fold(false, |found, byte| found | (byte < 0x20)) {
                self.at += plain.bytes().position(|byte| byte < 0x20).unwrap_or_default();
                return self.fault(Fault::Syntax);
            }
            string.push_str(plain);
            self.at += plain.len();
            if self.peek() == Some(b'"') {
                self.at += 1;
                return Ok(string);
            }
            string.push(self.escape()?);
        }
    }

    /// One escaped character; the parser stands at the backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at;
        self.at += 1;
        let character = match self.peek() {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(start),
            _ => return self.unexpected(),
        };
        self.at += 1;
        Ok(character)
    }

    /// `\uXXXX`, or two of them for a character beyond the basic plane; the parser stands at the first `u`.
    fn unicode(&mut self, start: usize) -> Result<char, JsonError> {
        let first = self.hex4()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or(Fault::Surrogate.at(start));
        }
        if first >= 0xdc00 || self.peek() != Some(b'\\') {
            return Err(Fault::Surrogate.at(start));
        }
        self.at += 1;
        if self.peek() != Some(b'u') {
            return Err(Fault::Surrogate.at(start));
        }
        let second = self.hex4()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(Fault::Surrogate.at(start));
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(Fault::Surrogate.at(start))
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        self.at += 1;
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(16)) else {
                return self.unexpected();
            };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.unexpected();
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Number, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        let mut is_whole = true;
        if self.peek() == Some(b'.') {
            is_whole = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let is_held = if is_whole {
            text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()
        } else {
            text.parse::<f64>().is_ok_and(f64::is_finite)
        };
        if is_held { Ok(Number(text.to_owned())) } else { Err(Fault::Number.at(start)) }
    }
}

/// Whether the object has a member of that name; `names` is filled once there are more than a few.
fn is_known(members: &[(String, Value)], names: &mut HashSet<String>, name: &str) -> bool {
    if members.len() < FEW_MEMBERS {
        return members.iter().any(|(known, _)| known == name);
    }
    if names.is_empty() {
        names.extend(members.iter().map(|(known, _)| known.clone()));
    }
    !names.insert(name.to_owned())
}
