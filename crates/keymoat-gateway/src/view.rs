//! What a running gateway shows of its plan to those who look after it: routes, and upstreams without their secrets.

use std::sync::Arc;

use http::Uri;
use keymoat_core::Route;

use crate::gateway::Running;
use crate::settings::{Inject, Limits, Origin, UpstreamHttp};
use crate::upstream::Target;
use crate::upstream::probe::{Probe, probe_target};

/// An upstream in force, without its secret.
#[derive(Clone, Debug)]
pub struct UpstreamView {
    /// The name that routes use.
    pub name: Arc<str>,
    /// Scheme, host and port.
    pub origin: Origin,
    /// What stands before every path sent there.
    pub path_prefix: String,
    /// Whether it has a secret.
    pub has_secret: bool,
    /// Where the secret is put on.
    pub inject: Inject,
    /// Which HTTP version is spoken to it.
    pub http: UpstreamHttp,
    /// Why nothing is sent to it; `None` when it is in order.
    pub withheld: Option<Arc<str>>,
}

/// An upstream that can be asked once, as requests ask it.
pub struct Probing {
    target: Arc<Target>,
    limits: Limits,
}

impl Running {
    /// The routes in force, with their overrides, in the order of the configuration.
    #[must_use]
    pub fn routes(&self) -> Vec<Route> {
        self.shared.plan.load().routes.clone()
    }

    /// The upstreams in force, by name.
    #[must_use]
    pub fn upstreams(&self) -> Vec<UpstreamView> {
        let plan = self.shared.plan.load();
        let mut views: Vec<_> = plan.targets().map(|target| target.view()).collect();
        views.sort_by(|one, other| one.name.cmp(&other.name));
        views
    }

    /// The upstream of this name, to be asked once.
    #[must_use]
    pub fn probing(&self, upstream: &str) -> Option<Probing> {
        let plan = self.shared.plan.load();
        Some(Probing { target: Arc::clone(plan.target(upstream)?), limits: plan.limits })
    }
}

impl Probing {
    /// Sends `GET target` with the upstream's secret, over a new connection. It may take some seconds.
    #[must_use]
    pub fn ask(self, target: &Uri) -> Probe {
        probe_target(self.target, target, &self.limits)
    }
}

impl std::fmt::Debug for Probing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probing").field("upstream", self.target.name()).finish_non_exhaustive()
    }
}
