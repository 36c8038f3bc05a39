//! Migration without interconnection: TR 23.700-90 (Rel-18), 2 steps.
//!
//! The text's step 2, "the partner checks that the user may migrate", is the inter-domain user service authorisation of
//! TS 33.180 clause 5.1.4: no entity of the primary takes part. Step 1, in which the UE attaches and contacts the
//! partner, is not reported by anything here yet.

use super::{Entity, Row};
use crate::step::Step;

/// The steps that are performed here.
pub const STEPS: [Row; 1] = [Row {
    step: Step::iso(2),
    by: Entity::PartnerIdentityServer,
    to: None,
    what: "checks by the security token that the user may migrate",
    function: "idms/visit.rs::take_security_token",
    test: "iso_2_a_user_of_a_partner_gets_tokens_with_the_ids_of_this_system",
}];
