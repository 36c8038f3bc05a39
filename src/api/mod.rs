//! HTTP bodies as values: what roles see of CSC-4, CSC-17, the interfaces of ACM servers and the management
//! interface. The world maps them to paths.

pub mod acm_client;
pub mod acm_interconnection;
pub mod acm_management;
pub mod acm_payload;
pub mod alias_management;
pub mod configuration;
pub mod connection_details;
pub mod functional_alias;
pub mod identity_management;
pub mod idms_management;
pub mod migration_identity;
pub mod registration;
pub mod system_access;

/// Timestamps as whole seconds since the Unix epoch.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::time::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(from).map(Timestamp::from_secs)
    }
}

/// How types of lower layers look in the interface descriptions.
#[cfg(feature = "node")]
mod schema {
    #![expect(dead_code, reason = "only described, never built")]

    /// A private and a public identity that belong together.
    #[derive(utoipa::ToSchema)]
    pub(super) struct UserIdentity {
        /// The SIP private user identity (IMPI).
        #[schema(example = "mig-0123@b.example")]
        impi: String,
        /// The SIP public user identity (IMPU).
        #[schema(example = "sip:mig-4567@b.example")]
        impu: String,
    }

    /// A user as its primary MC system names it.
    #[derive(utoipa::ToSchema)]
    pub(super) struct PrimaryUser {
        /// The Diameter identity of its SIP database, or of an SLF in front of it.
        #[schema(example = "sipdb.a.example")]
        database: String,
        /// The pair there.
        identity: UserIdentity,
        /// The Server-Name to use in vector requests.
        #[schema(example = "sip:migration.a.example")]
        server_name: String,
    }

    /// Types that are texts in JSON.
    macro_rules! texts {
        ($($name:ty),* $(,)?) => {$(
            impl utoipa::PartialSchema for $name {
                fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                    <String as utoipa::PartialSchema>::schema()
                }
            }

            impl utoipa::ToSchema for $name {}
        )*};
    }

    texts! {
        super::acm_interconnection::TransactionId,
        super::acm_payload::ContentDigest,
        crate::identity::FunctionalAlias,
        crate::identity::McServiceGroupId,
        crate::identity::McServiceId,
        crate::identity::McSystemId,
        crate::time::Timestamp,
    }
}
