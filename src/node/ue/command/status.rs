//! What is in a state file, for its owner: identities are shown, keys and tokens are not.

use std::{fmt::Write as _, time::Duration};

use crate::{
    api::connection_details::{Reason, SipCoreAddress},
    node::{Clock, ue::state::UeState},
    time::Timestamp,
    ue::{PartnerRecord, PrimaryRecord},
};

/// Describes the state in lines.
pub(super) fn describe(state: &UeState) -> String {
    let now = Clock::start().now();
    let PrimaryRecord { mc_service_id, mc_system_id, identity, sip_core } = state.records.primary();
    let mut text = format!(
        "user          {}\nhome          {mc_system_id}, {}\n  identity    {}, {}\n  SIP core    {}\n",
        mc_service_id.as_str(),
        state.csc4,
        identity.impi.as_str(),
        identity.impu.as_str(),
        addresses(sip_core),
    );
    for record in state.records.partners().iter().rev() {
        describe_partner(&mut text, record, now);
    }
    for ticket in state.tickets.iter().rev() {
        let stands = match &ticket.mc_service_id {
            Some(id) => format!("visited as {}", id.as_str()),
            None if ticket.access_token.is_some() => "visited".to_owned(),
            None => "not visited yet".to_owned(),
        };
        let _ = writeln!(text, "taken along   for {}, {stands}", ticket.at);
    }
    text.push_str(&registration(state, now));
    text
}

fn describe_partner(text: &mut String, record: &PartnerRecord, now: Timestamp) {
    let PartnerRecord { received, details } = record;
    let reason = match details.reason {
        Reason::Requested => "asked for",
        Reason::Location => "by location",
        Reason::RequestedNotAllowed => "by location: the one asked for is not allowed",
    };
    let valid = match span_to(details.valid_until, now) {
        Some(left) => format!("for {left}"),
        None => "ended; migrate again".to_owned(),
    };
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "partner       {}, {reason}, {} ago\n  identity    {}, {}\n  valid       {valid}\n  SIP core    {}\n  \
         revision    {}\n",
        details.mc_system_id,
        span(now.since(*received)),
        details.identity.impi.as_str(),
        details.identity.impu.as_str(),
        addresses(&details.configuration.sip_core),
        details.configuration.revision,
    );
}

fn registration(state: &UeState, now: Timestamp) -> String {
    let registration = state.registration.as_ref();
    let Some((kept, granted)) =
        registration.and_then(|it| Some((it, it.agent.registered.as_ref()?)))
    else {
        return "registration  none".to_owned();
    };
    let left = match span_to(granted.expires_at, now) {
        Some(left) => format!("for {left}"),
        None => "expired".to_owned(),
    };
    format!("registration  {}, contact {}, {left}", kept.at, kept.agent.contact)
}

fn addresses(sip_core: &[SipCoreAddress]) -> String {
    let shown = sip_core.iter().map(SipCoreAddress::to_string);
    shown.collect::<Vec<_>>().join(", ")
}

/// The time from `now` to `end`, unless that is past.
fn span_to(end: Timestamp, now: Timestamp) -> Option<String> {
    (end > now).then(|| span(end.since(now)))
}

/// A length of time in its two largest units.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_two_largest_units() {
        for (seconds, shown) in [
            (0, "0 s"),
            (61, "1 min 1 s"),
            (3_600, "1 h 0 min"),
            (600_000, "6 d 22 h"),
            (31 * 86_400, "31 d 0 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }
}
