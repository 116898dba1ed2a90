//! What the nodes over the store say of themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use keymoat_store::NodeSeen;

use super::table::NODES;
use super::{Finding, Outcome, Patient};

/// A node that was not seen for so long is gone, or cut off.
const UNSEEN_MILLIS: i64 = 5_000;

/// Tokens are decided by the store's clock, and their sessions end by the node's.
const CLOCK_MILLIS_MAX: i64 = 2_000;

/// A node that is behind a change has this long to see it.
const CATCH_UP: Duration = Duration::from_secs(3);

pub(super) fn nodes(patient: &Patient) -> Finding {
    let Some(store) = patient.store() else {
        return Finding::new(NODES, Outcome::Skipped, "there is no store that opens");
    };
    let look = || store.nodes(patient.now);
    let nodes = match look() {
        Ok(nodes) if nodes.iter().any(|node| node.changes_behind > 0) => {
            std::thread::sleep(CATCH_UP);
            look()
        }
        looked => looked,
    };
    match nodes {
        Ok(nodes) => judge(&nodes),
        Err(error) => Finding::new(NODES, Outcome::Fail, error.to_string()),
    }
}

fn judge(nodes: &[NodeSeen]) -> Finding {
    if nodes.is_empty() {
        return Finding::new(NODES, Outcome::Skipped, "nobody serves over this store");
    }
    let called = |node: &NodeSeen| format!("`{}` at {}", node.name, node.address);
    let mut wrong = Vec::new();
    for node in nodes {
        match node {
            NodeSeen { unseen_millis: UNSEEN_MILLIS.., .. } => {
                wrong.push(format!("{} was not seen for {} s", called(node), node.unseen_millis / 1000));
                continue;
            }
            NodeSeen { changes_behind: 1.., .. } => {
                wrong.push(format!("{} has not seen the last {} changes", called(node), node.changes_behind));
            }
            _ => {}
        }
        if node.clock_ahead_millis.abs() > CLOCK_MILLIS_MAX {
            wrong.push(format!("the clock of {} is {} ms ahead of the store's", called(node), node.clock_ahead_millis));
        }
    }
    let versions: BTreeSet<&str> = nodes.iter().map(|node| &*node.version).collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        wrong.push(format!("versions differ: {}", versions.join(", ")));
    }
    match wrong.is_empty() {
        true => {
            let names: Vec<String> = nodes.iter().map(called).collect();
            Finding::new(NODES, Outcome::Ok, format!("seen: {}", names.join(", ")))
        }
        false => Finding::new(NODES, Outcome::Warn, wrong.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use keymoat_core::UnixMillis;
    use keymoat_store::NodeState;

    use super::*;

    fn node(name: &str) -> NodeSeen {
        NodeSeen {
            id: format!("node_{name}"),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            address: "10.0.0.1:8787".to_owned(),
            started_at: UnixMillis(0),
            state: NodeState::Ready,
            seen_at: UnixMillis(0),
            unseen_millis: 1200,
            changes_behind: 0,
            clock_ahead_millis: -30,
        }
    }

    #[test]
    fn what_is_wrong_with_a_node_is_told_with_its_name() {
        let told = |second: NodeSeen| judge(&[node("a"), second]);
        assert_eq!(told(node("b")).outcome, Outcome::Ok);
        assert_eq!(judge(&[]).outcome, Outcome::Skipped);
        for (second, words) in [
            (NodeSeen { unseen_millis: 5_000, ..node("b") }, "`b` at 10.0.0.1:8787 was not seen for 5 s"),
            (NodeSeen { changes_behind: 2, ..node("b") }, "`b` at 10.0.0.1:8787 has not seen the last 2 changes"),
            (NodeSeen { clock_ahead_millis: -2_001, ..node("b") }, "-2001 ms ahead of the store's"),
            (NodeSeen { version: "1.1.0".to_owned(), ..node("b") }, "versions differ: 1.0.0, 1.1.0"),
        ] {
            let finding = told(second);
            assert_eq!(finding.outcome, Outcome::Warn, "{words}");
            assert!(finding.seen.contains(words) && !finding.seen.contains("`a`"), "{}", finding.seen);
        }
    }
}
