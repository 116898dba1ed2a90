//! Finds and masks credentials in text.

pub mod scan;
