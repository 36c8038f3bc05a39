//! The MC service UE: a configuration management client, and a signalling user agent with a soft ISIM.
//!
//! The client learns from the UE's own system how to get into another one (TR 23.781 solution 2 steps 1,
//! 13 and 14) and keeps it beside what it knows of its own. The user agent registers in any SIP core by
//! IMS-AKA (steps 15 and 23 to 25; TS 24.229 clause 5.1.1), with whatever pair of identities it was told
//! and the key of its home ISIM; or, in a partner that cannot ask the home, with a key or a password of the partner's.
//! With its registration, or by a publisher afterwards, it is authorised for MC services (TS 24.379 clause 7.2).

mod agent;
mod configuration_client;
mod credentials;
mod isim;
mod publisher;
mod records;
mod transaction;

pub use agent::{Config, Failure, Registered, Saved, ServiceLogOn, State, UserAgent};
pub use configuration_client::{ConfigurationClient, ConfigurationFailure, ConfigurationState};
pub use credentials::Credentials;
pub use isim::{Isim, Refusal};
pub(crate) use publisher::warning_code;
pub use publisher::{Publisher, ServiceState};
pub use records::{
    NoAccess, PARTNER_RECORDS_MAX, PartnerRecord, PrimaryRecord, Records, RecordsFull,
};
