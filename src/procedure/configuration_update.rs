//! Update of the initial configuration of migrating users: TS 23.280 clauses 10.17.2.13, 10.17.2.14 and 10.17.6,
//! 10 steps.
//!
//! Errata of the text, resolved here: in step 9 it is the server that stores the response; the indication of
//! step 4 leaves after the request is stored, or a crash could lose what was confirmed; in steps 1, 3 and 5 what
//! is sent is the request.

use super::{Entity, Row};
use crate::step::Step;

use Entity::{
    PartnerAcmClient, PartnerAcmServer, PartnerAdministrator, PrimaryAcmClient, PrimaryAcmServer,
};

/// The 10 steps, in order.
pub const STEPS: [Row; 10] = [
    row(
        1,
        (PrimaryAcmClient, Some(PrimaryAcmServer)),
        "sends users and the configuration that they migrate with",
        "acm/begin.rs::begin",
        "upd_1_to_4_the_partner_stores_the_update_and_says_so",
    ),
    row(
        2,
        (PrimaryAcmServer, None),
        "checks that the user may send it",
        "acm/begin.rs::check_may_request",
        "upd_1_to_4_the_partner_stores_the_update_and_says_so",
    ),
    row(
        3,
        (PrimaryAcmServer, Some(PartnerAcmServer)),
        "forwards the request",
        "acm/delivery.rs::send_outgoing",
        "upd_1_to_4_the_partner_stores_the_update_and_says_so",
    ),
    row(
        4,
        (PartnerAcmServer, Some(PrimaryAcmServer)),
        "stores, verifies and assesses the request, and says so",
        "acm/incoming.rs::store_request",
        "upd_1_to_4_the_partner_stores_the_update_and_says_so",
    ),
    row(
        5,
        (PartnerAcmServer, Some(PartnerAcmClient)),
        "gives the request to the target user",
        "acm/fetch.rs::fetch_request",
        "upd_5_to_8_the_target_gets_the_update_and_answers",
    ),
    row(
        6,
        (PartnerAdministrator, Some(PartnerAcmClient)),
        "processes the request",
        "acm/decision.rs::decide",
        "upd_5_to_8_the_target_gets_the_update_and_answers",
    ),
    row(
        7,
        (PartnerAcmClient, Some(PartnerAcmServer)),
        "answers the request",
        "acm/decision.rs::decide",
        "upd_5_to_8_the_target_gets_the_update_and_answers",
    ),
    row(
        8,
        (PartnerAcmServer, Some(PrimaryAcmServer)),
        "forwards the response",
        "acm/delivery.rs::send_incoming",
        "upd_5_to_8_the_target_gets_the_update_and_answers",
    ),
    row(
        9,
        (PrimaryAcmServer, None),
        "stores the response",
        "acm/response.rs::store_response",
        "upd_9_and_10_the_response_goes_back_to_who_asked",
    ),
    row(
        10,
        (PrimaryAcmServer, Some(PrimaryAcmClient)),
        "delivers the response",
        "acm/fetch.rs::fetch_response",
        "upd_9_and_10_the_response_goes_back_to_who_asked",
    ),
];

const fn row(
    number: u8,
    (by, to): (Entity, Option<Entity>),
    what: &'static str,
    function: &'static str,
    test: &'static str,
) -> Row {
    Row { step: Step::upd(number), by, to, what, function, test }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_10_steps_in_order() {
        let labels: Vec<String> = STEPS.iter().map(|row| row.step.to_string()).collect();
        let wanted: Vec<String> = (1..=10).map(|number| format!("UPD-{number}")).collect();
        assert_eq!(labels, wanted);
    }
}
