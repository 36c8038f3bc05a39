//! The choice of the partner MC system (`MIG-3`): the one that the user wishes if the user may go there, else
//! one that covers the location.

use std::cmp::Reverse;

use super::{ConfigServer, Partner, agreement::InForce, user::Caller};
use crate::{
    api::{
        configuration::Users,
        connection_details::{Location, Reason, Refusal, Request},
        migration_identity::Direction,
    },
    identity::McSystemId,
    outbox::{Context, Role},
    step::Step,
    store::CommitSeq,
    time::Timestamp,
};

/// A partner with the agreement that lets the user go there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub(super) partner: &'a Partner,
    pub(super) agreement: InForce,
    pub(super) reason: Reason,
}

impl ConfigServer {
    /// Chooses the partner for `caller` (`MIG-3`).
    pub(super) fn choose(
        &self,
        ctx: &mut Context<'_>,
        caller: &Caller,
        request: &Request,
        after: &mut CommitSeq,
    ) -> Result<Choice<'_>, Refusal> {
        let Some(wish) = &request.partner else {
            return self.choose_by_location(ctx, caller, request, Reason::Location, after);
        };
        let wished = self.partner(wish).and_then(|partner| {
            let agreement = self.outbound_agreement(ctx.now, caller, &partner.id, after)?;
            Some(Choice { partner, agreement, reason: Reason::Requested })
        });
        if let Some(choice) = wished {
            report(ctx, "the partner asked for");
            return Ok(choice);
        }
        if request.strict {
            report(ctx, "the user may not use the partner asked for");
            return Err(Refusal::PartnerNotAllowed);
        }
        self.choose_by_location(ctx, caller, request, Reason::RequestedNotAllowed, after)
    }

    /// Chooses the partner with the smallest area around the location among those that the user may use;
    /// of several the one that is configured first.
    fn choose_by_location(
        &self,
        ctx: &mut Context<'_>,
        caller: &Caller,
        request: &Request,
        reason: Reason,
        after: &mut CommitSeq,
    ) -> Result<Choice<'_>, Refusal> {
        let mut covering: Vec<(Reverse<Detail>, &Partner)> = self
            .config
            .partners
            .iter()
            .filter_map(|partner| Some((Reverse(detail(partner, &request.location)?), partner)))
            .collect();
        // The sort is stable: among equals the order of the configuration stays.
        covering.sort_by_key(|(detail, _)| *detail);
        let chosen = covering.into_iter().find_map(|(_, partner)| {
            let agreement = self.outbound_agreement(ctx.now, caller, &partner.id, after)?;
            Some(Choice { partner, agreement, reason })
        });
        report(ctx, if chosen.is_some() { "a partner by location" } else { "no partner fits" });
        chosen.ok_or(Refusal::NoPartner)
    }

    /// Finds the agreement in force under which `caller` may use `partner`.
    pub(super) fn outbound_agreement(
        &self,
        now: Timestamp,
        caller: &Caller,
        partner: &McSystemId,
        after: &mut CommitSeq,
    ) -> Option<InForce> {
        let users = [
            Some(Users::User(caller.name.clone())),
            caller.class.clone().map(Users::Class),
            Some(Users::Everybody),
        ];
        let users = users.into_iter().flatten();
        self.agreement_in_force(now, partner, Direction::Outbound, users, after)
    }
}

/// How closely an area is described: a cell counts more than a tracking area, and that more than a PLMN.
type Detail = (bool, bool);

/// The detail of the smallest of the partner's areas that cover `location`.
fn detail(partner: &Partner, location: &Location) -> Option<Detail> {
    let covering = partner.areas.iter().filter(|area| covers(area, location));
    covering.map(|area| (area.cell.is_some(), area.tracking_area.is_some())).max()
}

fn covers(area: &Location, location: &Location) -> bool {
    area.plmn == location.plmn
        && (area.tracking_area.is_none() || area.tracking_area == location.tracking_area)
        && (area.cell.is_none() || area.cell == location.cell)
}

fn report(ctx: &mut Context<'_>, summary: &'static str) {
    ctx.out.step(Step::mig(3), Role::ConfigServer, summary);
}
