//! What a request may look like: checked by the server that sends it and again by the one that gets it.

use std::{collections::BTreeSet, fmt, time::Duration};

use super::Policy;
use crate::{
    api::{
        acm_interconnection::{Envelope, Refusal, ResultCode},
        acm_payload::{GROUPS_MAX, Parties, Payload, USERS_MAX},
        connection_details::{SIP_CORE_ADDRESSES_MAX, SystemConfiguration},
    },
    identity::{McServiceGroupId, McServiceId},
    time::Timestamp,
};

/// How far ahead a request may expire.
pub(super) const EXPIRES_AFTER_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// By how much the clock of the system that checks may be behind that of the one that sends.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Checks what a request says by itself: what fails does so everywhere and always.
pub(super) fn check_content(
    parties: &Parties,
    revision: u64,
    payload: &Payload,
) -> Result<(), Refusal> {
    if payload.kind().needs_target()
        && parties.target_id.is_none()
        && parties.target_alias.is_none()
    {
        return Err(invalid("name a target user, a target alias or both", ["target_id"]));
    }
    match payload {
        Payload::Configuration(configuration) => check_configuration(configuration, revision),
        Payload::Update { users, configuration } => {
            check_configuration(configuration, revision)?;
            check_list("users", USERS_MAX, (users, McServiceId::as_str))
        }
        Payload::AddUsers { users, configuration } => {
            if let Some(configuration) = configuration {
                check_configuration(configuration, configuration.revision)?;
            }
            check_list("users", USERS_MAX, (users, McServiceId::as_str))
        }
        Payload::RemoveUsers { users } => {
            check_list("users", USERS_MAX, (users, McServiceId::as_str))
        }
        Payload::Groups(groups) | Payload::GroupsWithdrawn(groups) => {
            check_list("groups", GROUPS_MAX, (groups, McServiceGroupId::as_str))
        }
        Payload::PleaseSend => Ok(()),
    }
}

/// Checks a request against what is set up here now: the limits of the policy, and the domains of the system that sends
/// it.
pub(super) fn check_permitted(
    payload: &Payload,
    domains: &[String],
    (policy, octets): (&Policy, u64),
) -> Result<(), Refusal> {
    if octets > policy.octets_max {
        return Err(invalid("is longer than this system takes: split it", ["payload"]));
    }
    let (users, groups) = (payload.users(), payload.groups());
    check_count("users", policy.users_max, users.len())?;
    check_count("groups", policy.groups_max, groups.len())?;
    // A number says nothing of its home: that it was added for migration does.
    let foreign = |user: &&McServiceId| !user.host().is_empty() && !is_of(domains, user.host());
    let mut foreign = users.iter().filter(foreign).peekable();
    if foreign.peek().is_some() {
        let text = "belongs to no domain of the system that sends the request";
        return Err(invalid(text, foreign.map(McServiceId::as_str)));
    }
    let foreign = |group: &&McServiceGroupId| !is_of(domains, group.host());
    let mut foreign = groups.iter().filter(foreign).peekable();
    if foreign.peek().is_some() {
        let text = "is at home in no domain of the system that sends the request";
        return Err(Refusal::of(ResultCode::NotGroupHome, text, foreign));
    }
    Ok(())
}

/// Whether a host is one of these domains.
pub(super) fn is_of(domains: &[String], host: &str) -> bool {
    domains.iter().any(|domain| domain == host)
}

/// Checks the times of a partner's envelope. What the partner may send is taken though its clock is ahead.
pub(super) fn check_partners_times(envelope: &Envelope, now: Timestamp) -> Result<(), Refusal> {
    let may_be_ahead = envelope.expires > now + EXPIRES_AFTER_MAX;
    check_times(envelope, if may_be_ahead { now + CLOCKS_APART_MAX } else { now })
}

/// Checks the times of an envelope. A request that came too late is refused as expired, not as invalid.
pub(super) fn check_times(envelope: &Envelope, now: Timestamp) -> Result<(), Refusal> {
    if envelope.expires <= envelope.created {
        return Err(invalid("expires before it was created", ["expires"]));
    }
    if envelope.expires > now + EXPIRES_AFTER_MAX {
        return Err(invalid("expires more than 366 days ahead", ["expires"]));
    }
    if envelope.expires <= now {
        return Err(Refusal::new(ResultCode::Expired, "the request has expired"));
    }
    Ok(())
}

pub(super) fn invalid<T: fmt::Display>(
    text: &str,
    elements: impl IntoIterator<Item = T>,
) -> Refusal {
    Refusal::of(ResultCode::InvalidData, text, elements)
}

fn check_configuration(configuration: &SystemConfiguration, revision: u64) -> Result<(), Refusal> {
    if configuration.revision != revision {
        return Err(invalid("is not the revision of the envelope", ["configuration.revision"]));
    }
    let addresses = configuration.sip_core.len();
    if addresses == 0 || addresses > SIP_CORE_ADDRESSES_MAX {
        return Err(invalid("has 1 to 16 addresses", ["configuration.sip_core"]));
    }
    Ok(())
}

fn check_list<T: Ord>(
    name: &'static str,
    max: usize,
    (list, text_of): (&[T], fn(&T) -> &str),
) -> Result<(), Refusal> {
    if list.is_empty() {
        return Err(invalid("is empty: name at least one", [name]));
    }
    check_count(name, max, list.len())?;
    match first_twice(list) {
        Some(twice) => Err(invalid("is in the list twice", [text_of(twice)])),
        None => Ok(()),
    }
}

fn check_count(list: &'static str, max: usize, count: usize) -> Result<(), Refusal> {
    if count > max {
        return Err(invalid(&format!("has more than {max}: split the request"), [list]));
    }
    Ok(())
}

fn first_twice<T: Ord>(all: &[T]) -> Option<&T> {
    let mut seen = BTreeSet::new();
    all.iter().find(|one| !seen.insert(*one))
}
