//! Authentication and key agreement: MILENAGE, vectors, sequence numbers, HTTP Digest AKA.

#[cfg(target_arch = "x86_64")]
mod aes_ni;
pub mod digest;
mod md5;
mod milenage;
mod sqn;
mod vector;

pub use milenage::{MacFailure, Milenage, UeAnswer, opc_from_op};
pub use sqn::{
    DELTA, IND_BITS_DEFAULT, IND_BITS_MAX, MalformedSqn, Resynchronisation, Sqn, SqnArray,
    SqnOutOfRange, resync_decision,
};
pub use vector::{Amf, AuthVector, Autn, Auts, Rand};
