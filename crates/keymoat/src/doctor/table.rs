//! The checks: what each is called, what it looks at, and what to do when it is not well. The page of the book is made
//! from this.

/// One check, by its place in [`CHECKS`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Stable: scripts ask for it with `--only`.
    pub(crate) id: &'static str,
    /// A few words.
    pub(crate) title: &'static str,
    /// What it looks at, and when it warns or fails.
    pub(crate) looks: &'static str,
    /// What to do then.
    pub(crate) remedy: &'static str,
}

const fn check(id: &'static str, title: &'static str, looks: &'static str, remedy: &'static str) -> Check {
    Check { id, title, looks, remedy }
}

pub(crate) const CERTIFICATE: &Check = &check(
    "D101",
    "certificate",
    "How many days the certificate of the data listener has left. Warns below 21, fails below 3.",
    "Renew it; a changed file is taken over without a restart. One that Keymoat makes itself is renewed at the next start.",
);
pub(crate) const CLOCK: &Check = &check(
    "D102",
    "clock",
    "The machine's clock against the `Date` of the upstreams' answers. Warns at 30 seconds apart, fails at 5 minutes.",
    "Let the machine keep its time (`timedatectl set-ntp true`): deadlines of tokens and certificates depend on it.",
);
pub(crate) const STORE: &Check = &check(
    "D103",
    "store",
    "Whether the store opens with its master key, can be read and can be written.",
    "The message says what is wrong. A copy is made with `keymoat store backup`.",
);
pub(crate) const FILES: &Check = &check(
    "D104",
    "file modes",
    "Whether others than the owner may read the store's folder, its database or its master key.",
    "`chmod 700` the folder and `chmod 600` the files.",
);
pub(crate) const DISK: &Check = &check(
    "D105",
    "disk",
    "How much room the store's file system has left. Warns below 1 GiB, fails below 100 MiB.",
    "Make room, or keep fewer events: `keep` and `keep_max` in `[events]`.",
);
pub(crate) const READY: &Check = &check(
    "D106",
    "gateway",
    "Whether the gateway of this configuration answers, and whether its view of the store is younger than 5 seconds.",
    "Start it; if it runs, its log says why it takes no new work.",
);
pub(crate) const QUERY: &Check = &check(
    "D107",
    "keys in URLs",
    "Which routes take long-lived keys in URLs, overrides and days counted in. Warns of each.",
    "`keymoat sunset status` says who still sends them, `keymoat sunset enforce` ends it.",
);
pub(crate) const ROTATION: &Check = &check(
    "D108",
    "rotation",
    "Which live keys are past the day on which they should have been rotated.",
    "`keymoat key rotate NAME`: the old secret works on until the new one is everywhere.",
);
pub(crate) const SUBPROTOCOLS: &Check = &check(
    "D109",
    "subprotocols",
    "With `--through URL`: opens a WebSocket from outside and compares the subprotocols that were offered, that arrived, and that came back. Fails where a proxy in front drops them, or opens no WebSockets.",
    "Let the proxy pass `Upgrade`, `Connection` and `Sec-WebSocket-Protocol`: a browser's key comes in the last of them. [In front of Keymoat](proxies.md) has how in nginx, Caddy and HAProxy.",
);
pub(crate) const EVENTS: &Check = &check(
    "D110",
    "event streams",
    "With `--through URL`: reads an event stream that is sent in five pieces, 200 ms apart. Fails where they come at once, because a proxy in front holds them back.",
    "Turn buffering and compression off for event streams. [In front of Keymoat](proxies.md) has how in nginx, Caddy and HAProxy.",
);
pub(crate) const UPSTREAM: &Check = &check(
    "D111",
    "upstreams",
    "Asks each upstream once with its secret in the header. Warns of one that is asked by its URL; fails where the secret is refused, or nobody answers.",
    "`keymoat upstream test NAME` tells each step. A refused secret is replaced with `keymoat upstream rotate`.",
);
pub(crate) const CANARY: &Check = &check(
    "D112",
    "canary",
    "Sends four made-up keys, in a header, as a subprotocol, as an encoded one and in a URL, to the gateway or through `--through`, and searches the store's files, its events, the metrics, the file of events, and every `--log` of something in front: a file, a pipe such as `<(docker logs -f --tail 0 caddy)`, or `-`. Fails where one stands; warns where it is the one of the URL, in a log of something in front, and where a log tells of none of the requests.",
    "What Keymoat writes must never have one: report it. A proxy in front that logs URLs logs keys in URLs, and one that logs headers the others: [In front of Keymoat](proxies.md) has logs without them.",
);
pub(crate) const CANARY_OUTPUT: &Check = &check(
    "D114",
    "canary: output",
    "Searches what the gateway prints for the keys of D112, wherever `--output` says that it is caught: a file, a pipe, or `-`. Fails where one stands; warns where nothing tells of the requests.",
    "It must never have one: report it. Where it tells of no request, another gateway's output was named: `--output <(journalctl -fu keymoat -n 0)` under systemd, `--output <(docker logs -f --tail 0 keymoat 2>&1)` of a container.",
);
pub(crate) const CANARY_TELEMETRY: &Check = &check(
    "D115",
    "canary: OTLP",
    "Searches what `[telemetry] otlp` is told of the requests of D112: the messages that their events become or, with `--collector`, those that the running gateway sends. For that, doctor takes the place of a collector in plain text on this machine, which is stopped meanwhile. Fails where a key stands; warns where nothing comes.",
    "It must never have one: report it. Where nothing comes, the gateway runs with another configuration, or has not noticed yet that its collector is gone.",
);
pub(crate) const ADMIN: &Check = &check(
    "D113",
    "admin listener",
    "Where the admin listener is: on loopback, or beyond it with TLS.",
    "Write `listen = \"127.0.0.1:8788\"` into `[admin]` and reach it by a tunnel, unless others have to reach it.",
);

pub(crate) const NODES: &Check = &check(
    "D116",
    "nodes",
    "Which nodes serve over the store, and whether all of them keep up. Warns of one that was not seen for 5 seconds, of one that has not seen the last changes, of versions that differ, and of a clock that is more than 2 seconds from the store's.",
    "A node that is gone for good is forgotten after an hour. One that is cut off from the store says so in its log, and refuses. Bring all nodes to one version, and let the machines keep their time.",
);

/// All of them, in their order.
pub(crate) const CHECKS: [&Check; 16] = [
    CERTIFICATE,
    CLOCK,
    STORE,
    FILES,
    DISK,
    READY,
    QUERY,
    ROTATION,
    SUBPROTOCOLS,
    EVENTS,
    UPSTREAM,
    CANARY,
    ADMIN,
    CANARY_OUTPUT,
    CANARY_TELEMETRY,
    NODES,
];

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// The page of the book.
    fn page() -> String {
        let mut page = String::from(
            "# Doctor\n\n\
             `keymoat doctor` looks at an installation from inside and, with `--through URL`, from outside. Each check ends as `ok`,\n\
             `warn`, `fail` or `skipped`, and says what it saw and what to do. Exit codes: 0 all well, 1 something warns or fails, 2 it\n\
             could not look. `--json` prints one object for programs, `--only D103` runs one check; ids are stable.\n\n\
             Nothing is changed, and no secret is shown. Through a proxy two addresses of the gateway are asked for,\n\
             `/keymoat/v1/probe/websocket` and `/keymoat/v1/probe/events`. They need no key: an answer takes a second at most, costs no\n\
             upstream, and repeats nothing of what was sent.\n",
        );
        for check in CHECKS {
            // Writing to a string does not fail.
            let _ = write!(
                page,
                "\n## {id} {title}\n\n{looks}\n\n**What to do.** {remedy}\n",
                id = check.id,
                title = check.title,
                looks = check.looks,
                remedy = check.remedy
            );
        }
        page
    }

    #[test]
    fn the_page_of_the_book_lists_the_checks() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/doctor.md");
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            std::fs::write(path, page()).expect("the page can be written");
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        let how = "UPDATE=1 cargo nextest run -p keymoat the_page_of_the_book_lists_the_checks";
        assert!(found == page(), "docs/src/doctor.md is stale: run `{how}`");
    }

    #[test]
    fn ids_are_distinct_and_in_order() {
        assert!(CHECKS.windows(2).all(|pair| pair[0].id < pair[1].id));
    }
}
