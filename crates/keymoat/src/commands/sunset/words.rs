//! What `keymoat sunset` says, for people.

use std::fmt::Write;

use keymoat_admin::sunset::{Plan, Status};

use super::super::table;
use super::EnforcedRoute;

/// One sentence for each route, and the keys below it.
pub(super) fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for route in &plan.routes {
        let name = &route.route;
        if route.is_enforced && route.refused_requests == 0 {
            let _ = writeln!(text, "{name}: refuses keys in URLs already");
            continue;
        }
        let verb =
            if route.is_enforced { "enforcing before would have refused" } else { "enforcing now would have refused" };
        let (requests, keys) = (counted(route.refused_requests, "request"), counted(route.refused_keys as u64, "key"));
        let _ = writeln!(text, "{name}: {verb} {requests} by {keys} since {}", plan.since);
        let rows = route.keys.iter().map(|key| {
            let state = if key.is_live { "" } else { "not good any more" };
            let agent = key.user_agent.clone().unwrap_or_default();
            let (id, name) = (key.key_id.clone(), key.key_name.clone());
            [
                format!("  {id}"),
                name,
                key.carrier.clone(),
                key.requests.to_string(),
                key.last_seen_at.clone(),
                agent,
                state.to_owned(),
            ]
        });
        if !route.keys.is_empty() {
            text.push_str(&table(["  KEY", "NAME", "BY", "REQUESTS", "LAST SEEN", "CLIENT", ""], rows));
        }
    }
    text
}

/// Routes, then whoever still comes by a URL, then where every key was last seen.
pub(super) fn status(status: &Status) -> String {
    let routes = status.routes.iter().map(|route| {
        let end = route.sunset.clone().unwrap_or_else(|| "-".to_owned());
        let by = if route.is_overridden { "store" } else { "file" };
        let (requests, keys) = (route.requests.to_string(), route.keys.to_string());
        [route.route.clone(), route.query.to_owned(), end, by.to_owned(), requests, keys]
    });
    let mut text = table(["ROUTE", "QUERY", "SUNSET", "SAID BY", "BY URL, 30 DAYS", "KEYS"], routes);
    let _ = writeln!(
        text,
        "\n{} of {} came by a URL in the last 30 days",
        status.keys_by_url,
        counted(status.keys_live as u64, "live key")
    );
    for item in &status.items {
        let client = item.client.as_deref().unwrap_or("an address that is not kept");
        let agent = item.user_agent.as_deref().map_or_else(String::new, |agent| format!(" ({agent})"));
        let requests = counted(item.requests, "request");
        let _ = writeln!(
            text,
            "\n{} `{}` on {}: {requests} by {}, last {} from {client}{agent}\n  instead: {}",
            item.key_id, item.key_name, item.route, item.carrier, item.last_seen_at, item.fix
        );
    }
    if !status.seen.is_empty() {
        let rows = status.seen.iter().map(|seen| {
            let (allowed, refused) = (seen.allowed.to_string(), seen.refused.to_string());
            let (name, route, carrier) = (seen.key_name.clone(), seen.route.clone(), seen.carrier.clone());
            [name, route, carrier, seen.credential.clone(), allowed, refused, seen.last_seen_at.clone()]
        });
        let _ = writeln!(text);
        text.push_str(&table(["KEY", "ROUTE", "CARRIER", "CAME AS", "ALLOWED", "REFUSED", "LAST SEEN"], rows));
    }
    text
}

/// What holds now, and what makes it permanent.
pub(super) fn enforced(changes: &[EnforcedRoute]) -> String {
    if changes.is_empty() {
        return "nothing was to be changed\n".to_owned();
    }
    let mut text = String::new();
    for change in changes {
        let _ = writeln!(text, "{}: {}", change.route, change.detail);
        if let Some(toml) = &change.toml {
            let _ = writeln!(text, "to make it permanent, write into keymoat.toml:\n{toml}");
        }
    }
    text
}

fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
