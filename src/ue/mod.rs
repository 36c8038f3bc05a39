//! The MC service UE: a signalling user agent with a soft ISIM.
//!
//! It registers in any SIP core by IMS-AKA (TR 23.781 solution 2 steps 15 and 23 to 25; TS 24.229
//! clause 5.1.1), with whatever pair of identities it was told and the key of its home ISIM.

mod agent;
mod isim;
mod transaction;

pub use agent::{Config, Failure, Registered, State, UserAgent};
pub use isim::{Isim, Refusal};
