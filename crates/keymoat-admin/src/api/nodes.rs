//! The nodes over the store.

use std::sync::Arc;

use axum::extract::State;
use keymoat_store::{NodeSeen, NodeState};
use serde::Serialize;
use utoipa::ToSchema;

use super::Desk;
use super::answer::Json;
use super::moment::Moment;
use super::page::{Page, Part, turned};
use super::problem::Problem;
use super::query::Query;

/// A node that was not seen for so long is gone, or cut off.
const UNSEEN_MILLIS: i64 = 5_000;

/// Whether a node takes new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = NodeState)]
enum StateWord {
    /// It does.
    Ready,
    /// It comes to its end.
    Draining,
    /// It was not seen for 5 seconds or more: it is gone, or cut off.
    Unseen,
}

/// A node: one process that serves over the store.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Node)]
pub(super) struct NodeShown {
    /// Such as `node_…`, drawn when its process started.
    id: String,
    /// Its host's name.
    name: String,
    /// The version of its program.
    version: String,
    /// The address that it serves at.
    address: String,
    /// Whether it takes new work.
    state: StateWord,
    /// When it started, by its own clock.
    started_at: Moment,
    /// When it was seen last, by the store's clock.
    seen_at: Moment,
    /// How long ago that was.
    unseen_millis: i64,
    /// How many changes of the store it had not seen then.
    changes_behind: i64,
    /// How far its clock was ahead of the store's.
    clock_ahead_millis: i64,
    /// It is the one that answers.
    is_this: bool,
}

impl NodeShown {
    fn of(node: NodeSeen, this: &str) -> Self {
        let state = match node.state {
            _ if node.unseen_millis >= UNSEEN_MILLIS => StateWord::Unseen,
            NodeState::Ready => StateWord::Ready,
            NodeState::Draining => StateWord::Draining,
        };
        Self {
            is_this: node.id == this,
            id: node.id,
            name: node.name,
            version: node.version,
            address: node.address,
            state,
            started_at: Moment(node.started_at),
            seen_at: Moment(node.seen_at),
            unseen_millis: node.unseen_millis,
            changes_behind: node.changes_behind,
            clock_ahead_millis: node.clock_ahead_millis,
        }
    }
}

/// Lists the nodes that were seen in the last hour by name; with the embedded store the processes that live.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes", params(Part), responses((status = 200, description = "A page.", body = Page<NodeShown>)))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(part): Query<Part>,
) -> Result<Json<Page<NodeShown>>, Problem> {
    let now = desk.house.now();
    let mut nodes = desk.store(move |store| store.nodes(now)).await?;
    let place = |node: &NodeSeen| turned(&format!("{} {}", node.name, node.id));
    nodes.sort_by_cached_key(|node| std::cmp::Reverse(place(node)));
    let page = part.of(nodes, place)?;
    let this = &desk.house.node_id;
    let items = page.items.into_iter().map(|node| NodeShown::of(node, this)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}
