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

/// Checks what a request says. `domains` are those of the system that sends it.
pub(super) fn check_request(
    parties: &Parties,
    revision: u64,
    payload: &Payload,
    domains: &[String],
    (policy, octets): (&Policy, u64),
) -> Result<(), Refusal> {
    if payload.kind().needs_target()
        && parties.target_id.is_none()
        && parties.target_alias.is_none()
    {
        return Err(invalid("name a target user, a target alias or both", ["target_id"]));
    }
    if octets > policy.octets_max {
        return Err(invalid("is longer than this system takes: split it", ["payload"]));
    }
    let of_users = (USERS_MAX.min(policy.users_max), payload.users().len());
    let of_groups = (GROUPS_MAX.min(policy.groups_max), payload.groups().len());
    match payload {
        Payload::Configuration(configuration) => check_configuration(configuration, revision),
        Payload::Update { users, configuration } => {
            check_configuration(configuration, revision)?;
            check_users(users, of_users, domains)
        }
        Payload::AddUsers { users, configuration } => {
            if let Some(configuration) = configuration {
                check_configuration(configuration, configuration.revision)?;
            }
            check_users(users, of_users, domains)
        }
        Payload::RemoveUsers { users } => check_users(users, of_users, domains),
        Payload::Groups(groups) | Payload::GroupsWithdrawn(groups) => {
            check_groups(groups, of_groups, domains)
        }
        Payload::PleaseSend => Ok(()),
    }
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

fn check_users(
    users: &[McServiceId],
    (max, count): (usize, usize),
    domains: &[String],
) -> Result<(), Refusal> {
    check_count("users", max, count)?;
    if let Some(twice) = first_twice(users) {
        return Err(invalid("is in the list twice", [twice.as_str()]));
    }
    // A number says nothing of its home: that it was added for migration does.
    let foreign = |user: &&McServiceId| {
        !user.host().is_empty() && !domains.iter().any(|domain| domain == user.host())
    };
    let mut foreign = users.iter().filter(foreign).peekable();
    if foreign.peek().is_some() {
        let text = "belongs to no domain of the system that sends the request";
        return Err(invalid(text, foreign.map(McServiceId::as_str)));
    }
    Ok(())
}

fn check_groups(
    groups: &[McServiceGroupId],
    (max, count): (usize, usize),
    domains: &[String],
) -> Result<(), Refusal> {
    check_count("groups", max, count)?;
    if let Some(twice) = first_twice(groups) {
        return Err(invalid("is in the list twice", [twice.as_str()]));
    }
    let foreign = |group: &&McServiceGroupId| !domains.iter().any(|domain| domain == group.host());
    let mut foreign = groups.iter().filter(foreign).peekable();
    if foreign.peek().is_some() {
        let text = "is at home in no domain of the system that sends the request";
        return Err(Refusal::of(ResultCode::NotGroupHome, text, foreign));
    }
    Ok(())
}

fn check_count(list: &'static str, max: usize, count: usize) -> Result<(), Refusal> {
    if count == 0 {
        return Err(invalid("is empty: name at least one", [list]));
    }
    if count > max {
        return Err(invalid(&format!("has more than {max}: split the request"), [list]));
    }
    Ok(())
}

fn first_twice<T: Ord>(all: &[T]) -> Option<&T> {
    let mut seen = BTreeSet::new();
    all.iter().find(|one| !seen.insert(*one))
}
