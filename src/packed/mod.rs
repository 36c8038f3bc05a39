//! Tables for millions of records that are mostly at rest: bindings and registrations.
//!
//! A record is kept packed: key and fields as one row of octets ([`Writer`], [`Reader`]), texts that repeat by
//! number, rows of a shard side by side in slots of a few sizes. Of an index or of expiry bookkeeping a record
//! is a [`Fingerprint`] of four octets, by which its table finds it again. `benches/memory.rs` tells what one
//! record takes.

mod characters;
mod codec;
mod index;
pub(crate) mod leb128;
mod prefetch;
mod shards;
mod slab;
mod slots;
mod table;
mod words;

pub use characters::{GENERATED, NUMBER_CHARACTERS, ends_of};
pub use codec::{Reader, VersionPlace, Writer};
pub use index::{Index, IndexShard};
pub(crate) use prefetch::prefetch;
pub use shards::Fingerprint;
pub use table::{Packed, PackedTable, Ref, RefMut, Row};
pub use words::{WORD_OCTETS_MAX, WORDS_MAX, Word};
