//! What accompanies a request from the moment its route is known.

use std::rc::Rc;

use http::Response;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::route::Route;

use crate::answer;
use crate::body::ToClient;
use crate::ledger::Ledger;
use crate::meter::Metered;
use crate::peer::Peer;
use crate::plan::Plan;
use crate::relay::Switch;
use crate::upstream::Link;
use crate::worker::Worker;

/// The surroundings of one request on its road, and the ledger that records it.
pub(crate) struct Passage<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) peer: &'a Rc<Peer>,
    pub(crate) plan: &'a Plan,
    pub(crate) route: &'a Route,
    pub(crate) switch: Switch,
    pub(crate) ledger: Ledger,
    /// What its key has used, once it is known whose it is and if that has limits.
    pub(crate) metered: Option<Metered>,
}

impl Passage<'_> {
    /// The link to the route's upstream. Why there is none is recorded.
    pub(crate) fn link(&mut self) -> Result<Link, Refusal> {
        let Some(link) = self.worker.link(self.plan, &self.route.upstream) else {
            return Err(Refusal::new(Code::Unavailable, "the route's upstream is not configured"));
        };
        if let Some(why) = link.target.withheld() {
            self.ledger.record.cause = Some(why.to_string());
            return Err(Refusal::new(Code::Unavailable, "the upstream's key is not at hand: tell the operator"));
        }
        Ok(link)
    }

    /// Ends the passage with a refusal over HTTP.
    pub(crate) fn refuse(self, refusal: &Refusal) -> Response<ToClient> {
        answer::refusal(refusal, Some(self.route), self.ledger)
    }
}
