//! Which addresses are public, so that a name that resolves to something inside is noticed (RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a host name belongs to no public zone, so that it can only lead to a private address: a name of one label,
/// such as a container's, or one under a zone for private use (RFC 6762 appendix G, RFC 8375, and ICANN's `internal`).
#[must_use]
pub fn is_private_name(host: &str) -> bool {
    const ZONES: [&str; 10] =
        ["internal", "intranet", "private", "corp", "home", "lan", "local", "home.arpa", "localhost", "svc"];
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    !host.contains('.') || ZONES.iter().any(|zone| host.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.')))
}

/// What kind of address it is, in a word or two for the operator; `None` for one that everybody reaches.
#[must_use]
pub fn inside(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => inside_v4(address),
        IpAddr::V6(address) => inside_v6(address),
    }
}

fn inside_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "unspecified",
        [127, ..] => "loopback",
        [169, 254, ..] => "link-local",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "shared by a carrier",
        [192, 0, 0, _] | [192, 0, 2, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => "reserved",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved",
        _ => return None,
    })
}

/// An address that carries an IPv4 address for a translator on the way is what that one is; the forms that are only
/// another spelling are for nobody.
fn inside_v6(address: Ipv6Addr) -> Option<&'static str> {
    let carried = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        inside_v4(Ipv4Addr::new(a, b, c, d))
    };
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0, 0, 0, 0, 0, 0xffff | 0, ..] => "an IPv4 address in disguise",
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => return carried(high, low),
        [0x64, 0xff9b, 1, ..] | [0xfc00..=0xfdff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xfec0..=0xfeff, ..] => "private",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x100, 0, 0, 0, ..] => "reserved",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g91_what_is_inside_is_told_by_its_kind() {
        for (address, kind) in [
            ("0.0.0.0", "unspecified"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("169.254.169.254", "link-local"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("100.64.0.1", "shared by a carrier"),
            ("192.0.0.192", "reserved"),
            ("198.18.0.1", "reserved"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "an IPv4 address in disguise"),
            ("::ffff:169.254.169.254", "an IPv4 address in disguise"),
            ("::ffff:8.8.8.8", "an IPv4 address in disguise"),
            ("::127.0.0.1", "an IPv4 address in disguise"),
            ("64:ff9b::a9fe:a9fe", "link-local"),
            ("2002:7f00:1::", "loopback"),
            ("64:ff9b:1::1", "private"),
            ("fd00:ec2::254", "private"),
            ("fc00::1", "private"),
            ("fe80::1", "link-local"),
            ("fec0::1", "private"),
            ("ff02::1", "multicast"),
            ("2001::1", "reserved"),
            ("2001:db8::1", "reserved"),
        ] {
            assert_eq!(inside(address.parse().expect("an address")), Some(kind), "{address}");
        }
    }

    #[test]
    fn names_of_no_public_zone_are_private() {
        for host in ["backend", "events.internal", "Events.Internal.", "api.prod.svc", "nas.local", "box.home.arpa"] {
            assert!(is_private_name(host), "{host}");
        }
        for host in ["api.example.com", "internal.example.com", "notinternal.example", "mylocal.dev"] {
            assert!(!is_private_name(host), "{host}");
        }
    }

    #[test]
    fn what_everybody_reaches_is_not_inside() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "11.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "169.253.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b::808:808",
            "2002:808:808::",
        ] {
            assert_eq!(inside(address.parse().expect("an address")), None, "{address}");
        }
    }
}
