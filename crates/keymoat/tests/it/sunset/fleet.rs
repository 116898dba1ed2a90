//! A fleet of old and new clients, from the warning to the end.
