//! Authentication and key agreement: MILENAGE, vectors, sequence numbers, HTTP Digest AKA.

mod vector;

pub use vector::{AuthVector, Autn, Auts, Rand};
