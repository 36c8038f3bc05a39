//! From stored records to tables, at start and after a failed commit.

use std::sync::Arc;

use super::{
    IdentityServer,
    keys::HeldKey,
    record::{DeniedRecord, IssuerRecord, UserRecord, VisitorRecord},
};
use crate::{
    api::identity_management::Client,
    store::{Record, RecordError, RecordKind, decode},
};

impl IdentityServer {
    /// Takes one stored record in; kinds of other roles are ignored.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when a record cannot be read: the storage is not this build's or is damaged.
    #[expect(clippy::wildcard_enum_match_arm, reason = "kinds of other roles")]
    pub fn load(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let mut state = self.state();
        let value = record.value;
        match record.kind {
            RecordKind::IdmsClient => {
                let client: Client = decode(value)?;
                state.clients.insert(client.id.clone(), client);
            }
            RecordKind::IdmsUser => state.insert_user(decode::<UserRecord>(value)?),
            RecordKind::IdmsKey => {
                let key = HeldKey::new(decode(value)?).map_err(|_| RecordError::Damaged)?;
                state.keys.insert(key.signing.thumbprint().clone(), Arc::new(key));
            }
            RecordKind::IdmsRefresh => state.insert_family(decode(value)?),
            RecordKind::IdmsIssued => state.insert_issued(decode(value)?),
            RecordKind::IdmsIssuer => {
                let issuer: IssuerRecord = decode(value)?;
                state.issuers.insert(issuer.issuer.clone(), issuer);
            }
            RecordKind::IdmsVisitor => {
                let record: VisitorRecord = decode(value)?;
                let key = (record.visitor.issuer.clone(), record.visitor.subject.clone());
                state.visitors.insert(key, record);
            }
            RecordKind::IdmsDenied => {
                let DeniedRecord(denied) = decode(value)?;
                state.denied.insert(denied);
            }
            RecordKind::IdmsPresented => state.insert_presented(decode(value)?),
            _ => {}
        }
        Ok(())
    }

    /// Forgets everything, before it is loaded again after a failed commit. The world closes the connections of those
    /// who wait.
    pub fn clear(&self) {
        self.state().forget();
        self.latest.reset();
    }
}
