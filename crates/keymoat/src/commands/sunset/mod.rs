//! `keymoat sunset`: the way off keys in URLs, from who still sends them to the day that ends them.

mod words;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use http::Method;
use keymoat_admin::events::keep_acts;
use keymoat_admin::sunset::{self, Change, EnforceError, Known, Plan, When};
use keymoat_core::{Actor, Key, Route, RouteOverride, UnixMillis, route_override};
use keymoat_store::Store;
use keymoat_store::events::{Durability, EventStore};
use serde::Serialize;
use serde_json::{Value, json};

use super::store_choice::{is_there, open_at};
use super::{Found, print, to_json};
use crate::config::{self, Chosen};
use crate::demo;
use crate::output::time::{now, parse_rfc3339, rfc3339};
use crate::socket::Socket;

/// Ends keys in URLs: says who still sends them, forecasts what refusing them would refuse, and does it.
///
/// What is enforced is an override in the store: a running gateway holds to it within a second and no session ends. It
/// is printed as the line that makes it permanent, and `--undo` takes it back.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The configuration that names the routes [default: keymoat.toml, if there is one].
    #[arg(long, global = true, value_name = "FILE", display_order = 100)]
    config: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long, global = true, display_order = 102)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Says which keys still come by URLs, from where, and what to change; and where every key was last seen.
    Status,
    /// Forecasts: says what would have been refused if keys in URLs had been.
    Plan(PlanArguments),
    /// Refuses keys in URLs, at once or from a day on; short-lived tokens still work.
    ///
    /// Where live keys would be refused, it asks first; where nobody can answer, it does nothing without --yes and
    /// ends with exit code 1.
    Enforce(EnforceArguments),
}

#[derive(Debug, clap::Args)]
struct PlanArguments {
    /// Only this route; may be given more than once [default: all].
    #[arg(long = "route", value_name = "NAME")]
    routes: Vec<String>,
    /// How far back to count: 24h, 7d; from the beginning of an hour on.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = back)]
    since: i64,
}

#[derive(Debug, clap::Args)]
struct EnforceArguments {
    /// Only this route; may be given more than once [default: all that take keys in URLs].
    #[arg(long = "route", value_name = "NAME")]
    routes: Vec<String>,
    /// From which day or time on, such as 2027-03-01 [default: at once].
    #[arg(long, value_name = "WHEN", value_parser = day, conflicts_with = "undo")]
    at: Option<UnixMillis>,
    /// Says what it would do, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Takes back what was enforced: what the file says holds again.
    #[arg(long)]
    undo: bool,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

/// Everything that is looked at.
struct Place {
    store: Store,
    /// The folder of the store, where the socket of its server lies.
    dir: PathBuf,
    events: EventStore,
    /// The routes as their file has them.
    configured: Vec<Route>,
    overrides: Vec<RouteOverride>,
    keys: Vec<Arc<Key>>,
}

impl Place {
    fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        let config = Chosen::new(arguments.config.as_deref(), None, None).read(&config::environment())?;
        let database = config.database.as_ref();
        if !is_there(&config.store_dir, database) {
            let dir = config.store_dir.display();
            anyhow::bail!("there is no store in `{dir}`: `keymoat serve` makes one, and counts what comes by URLs");
        }
        let store = open_at(&config.store_dir, database, &config.master_key)?;
        let events = store.events(Durability::Process)?;
        let first_run = config.upstreams.is_empty() && config.routes.is_empty();
        let configured = if first_run { demo::routes() } else { config.routes };
        let kept = store.keys()?.into_iter();
        let of_file = config.keys.iter().map(|key| Key::new(&key.id, &key.name, now()));
        let keys = kept.chain(of_file).map(Arc::new).collect();
        let overrides = store.route_overrides()?;
        Ok(Self { store, dir: config.store_dir, events, configured, overrides, keys })
    }

    fn in_force(&self) -> Vec<Route> {
        route_override::in_force(&self.configured, &self.overrides)
    }

    fn plan(&self, routes: &[String], since: i64) -> anyhow::Result<Plan> {
        let (in_force, now) = (self.in_force(), now());
        if routes.iter().any(|name| !in_force.iter().any(|route| *route.name == **name)) {
            // What was typed may be anything, also a key: it is not repeated.
            let known: Vec<&str> = in_force.iter().map(|route| &*route.name).collect();
            return Err(Found(format!("no route has this name: the routes are {}", known.join(", "))).into());
        }
        let known = Known { routes: &in_force, keys: &self.keys, now };
        Ok(sunset::plan(&self.events, &known, routes, UnixMillis(now.0.saturating_sub(since)))?)
    }
}

/// Does what is asked.
///
/// # Errors
/// What is wrong with the configuration, whatever the store refuses, and what was found.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let place = Place::open(arguments)?;
    match &arguments.action {
        Action::Status => status(&place, arguments.json),
        Action::Plan(PlanArguments { routes, since }) => {
            let plan = place.plan(routes, *since)?;
            print(&if arguments.json { to_json(&plan)? } else { words::plan(&plan) })
        }
        Action::Enforce(asked) => enforce(&place, asked, arguments.json),
    }
}

fn status(place: &Place, json: bool) -> anyhow::Result<()> {
    let in_force = place.in_force();
    let known = Known { routes: &in_force, keys: &place.keys, now: now() };
    let overridden: Vec<&str> = place.overrides.iter().map(|over| &*over.route).collect();
    let status = sunset::status(&place.events, &known, &overridden)?;
    print(&if json { to_json(&status)? } else { words::status(&status) })
}

/// What was enforced, in JSON.
#[derive(Debug, Serialize)]
struct Enforced {
    dry_run: bool,
    routes: Vec<EnforcedRoute>,
}

/// A route that was changed.
#[derive(Debug, Serialize)]
struct EnforcedRoute {
    route: String,
    detail: String,
    /// The lines that make it permanent; null where nothing is overridden any more.
    toml: Option<String>,
}

fn enforce(place: &Place, asked: &EnforceArguments, json: bool) -> anyhow::Result<()> {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    if !asked.undo {
        let plan = place.plan(&asked.routes, DAY)?;
        if !json {
            print(&words::plan(&plan))?;
        }
        if asked.dry_run {
            return if json { print(&to_json(&plan)?) } else { Ok(()) };
        }
        // A day to come leaves time to move: it is told to the clients until then.
        if asked.at.is_none() && plan.refused_live_keys > 0 && !asked.yes && !agreed()? {
            let keys = plan.refused_live_keys;
            return Err(Found(format!(
                "nothing was changed: {keys} live keys came by URLs in the last 24 h; move them first (`keymoat sunset \
                 status` says how), choose a day with --at, or refuse them all the same with --yes"
            ))
            .into());
        }
    } else if asked.dry_run {
        return print("nothing was changed: `keymoat sunset status` shows the routes that are overridden\n");
    }
    let changed = match Socket::of_store(&place.dir) {
        Some(server) => change_by_server(server, place, asked)?,
        None => change_here(place, asked)?,
    };
    if json {
        return print(&to_json(&Enforced { dry_run: false, routes: changed })?);
    }
    print(&words::enforced(&changed))
}

fn change_here(place: &Place, asked: &EnforceArguments) -> anyhow::Result<Vec<EnforcedRoute>> {
    let (actor, now) = (Actor::Command, now());
    let routes = &asked.routes;
    let changes = match (asked.undo, asked.at) {
        (true, _) => sunset::undo(&place.store, &place.configured, routes, (&actor, now)),
        (false, Some(day)) => sunset::enforce(&place.store, &place.in_force(), routes, When::At(day), (&actor, now)),
        (false, None) => sunset::enforce(&place.store, &place.in_force(), routes, When::Now, (&actor, now)),
    };
    let changes = changes.map_err(told)?;
    tell(&place.events, &changes)?;
    let changed = changes.into_iter().map(|change| EnforcedRoute {
        route: change.route.to_string(),
        detail: change.act.detail.unwrap_or_default(),
        toml: change.over.map(|over| over.toml(rfc3339)),
    });
    Ok(changed.collect())
}

/// Has the server do it that runs on the store: it holds to it at once.
fn change_by_server(server: Socket, place: &Place, asked: &EnforceArguments) -> anyhow::Result<Vec<EnforcedRoute>> {
    let body = json!({"routes": asked.routes, "at": asked.at.map(|at| at.to_string()), "undo": asked.undo});
    let answer = server.ask(Method::POST, "/api/v1/sunset/enforce", Some(&body))?;
    let overrides = place.store.route_overrides()?;
    let changed = answer.get("changed").and_then(Value::as_array).into_iter().flatten().map(|change| {
        let text = |name: &str| change.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let route = text("route");
        let over = overrides.iter().find(|over| *over.route == *route);
        EnforcedRoute { toml: over.map(|over| over.toml(rfc3339)), detail: text("detail"), route }
    });
    Ok(changed.collect())
}

fn told(error: EnforceError) -> anyhow::Error {
    match error {
        EnforceError::Store(error) => error.into(),
        error => Found(error.to_string()).into(),
    }
}

/// Asks whoever sits there; where nobody does, the answer is no.
fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut out = anstream::stderr();
    write!(out, "Refuse them from now on? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Writes down what was done, where the gateway's own events are.
fn tell(events: &EventStore, changes: &[Change]) -> anyhow::Result<()> {
    Ok(keep_acts(events, changes.iter().map(|change| change.act.clone()), now())?)
}

/// Reads how far back, in milliseconds: `24h`, `7d`.
fn back(text: &str) -> Result<i64, String> {
    let millis = match text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok()) {
        Some(days) => days.saturating_mul(24 * 60 * 60 * 1000),
        None => i64::try_from(config::duration_text(text)?.as_millis()).unwrap_or(i64::MAX),
    };
    if (1..=366 * 24 * 60 * 60 * 1000).contains(&millis) { Ok(millis) } else { Err("write 1s to 366d".to_owned()) }
}

/// Reads a day, which begins in UTC, or a time.
fn day(text: &str) -> Result<UnixMillis, String> {
    let is_day = text.len() == "2027-03-01".len();
    let text = if is_day { format!("{text}T00:00:00Z") } else { text.to_owned() };
    parse_rfc3339(&text)
        .map_err(|_| "write a day such as 2027-03-01, or a time such as 2027-03-01T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_read() {
        assert_eq!(day("2027-03-01"), Ok(UnixMillis(1_803_859_200_000)));
        assert_eq!(day("2027-03-01T01:00:00+01:00"), Ok(UnixMillis(1_803_859_200_000)));
        assert!(day("soon").is_err() && day("2027-13-01").is_err());
        assert_eq!((back("24h"), back("7d")), (Ok(86_400_000), Ok(604_800_000)));
        assert!(back("0s").is_err() && back("400d").is_err() && back("x").is_err());
    }
}
