//! Migration without interconnection: TR 23.700-90 (Rel-18), 2 steps.
//!
//! The text's step 2, "the partner checks that the user may migrate", is the inter-domain user service authorisation of
//! TS 33.180 clause 5.1.4: no entity of the primary takes part. What has to come before, log-in, profile and security
//! token at home, is no step of the text; what follows, registration with credentials of the partner's and the profile,
//! neither.

use super::{Entity, Row};
use crate::step::Step;

/// The steps that are performed here.
pub const STEPS: [Row; 2] = [
    Row {
        step: Step::iso(1),
        by: Entity::Ue,
        to: Some(Entity::PartnerIdentityServer),
        what: "attaches, and contacts the partner with what it took along",
        function: "node/ue/identity.rs::contact_partner",
        test: "iso_1_the_ue_contacts_the_partner_with_what_it_took_along_and_nothing_is_sent_home",
    },
    Row {
        step: Step::iso(2),
        by: Entity::PartnerIdentityServer,
        to: None,
        what: "checks by the security token that the user may migrate",
        function: "idms/visit.rs::take_security_token",
        test: "iso_2_a_user_of_a_partner_gets_tokens_with_the_ids_of_this_system",
    },
];
