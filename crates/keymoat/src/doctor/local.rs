//! What can be seen on the machine itself.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keymoat_core::route_override;
use keymoat_gateway::tls;

use super::table::{ADMIN, CERTIFICATE, DISK, FILES, QUERY, ROTATION, STORE};
use super::{Finding, Outcome, Patient};
use crate::config::Tls;
use crate::output::time::rfc3339;

const DAY_SECS: i64 = 24 * 60 * 60;

/// Tokens are decided by the database's clock, and their sessions end by this machine's.
const DATABASE_CLOCK_MILLIS_MAX: i64 = 2_000;

pub(super) fn certificate(patient: &Patient) -> Finding {
    let file = match &patient.config.tls {
        Tls::Provided { cert, .. } => cert.clone(),
        Tls::SelfSigned { .. } => patient.store_dir().join("tls/server.pem"),
        Tls::Disabled | Tls::BehindProxy => {
            return Finding::new(CERTIFICATE, Outcome::Skipped, "there is no TLS listener with this mode");
        }
    };
    let Some(ends) = tls::ends_at_secs(&file) else {
        let seen = format!("`{}` holds no certificate that can be read", file.display());
        let is_made = matches!(patient.config.tls, Tls::SelfSigned { .. }) && !file.exists();
        return Finding::new(CERTIFICATE, if is_made { Outcome::Skipped } else { Outcome::Fail }, seen);
    };
    let days = (ends - patient.now.0 / 1000).div_euclid(DAY_SECS);
    let outcome = match days {
        ..3 => Outcome::Fail,
        3..21 => Outcome::Warn,
        21.. => Outcome::Ok,
    };
    Finding::new(CERTIFICATE, outcome, format!("{days} days left"))
}

pub(super) fn store(patient: &Patient) -> Finding {
    let dir = patient.store_dir().display();
    match &patient.store {
        None => Finding::new(STORE, Outcome::Skipped, format!("`{dir}` is not made yet")),
        Some(Err(error)) => Finding::new(STORE, Outcome::Fail, format!("{error:#}")),
        Some(Ok(store)) => match store.check() {
            Ok(()) if patient.config.database.is_some() => database(patient, &store.place()),
            Ok(()) => Finding::new(STORE, Outcome::Ok, format!("`{dir}` opens, is whole and can be written")),
            Err(error) => Finding::new(STORE, Outcome::Fail, error.to_string()),
        },
    }
}

/// What a commit in the database is worth, and whether its clock is this machine's.
fn database(patient: &Patient, place: &str) -> Finding {
    let Some(url) = &patient.config.database else {
        return Finding::new(STORE, Outcome::Ok, format!("{place} answers"));
    };
    let state = match keymoat_store::Store::database_state(url, crate::output::time::now) {
        Ok(state) => state,
        Err(error) => return Finding::new(STORE, Outcome::Fail, error.to_string()),
    };
    if !state.is_durable {
        let told = format!("{place} may lose acknowledged commits: set fsync and full_page_writes to on");
        return Finding::new(STORE, Outcome::Fail, told);
    }
    if state.ahead_millis.abs() > DATABASE_CLOCK_MILLIS_MAX {
        let told = format!("the clock of {place} is {} ms ahead of this machine's", state.ahead_millis);
        return Finding::new(STORE, Outcome::Warn, told);
    }
    let standbys = match state.standbys.is_empty() {
        true => "no synchronous standby, so that a failover may give uses back".to_owned(),
        false => format!("each commit waits for {}", state.standbys),
    };
    Finding::new(STORE, Outcome::Ok, format!("{place} answers, schema {}; {standbys}", state.found))
}

pub(super) fn files(patient: &Patient) -> Finding {
    let dir = patient.store_dir();
    if !dir.exists() {
        return Finding::new(FILES, Outcome::Skipped, "there is no store yet");
    }
    let names = ["", "keymoat.db", "keymoat.db-wal", "events.db", "events.db-wal", "master.key", "tls/ca.key"];
    let open: Vec<String> = names
        .into_iter()
        .map(|name| if name.is_empty() { dir.to_owned() } else { dir.join(name) })
        .filter(|path| mode(path).is_some_and(|mode| mode & 0o077 != 0))
        .map(|path| format!("`{}` has mode {:o}", path.display(), mode(&path).unwrap_or_default()))
        .collect();
    match open.is_empty() {
        true => Finding::new(FILES, Outcome::Ok, "the store is its owner's alone"),
        false => Finding::new(FILES, Outcome::Fail, open.join(", ")),
    }
}

fn mode(path: &Path) -> Option<u32> {
    Some(path.metadata().ok()?.permissions().mode() & 0o777)
}

pub(super) fn disk(patient: &Patient) -> Finding {
    const MIB: u64 = 1 << 20;
    let Ok(room) = rustix::fs::statvfs(patient.store_dir()) else {
        return Finding::new(DISK, Outcome::Skipped, "there is no store yet");
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize) / MIB;
    let outcome = match free {
        0..100 => Outcome::Fail,
        100..1024 => Outcome::Warn,
        1024.. => Outcome::Ok,
    };
    Finding::new(DISK, outcome, format!("{free} MiB are free"))
}

pub(super) fn query(patient: &Patient) -> Finding {
    let overrides = match patient.store().map(keymoat_store::Store::route_overrides) {
        Some(Err(error)) => return Finding::new(QUERY, Outcome::Fail, error.to_string()),
        Some(Ok(overrides)) => overrides,
        None => Vec::new(),
    };
    let routes = route_override::in_force(&patient.config.routes, &overrides);
    let taking: Vec<String> = routes
        .iter()
        .filter(|route| route.query_at(patient.now).takes_keys())
        .map(|route| match route.sunset {
            Some(day) => format!("`{}` ({}) until {}", route.name, route.query.word(), rfc3339(day)),
            None => format!("`{}` ({}) without an end", route.name, route.query.word()),
        })
        .collect();
    match taking.is_empty() {
        true => Finding::new(QUERY, Outcome::Ok, "no route takes long-lived keys in URLs"),
        false => Finding::new(QUERY, Outcome::Warn, format!("taken by {}", taking.join(", "))),
    }
}

pub(super) fn rotation(patient: &Patient) -> Finding {
    let Some(store) = patient.store() else {
        return Finding::new(ROTATION, Outcome::Skipped, "there is no store that opens");
    };
    let keys = match store.keys() {
        Ok(keys) => keys,
        Err(error) => return Finding::new(ROTATION, Outcome::Fail, error.to_string()),
    };
    let due = keys.iter().filter(|key| {
        let is_good = key.revoked_at.is_none() && key.expires_at.is_none_or(|end| end > patient.now);
        is_good && key.rotation_due().is_some_and(|due| due <= patient.now)
    });
    let due: Vec<String> = due.map(|key| format!("{} `{}`", key.id, key.name)).collect();
    match due.is_empty() {
        true => Finding::new(ROTATION, Outcome::Ok, "no key is past its day"),
        false => Finding::new(ROTATION, Outcome::Warn, format!("past their day: {}", due.join(", "))),
    }
}

pub(super) fn admin(patient: &Patient) -> Finding {
    let Some(admin) = &patient.config.admin else {
        return Finding::new(ADMIN, Outcome::Ok, "there is no admin listener");
    };
    let at = admin.listen;
    match at.ip().is_loopback() {
        true => Finding::new(ADMIN, Outcome::Ok, format!("on loopback, {at}")),
        false => Finding::new(ADMIN, Outcome::Warn, format!("reachable beyond loopback, {at}")),
    }
}
