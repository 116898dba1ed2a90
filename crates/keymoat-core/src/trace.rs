//! The place of a request in a trace that began elsewhere (W3C Trace Context).

use std::fmt::Write;

/// Where a request stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace, never 0.
    pub trace_id: u128,
    /// The request's own span in it, never 0.
    pub span_id: u64,
    /// The client's span, if the client is part of the trace.
    pub parent_id: Option<u64>,
    /// The flags as they came: whether whoever began it keeps it.
    pub flags: u8,
}

/// The flag of a trace that is kept.
const SAMPLED: u8 = 1;

impl Trace {
    /// Goes on with the trace that a client names in `traceparent`, or begins the trace `fresh_trace` where it names none
    /// that can be read (W3C Trace Context section 3.2). `fresh_span` is this request's own span.
    #[must_use]
    pub fn continued(traceparent: Option<&str>, fresh_trace: u128, fresh_span: u64) -> Self {
        let span_id = fresh_span.max(1);
        let own = Self { trace_id: fresh_trace.max(1), span_id, parent_id: None, flags: SAMPLED };
        traceparent.and_then(read).map_or(own, |(trace_id, parent, flags)| Self {
            trace_id,
            span_id,
            parent_id: Some(parent),
            flags,
        })
    }

    /// The `traceparent` that the upstream gets: the same trace, below this request.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(55);
        let _ = write!(text, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags & SAMPLED);
        text
    }

    /// Whether whoever began the trace keeps it.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// `00-TRACE-PARENT-FLAGS` in lower-case hexadecimal digits; a later version may have more behind it.
fn read(text: &str) -> Option<(u128, u64, u8)> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex =
        |part: &str, digits| part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex(version, 2) || !is_hex(trace, 32) || !is_hex(parent, 16) || !is_hex(flags, 2) || version == "ff" {
        return None;
    }
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|id| *id != 0)?;
    Some((trace, parent, u8::from_str_radix(flags, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_client_s_trace_goes_on_below_a_span_of_our_own() {
        let trace = Trace::continued(Some(KNOWN), 1, 0xabc);
        assert_eq!((trace.parent_id, trace.is_sampled()), (Some(0x00f0_67aa_0ba9_02b7), true));
        assert_eq!(trace.traceparent(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000abc-01");
        let later = Trace::continued(Some(&KNOWN.replacen("00-", "cc-", 1).replace("-01", "-03-more")), 1, 2);
        assert_eq!((later.trace_id, &later.traceparent()[52..]), (trace.trace_id, "-01"));
        assert!(!Trace::continued(Some(&KNOWN.replace("-01", "-00")), 1, 2).is_sampled());
    }

    #[test]
    fn what_cannot_be_read_begins_a_trace() {
        for bad in [
            "",
            "00",
            "00-0-0-0",
            &KNOWN.to_uppercase(),
            &KNOWN.replacen("00-", "ff-", 1),
            &format!("{KNOWN}-more"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01",
        ] {
            let trace = Trace::continued(Some(bad), 7, 0);
            assert_eq!((trace.trace_id, trace.span_id, trace.parent_id), (7, 1, None), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_passed_on_can_be_read(id in 1..u128::MAX, span in 1..u64::MAX, text in ".{0,60}") {
            let first = Trace::continued(None, id, span);
            let second = Trace::continued(Some(&first.traceparent()), 1, 2);
            prop_assert_eq!((second.trace_id, second.parent_id), (id, Some(span)));
            let _ = Trace::continued(Some(&text), 1, 2);
        }
    }
}
