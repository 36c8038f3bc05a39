//! Diameter: base protocol (RFC 6733) and Cx (TS 29.228, TS 29.229). Sans-I/O.

pub mod avp;
pub mod base;
pub mod context;
pub mod cx;
pub mod cx_codec;
pub mod cx_other;
pub mod dictionary;
pub mod election;
pub mod local;
pub mod message;
pub mod peer;
pub mod user_data;
pub mod validate;
mod watchdog;
