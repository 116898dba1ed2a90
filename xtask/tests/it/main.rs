//! What holds for the repository as a whole: its documents and the edges between its crates.

mod edges;
mod links;
