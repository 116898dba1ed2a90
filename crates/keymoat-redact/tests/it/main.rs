//! The redactor as its users call it.

mod classes;
mod page;
mod properties;
mod vectors;
