//! HTTP bodies as values: what roles see of the management interface. The world maps them to paths.

pub mod migration_identity;
