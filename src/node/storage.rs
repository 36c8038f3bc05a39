//! Records outside of a running system.

pub mod json;
