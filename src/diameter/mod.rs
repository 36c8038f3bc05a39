//! Diameter: base protocol (RFC 6733) and Cx (TS 29.228, TS 29.229). Sans-I/O.

pub mod cx;
