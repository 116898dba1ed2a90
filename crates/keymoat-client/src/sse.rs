//! The text of an event stream (WHATWG HTML, "Server-sent events"), without its connection: bytes go in, events come out.

use std::time::Duration;

/// The longest wait that a `retry:` field is taken for.
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerEvent {
    /// Its type; `message` where it names none.
    pub event: String,
    /// Its data, lines joined by `\n`.
    pub data: String,
    /// The id that counted when it came; empty if there was none.
    pub id: String,
}

/// An event that is larger than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Reads events from bytes as they come.
pub(crate) struct Parser {
    bytes_max: usize,
    line: Vec<u8>,
    after_return: bool,
    begun: bool,
    event: String,
    data: String,
    has_data: bool,
    last_id: String,
    retry: Option<Duration>,
}

impl Parser {
    pub(crate) fn new(bytes_max: usize, last_id: String) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            after_return: false,
            begun: false,
            event: String::new(),
            data: String::new(),
            has_data: false,
            last_id,
            retry: None,
        }
    }

    /// Keeps what an earlier connection said.
    pub(crate) fn with_retry(mut self, retry: Option<Duration>) -> Self {
        self.retry = retry;
        self
    }

    /// Takes bytes and gives the events that end in them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<ServerEvent>, TooLarge> {
        let mut events = Vec::new();
        for byte in bytes {
            let follows_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                // The second half of a line end.
                b'\n' if follows_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() + self.event.len() > self.bytes_max {
                return Err(TooLarge);
            }
        }
        Ok(events)
    }

    /// The id to go on after.
    pub(crate) fn last_id(&self) -> &str {
        &self.last_id
    }

    /// How long the server wants its clients to wait.
    pub(crate) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn end_line(&mut self) -> Option<ServerEvent> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = if self.begun { &line } else { line.strip_prefix('\u{feff}').unwrap_or(&line) };
        self.begun = true;
        if line.is_empty() {
            return self.dispatch();
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            // Only what a header can hold goes on.
            "id" if value.bytes().all(|byte| byte >= b' ' && byte != 0x7f) && value.len() <= 1024 => {
                value.clone_into(&mut self.last_id);
            }
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(|millis| Duration::from_millis(millis).min(RETRY_MAX));
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<ServerEvent> {
        let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(ServerEvent { event, data, id: self.last_id.clone() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String, String)> {
        let events = Parser::new(1024, String::new()).push(text.as_bytes()).expect("small");
        events.into_iter().map(|event| (event.event, event.data, event.id)).collect()
    }

    fn event(event: &str, data: &str, id: &str) -> (String, String, String) {
        (event.to_owned(), data.to_owned(), id.to_owned())
    }

    #[test]
    fn reads_fields_comments_and_all_line_ends() {
        let text = "\u{feff}: hello\nevent: tick\r\ndata: a\rdata:b\n\n\ndata\n\nid: 7\ndata: x: y\nunknown: z\n\ndata: never ended\n";
        assert_eq!(read(text), [event("tick", "a\nb", ""), event("message", "", ""), event("message", "x: y", "7")]);
    }

    #[test]
    fn keeps_the_id_and_the_retry() {
        let mut parser = Parser::new(1024, "3".to_owned());
        let events =
            parser.push(b"data: a\n\nid: 4\nretry: 250\n\ndata: b\n\nid: a\0b\nretry: soon\n\n").expect("small");
        assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["3", "4"]);
        assert_eq!((parser.last_id(), parser.retry()), ("4", Some(Duration::from_millis(250))));
    }

    #[test]
    fn an_event_without_an_end_is_bounded() {
        let mut parser = Parser::new(100, String::new());
        assert!(parser.push(&[b'a'; 100]).is_ok());
        assert_eq!(parser.push(b"a"), Err(TooLarge));
        let mut parser = Parser::new(100, String::new());
        assert_eq!(parser.push(&b"data: 0123456789\n".repeat(20)), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn pieces_are_the_same_as_the_whole(text in "(data: a|id: 1|event: e|:c|\n|\r|\r\n|\n\n){0,20}", at in 0usize..80) {
            let whole = Parser::new(1024, String::new()).push(text.as_bytes()).expect("small");
            let (first, rest) = text.as_bytes().split_at(at.min(text.len()));
            let mut parser = Parser::new(1024, String::new());
            let mut pieces = parser.push(first).expect("small");
            pieces.extend(parser.push(rest).expect("small"));
            prop_assert_eq!(whole, pieces);
        }
    }
}
