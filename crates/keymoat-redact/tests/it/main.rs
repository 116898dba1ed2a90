//! The redactor as its users call it.

mod vectors;
