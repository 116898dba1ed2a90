//! Paths: the canonical form that routes see, and the masked form that records show.
