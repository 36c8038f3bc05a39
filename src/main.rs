//! The command line of migcore.

fn main() {}
