//! The redactor as its users call it.

mod classes;
mod properties;
mod vectors;
