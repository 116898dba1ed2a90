//! Judges request targets and hosts: which forms are taken and which bytes may stand in them.

use std::ops::Range;

use super::GateError;
use super::scan::{HOST, IPV6, PATH, QUERY, run, split_run};

/// Judges a target of RFC 9112 section 3.2. Returns where its authority stands if it is in absolute form.
pub(super) fn judge(method: &[u8], target: &[u8]) -> Result<Option<Range<usize>>, GateError> {
    match target {
        [b'/', ..] => path_and_query(target).map(|()| None),
        [b' ', ..] => Err(GateError::TargetSpace),
        b"*" if method == b"OPTIONS" => Ok(None),
        _ => absolute(target).map(Some),
    }
}

fn path_and_query(target: &[u8]) -> Result<(), GateError> {
    let stop = match split_run(target, PATH).1 {
        [b'?', query @ ..] => split_run(query, QUERY).1,
        rest => rest,
    };
    match stop {
        [] => Ok(()),
        [b'#', ..] => Err(GateError::TargetFragment),
        [b' ', ..] => Err(GateError::TargetSpace),
        _ => Err(GateError::TargetByte),
    }
}

fn absolute(target: &[u8]) -> Result<Range<usize>, GateError> {
    let start = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)))
        .ok_or(GateError::TargetForm)?
        .len();
    let rest = target.get(start..).unwrap_or_default();
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(length);
    match host(authority) {
        Err(GateError::HostUserinfo) => return Err(GateError::TargetUserinfo),
        Err(_) => return Err(GateError::TargetForm),
        Ok(()) => {}
    }
    match path {
        [] => {}
        [b'/', ..] | [b'#', ..] => path_and_query(path)?,
        _ => return Err(GateError::TargetForm),
    }
    Ok(start..start + length)
}

/// Judges `host [":" port]` (RFC 9110 section 7.2): a name of letters, digits, `-`, `.` and `_`, or an address.
pub(super) fn host(value: &[u8]) -> Result<(), GateError> {
    if value.contains(&b'@') {
        return Err(GateError::HostUserinfo);
    }
    let port = match value {
        [b'[', rest @ ..] => {
            let (address, after) = split_run(rest, IPV6);
            let [b']', port @ ..] = after else { return Err(GateError::HostInvalid) };
            if !address.contains(&b':') || address.len() > 45 {
                return Err(GateError::HostInvalid);
            }
            port
        }
        _ => {
            let (name, port) = split_run(value, HOST);
            if name.is_empty() || name.len() > 255 {
                return Err(GateError::HostInvalid);
            }
            port
        }
    };
    match port {
        [] => Ok(()),
        [b':', digits @ ..] if is_port(digits) => Ok(()),
        _ => Err(GateError::HostInvalid),
    }
}

fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().fold(0_u32, |sum, byte| sum.saturating_mul(10).saturating_add(u32::from(byte & 0x0f)));
    (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) && number <= u32::from(u16::MAX)
}

/// Returns how long the method at the start of a request line is.
pub(super) fn method(line: &[u8]) -> Result<&[u8], GateError> {
    const METHOD_BYTES_MAX: usize = 32;
    let length = run(line, super::scan::TOKEN);
    let method = line.get(..length).unwrap_or_default();
    if length == 0 || length > METHOD_BYTES_MAX || line.get(length) != Some(&b' ') {
        return Err(if line.contains(&b' ') { GateError::MethodInvalid } else { GateError::RequestLine });
    }
    if method.iter().any(u8::is_ascii_lowercase) {
        return Err(GateError::MethodCase);
    }
    if method == b"CONNECT" { Err(GateError::MethodConnect) } else { Ok(method) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_hosts_as_clients_send_them() {
        for good in
            ["a", "a.example", "a.example:8443", "127.0.0.1:80", "[::1]", "[::ffff:1.2.3.4]:65535", "my_service"]
        {
            assert_eq!(host(good.as_bytes()), Ok(()), "{good}");
        }
    }

    #[test]
    fn refuses_hosts_that_are_none() {
        for bad in [
            "", ":80", "a:", "a:x", "a:65536", "a:000080", "a b", "a/b", "a,b", "[]", "[::1", "[1.2]", "[::1]x", "a%00",
        ] {
            assert_eq!(host(bad.as_bytes()), Err(GateError::HostInvalid), "{bad}");
        }
        assert_eq!(host(b"u@a"), Err(GateError::HostUserinfo));
    }

    #[test]
    fn takes_the_forms_of_targets() {
        for good in ["/", "/a?b=c&d=%23", "//x", "/a/../b;c", "/{\"a\"}|[b]?{}|^`\\"] {
            assert_eq!(judge(b"GET", good.as_bytes()), Ok(None), "{good}");
        }
        assert_eq!(judge(b"OPTIONS", b"*"), Ok(None));
        assert_eq!(judge(b"GET", b"http://a:1/x?y"), Ok(Some(7..10)));
        assert_eq!(judge(b"GET", b"HTTPS://a"), Ok(Some(8..9)));
    }
}
