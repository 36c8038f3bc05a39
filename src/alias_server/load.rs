//! From stored records to what is active, at start and after a failed commit.

use super::{AliasServer, active::Active, stored::HolderRecord};
use crate::store::{Record, RecordError, RecordKind, decode};

impl AliasServer {
    /// Takes one stored record in; kinds of other roles are ignored.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when a record cannot be read: the storage is not this build's or is damaged.
    pub fn load(&self, record: &Record<'_>) -> Result<(), RecordError> {
        if record.kind == RecordKind::AliasHolder {
            let stored: HolderRecord = decode(record.value)?;
            let active = &mut self.active();
            active.latest_change = active.latest_change.max(record.version);
            let (alias, held) = stored.into_held();
            active.insert(alias, held);
        }
        Ok(())
    }

    /// Forgets everything, before it is loaded again after a failed commit. Who subscribed does so again.
    pub fn clear(&self) {
        *self.active() = Active::default();
        self.latest.reset();
    }
}
