//! A pair of identities in a stored record, read without a copy.

use crate::identity::{Impi, Impu, UserIdentity};

/// [`UserIdentity`] as stored.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(super) struct IdentityView<'a> {
    pub(super) impi: &'a str,
    pub(super) impu: &'a str,
}

impl<'a> IdentityView<'a> {
    pub(super) fn of(identity: &'a UserIdentity) -> Self {
        Self { impi: identity.impi.as_str(), impu: identity.impu.as_str() }
    }

    /// Whether both are identities.
    pub(super) fn is_well_formed(&self) -> bool {
        Impi::is_canonical(self.impi) && Impu::is_canonical(self.impu)
    }
}
