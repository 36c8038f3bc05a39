//! Provision of interconnection group IDs: TR 23.700-38, 14 steps, of which 4, 7 and 13 have parts a and b. The
//! normative text is TS 23.280 clause 10.17.4.2.
//!
//! Errata of the text, resolved here: steps 13a and 13b name a system "A", which is the primary; that the target
//! user is offline at first and that the requester logs off (step 5) is the case shown, not a condition; without
//! the right of step 2 the procedure stops.

use super::{Entity, Row};
use crate::step::{Part, Step};

use Entity::{
    PartnerAcmClient, PartnerAcmServer, PartnerAdministrator, PrimaryAcmClient, PrimaryAcmServer,
    PrimaryAdministrator,
};

/// The 14 steps, in order.
pub const STEPS: [Row; 17] = [
    row(
        (1, None),
        (PrimaryAcmClient, Some(PrimaryAcmServer)),
        "offers interconnection groups to a user of the partner",
        "acm/begin.rs::begin",
        "grp_1_to_5_the_partner_stores_the_offer_and_says_so",
    ),
    row(
        (2, None),
        (PrimaryAcmServer, None),
        "checks that the user may offer them",
        "acm/begin.rs::check_may_request",
        "grp_1_to_5_the_partner_stores_the_offer_and_says_so",
    ),
    row(
        (3, None),
        (PrimaryAcmServer, Some(PartnerAcmServer)),
        "forwards the request",
        "acm/delivery.rs::send_outgoing",
        "grp_1_to_5_the_partner_stores_the_offer_and_says_so",
    ),
    row(
        (4, Some(Part::A)),
        (PartnerAcmServer, None),
        "verifies and stores the request",
        "acm/incoming.rs::store_request",
        "grp_1_to_5_the_partner_stores_the_offer_and_says_so",
    ),
    row(
        (4, Some(Part::B)),
        (PartnerAcmServer, Some(PrimaryAcmServer)),
        "says that it is stored",
        "acm/incoming.rs::store_request",
        "grp_1_to_5_the_partner_stores_the_offer_and_says_so",
    ),
    row(
        (5, None),
        (PrimaryAdministrator, Some(PrimaryAcmClient)),
        "logs off",
        "acm/session.rs::log_off",
        "grp_1_to_5_the_partner_stores_the_offer_and_says_so",
    ),
    row(
        (6, None),
        (PartnerAdministrator, Some(PartnerAcmClient)),
        "logs on",
        "acm/session.rs::log_on",
        "grp_6_to_10_the_target_sees_the_groups_and_answers",
    ),
    row(
        (7, Some(Part::A)),
        (PartnerAcmServer, Some(PartnerAcmClient)),
        "tells that something is pending",
        "acm/notify.rs::notify_session",
        "grp_6_to_10_the_target_sees_the_groups_and_answers",
    ),
    row(
        (7, Some(Part::B)),
        (PartnerAcmClient, Some(PartnerAcmServer)),
        "asks what is pending",
        "acm/listing.rs::list",
        "grp_6_to_10_the_target_sees_the_groups_and_answers",
    ),
    row(
        (8, None),
        (PartnerAcmServer, Some(PartnerAcmClient)),
        "delivers the group IDs",
        "acm/fetch.rs::fetch_request",
        "grp_6_to_10_the_target_sees_the_groups_and_answers",
    ),
    row(
        (9, None),
        (PartnerAcmClient, Some(PartnerAcmServer)),
        "answers the request",
        "acm/decision.rs::decide",
        "grp_6_to_10_the_target_sees_the_groups_and_answers",
    ),
    row(
        (10, None),
        (PartnerAcmServer, Some(PrimaryAcmServer)),
        "forwards the response",
        "acm/delivery.rs::send_incoming",
        "grp_6_to_10_the_target_sees_the_groups_and_answers",
    ),
    row(
        (11, None),
        (PrimaryAcmServer, None),
        "stores the response",
        "acm/response.rs::store_response",
        "grp_11_to_14_the_response_waits_for_its_administrator",
    ),
    row(
        (12, None),
        (PrimaryAdministrator, Some(PrimaryAcmClient)),
        "logs on",
        "acm/session.rs::log_on",
        "grp_11_to_14_the_response_waits_for_its_administrator",
    ),
    row(
        (13, Some(Part::A)),
        (PrimaryAcmServer, Some(PrimaryAcmClient)),
        "tells that a response is pending",
        "acm/notify.rs::notify_session",
        "grp_11_to_14_the_response_waits_for_its_administrator",
    ),
    row(
        (13, Some(Part::B)),
        (PrimaryAcmClient, Some(PrimaryAcmServer)),
        "asks what is pending",
        "acm/listing.rs::list",
        "grp_11_to_14_the_response_waits_for_its_administrator",
    ),
    row(
        (14, None),
        (PrimaryAcmServer, Some(PrimaryAcmClient)),
        "delivers the response",
        "acm/fetch.rs::fetch_response",
        "grp_11_to_14_the_response_waits_for_its_administrator",
    ),
];

const fn row(
    (number, part): (u8, Option<Part>),
    (by, to): (Entity, Option<Entity>),
    what: &'static str,
    function: &'static str,
    test: &'static str,
) -> Row {
    Row { step: Step::grp(number, part), by, to, what, function, test }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_14_steps_in_order_three_of_them_with_two_parts() {
        let labels: Vec<String> = STEPS.iter().map(|row| row.step.to_string()).collect();
        let mut wanted = Vec::new();
        for number in 1..=14 {
            match number {
                4 | 7 | 13 => wanted.extend(["a", "b"].map(|part| format!("GRP-{number}{part}"))),
                _ => wanted.push(format!("GRP-{number}")),
            }
        }
        assert_eq!(labels, wanted);
        assert_eq!(Step::grp(4, Some(Part::B)).label(), "GRP-4");
    }
}
