//! The branches of the three procedures, and the steps that each has.

use std::fmt;

use crate::{
    procedure::{Row, configuration_exchange, configuration_update, group_provision},
    step::Step,
};

/// One of the three procedures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Play {
    /// Exchange of initial configuration, 17 steps.
    Xcfg,
    /// Provision of interconnection group IDs, 14 steps.
    Grp,
    /// Update of the configuration of migrating users, 10 steps.
    Upd,
}

/// Who decides, and how it comes to be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Branch {
    /// The partner's server decides by its policy: nobody has to be there.
    Automatic,
    /// A person of the partner decides, who logs on days later. The same as logged-off.
    Manual,
    /// Whoever has to decide is logged on when the request comes, and whoever asked when the response comes.
    LoggedOn,
    /// Whoever has to decide is logged off, and logs on days later; so does whoever asked.
    LoggedOff,
    /// The request is for a functional alias that one administrator of the partner has activated.
    AliasOne,
    /// The request is for an alias that several have activated: exactly one gets it, who is logged on longest.
    AliasMany,
    /// The request is for an alias that nobody has activated; it waits until somebody does.
    AliasNone,
}

impl Play {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Xcfg, Self::Grp, Self::Upd];

    /// The steps, in order.
    pub(super) fn rows(self) -> &'static [Row] {
        match self {
            Self::Xcfg => &configuration_exchange::STEPS,
            Self::Grp => &group_provision::STEPS,
            Self::Upd => &configuration_update::STEPS,
        }
    }

    /// What the labels of its steps begin with.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Xcfg => "XCFG-",
            Self::Grp => "GRP-",
            Self::Upd => "UPD-",
        }
    }
}

impl Branch {
    /// The procedures that have it.
    pub fn plays(self) -> &'static [Play] {
        match self {
            Self::Automatic | Self::Manual | Self::LoggedOn | Self::LoggedOff => &Play::ALL,
            // Initial configuration is for no particular user.
            Self::AliasOne | Self::AliasMany | Self::AliasNone => &[Play::Grp, Play::Upd],
        }
    }

    /// Whether whoever has to decide is logged on when the request comes, and whoever asked stays so.
    pub(super) const fn is_attended(self) -> bool {
        match self {
            Self::LoggedOn | Self::AliasOne | Self::AliasMany | Self::AliasNone => true,
            Self::Automatic | Self::Manual | Self::LoggedOff => false,
        }
    }

    /// The steps that it has of a procedure, in order.
    pub(super) fn steps(self, play: Play) -> Vec<Step> {
        let has = |step: &Step| {
            let left_out: &[u8] = match (self, play) {
                (Self::Manual | Self::LoggedOff, _) | (_, Play::Upd) if self != Self::Automatic => {
                    &[]
                }
                // Nobody has to be told, to look and to decide.
                (Self::Automatic, Play::Xcfg) => &[5, 6, 7, 8, 9, 10, 11],
                (Self::Automatic, Play::Grp) => &[5, 6, 7, 8, 9],
                (Self::Automatic, Play::Upd) => &[5, 6, 7],
                // Nobody has to log on.
                (_, Play::Xcfg) => &[6, 14],
                (_, Play::Grp) => &[5, 6, 12],
                (_, Play::Upd) => &[],
            };
            !left_out.contains(&step.number)
        };
        play.rows().iter().map(|row| row.step).filter(has).collect()
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Automatic => "the partner's policy decides",
            Self::Manual | Self::LoggedOff => "a person decides, days later",
            Self::LoggedOn => "a person decides who is logged on",
            Self::AliasOne => "for an alias that one administrator has active",
            Self::AliasMany => "for an alias that two administrators have active",
            Self::AliasNone => "for an alias that nobody has active",
        })
    }
}

/// Holds what was performed against the steps of a branch: each of them, no other of the procedure, and in order.
///
/// A repeat of a step is none out of order: requests between systems are repeated until they are answered.
pub(super) fn check(branch: Branch, play: Play, performed: &[String]) -> Result<(), Misplaced> {
    let mut firsts: Vec<&str> = Vec::new();
    for label in performed.iter().filter(|label| label.starts_with(play.prefix())) {
        if !firsts.contains(&label.as_str()) {
            firsts.push(label);
        }
    }
    let wanted: Vec<String> = branch.steps(play).iter().map(ToString::to_string).collect();
    if let Some(missing) = wanted.iter().find(|label| !firsts.contains(&label.as_str())) {
        return Err(Misplaced(missing.clone()));
    }
    if let Some(other) = firsts.iter().find(|label| !wanted.iter().any(|it| it == *label)) {
        return Err(Misplaced((*other).to_owned()));
    }
    match wanted.iter().zip(&firsts).find(|(label, first)| label.as_str() != **first) {
        Some((label, _)) => Err(Misplaced(label.clone())),
        None => Ok(()),
    }
}

/// A step that is missing, or not in its place, or not one of the branch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Misplaced(pub(super) String);

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(branch: Branch, play: Play) -> Vec<String> {
        branch.steps(play).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_regular_branch_has_every_step() {
        for (play, count) in [(Play::Xcfg, 17), (Play::Grp, 17), (Play::Upd, 10)] {
            assert_eq!(labels(Branch::LoggedOff, play).len(), count);
            assert_eq!(labels(Branch::Manual, play), labels(Branch::LoggedOff, play));
        }
        let of = |branch, play| labels(branch, play).join(" ");
        assert_eq!(
            of(Branch::Automatic, Play::Xcfg),
            "XCFG-1 XCFG-2 XCFG-3 XCFG-4 XCFG-12 XCFG-13 XCFG-14 XCFG-15 XCFG-16 XCFG-17"
        );
        assert_eq!(
            of(Branch::LoggedOn, Play::Grp),
            "GRP-1 GRP-2 GRP-3 GRP-4a GRP-4b GRP-7a GRP-7b GRP-8 GRP-9 GRP-10 GRP-11 GRP-13a GRP-13b GRP-14"
        );
        assert_eq!(of(Branch::Automatic, Play::Upd), "UPD-1 UPD-2 UPD-3 UPD-4 UPD-8 UPD-9 UPD-10");
        assert_eq!(labels(Branch::AliasNone, Play::Upd).len(), 10);
    }

    #[test]
    fn what_is_missing_out_of_order_or_of_another_branch_is_found() {
        let check = |labels: &[String]| check(Branch::LoggedOff, Play::Grp, labels);
        let good = labels(Branch::LoggedOff, Play::Grp);
        assert_eq!(check(&good), Ok(()));
        let repeated: Vec<String> = good.iter().chain(&good).cloned().collect();
        assert_eq!(check(&repeated), Ok(()), "a repeat is no step out of order");
        for at in 0..good.len() {
            let mut missing = good.clone();
            let label = missing.remove(at);
            assert_eq!(check(&missing), Err(Misplaced(label)));
        }
        for at in 1..good.len() {
            let mut swapped = good.clone();
            swapped.swap(at - 1, at);
            assert_eq!(check(&swapped), Err(Misplaced(good[at - 1].clone())), "{swapped:?}");
        }
        let unattended = super::check(Branch::Automatic, Play::Grp, &good);
        assert_eq!(unattended, Err(Misplaced("GRP-5".to_owned())));
    }
}
