//! The life of a transaction that this system began, with the steps of its procedure.

use std::{fmt::Write as _, time::Duration};

use serde_json::json;

use super::{
    command::{AcmError, name_of, note, print},
    connection::AcmClient,
};
use crate::{
    api::{
        acm_client::{Change, Progress, State},
        acm_interconnection::TransactionId,
    },
    step::{Part, Step},
};

/// Prints each change as it comes, until the transaction is closed; with `once` those that there are.
pub(super) async fn run(
    client: &AcmClient,
    transaction: TransactionId,
    (every, once): (Duration, bool),
    json: bool,
) -> Result<(), AcmError> {
    let (mut told, mut attempts, mut is_headed) = (0, 0, json);
    loop {
        let progress = match client.progress(transaction).await {
            Ok(progress) => progress,
            Err(error) if error.is_temporary() && !once => {
                note(&format_args!("{error}; trying again in {} s", every.as_secs_f32()));
                tokio::time::sleep(every).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let Progress { summary, history, attempts: now, .. } = &progress;
        let mut text = String::new();
        if !std::mem::replace(&mut is_headed, true) {
            text = heading(&progress);
        }
        for change in history.iter().skip(told) {
            text.push_str(&if json {
                change_json(&progress, change)
            } else {
                line(&progress, change)
            });
        }
        told = history.len();
        if *now > attempts && !json {
            let _ = writeln!(text, "  the partner has not answered: {now} attempts so far");
        }
        attempts = *now;
        let is_over = summary.state == State::Closed;
        if (is_over || once) && !json {
            let _ = writeln!(text, "{}", ending(&progress));
        }
        print(&text)?;
        if is_over || once {
            return Ok(());
        }
        tokio::time::sleep(every).await;
    }
}

fn heading(progress: &Progress) -> String {
    let summary = &progress.summary;
    format!(
        "{} to {}, revision {}, by {}; to be decided until {}\n",
        summary.kind.as_str(),
        summary.partner,
        summary.revision,
        summary.originator.as_str(),
        summary.expires.to_rfc3339()
    )
}

fn line(progress: &Progress, change: &Change) -> String {
    let steps = labels(progress, change.state);
    let mut line = format!(
        "{:27}  {:19}  {:16}  {}",
        change.at.to_rfc3339(),
        name_of(&change.state),
        steps.join(", "),
        words(change.state)
    );
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

fn change_json(progress: &Progress, change: &Change) -> String {
    let steps = labels(progress, change.state);
    let change = json!({
        "transaction": progress.summary.key.transaction,
        "at": change.at,
        "state": change.state,
        "steps": steps,
        "response": progress.response.as_ref().filter(|_| change.state == State::Responded),
    });
    format!("{change}\n")
}

fn ending(progress: &Progress) -> String {
    let Some(response) = &progress.response else {
        let is_over = progress.summary.state == State::Closed;
        let words = if is_over { "over, without a response" } else { "not decided yet" };
        return words.to_owned();
    };
    let by =
        response.handler_id.as_ref().map_or_else(String::new, |id| format!(" by {}", id.as_str()));
    let reason = response.text.as_ref().map_or_else(String::new, |text| format!(": {text}"));
    let about = if response.elements.is_empty() {
        String::new()
    } else {
        format!(" ({})", response.elements.join(", "))
    };
    format!("result: {}{by}{reason}{about}", name_of(&response.result))
}

/// A step of XCFG, of GRP with its part, and of UPD; zero where there is none.
type Row = (u8, (u8, Option<Part>), u8);

/// The steps that lead to a state, as far as this side knows of them: those of the clients of this side, and of the other
/// one that a person decided.
fn labels(progress: &Progress, state: State) -> Vec<String> {
    let has = |state: State| progress.history.iter().any(|change| change.state == state);
    let is_by_person = progress.response.as_ref().is_some_and(|it| it.handler_id.is_some());
    let (a, b) = (Some(Part::A), Some(Part::B));
    let rows: &[Row] = match state {
        State::Authorised => &[(1, (1, None), 1), (2, (2, None), 2)],
        State::Sent => &[(3, (3, None), 3), (4, (4, a), 4), (0, (4, b), 0)],
        // The answer to the request may be this, or it comes after that.
        State::PendingAtPartner if has(State::Sent) => &[(5, (0, None), 0)],
        State::PendingAtPartner => &[(3, (3, None), 3), (4, (4, a), 4), (5, (4, b), 0)],
        State::Responded if is_by_person => {
            &[(10, (0, None), 6), (11, (9, None), 7), (12, (10, None), 8), (13, (11, None), 9)]
        }
        State::Responded => &[(12, (10, None), 8), (13, (11, None), 9)],
        State::LoggedOn => &[(14, (12, None), 0)],
        State::Notified => &[(15, (13, a), 0)],
        State::Listed => &[(16, (13, b), 0)],
        State::Delivered => &[(17, (14, None), 10)],
        State::Retrying
        | State::Cancelling
        | State::Closed
        | State::Stored
        | State::Assigned
        | State::WaitingForLogon
        | State::WaitingForAlias
        | State::Fetched
        | State::Decided
        | State::ResponseSent
        | State::ResponseAcknowledged
        | State::ResponseUndelivered => &[],
    };
    let kind = progress.summary.kind;
    let steps = rows.iter().filter_map(|(xcfg, grp, upd)| kind.step(*xcfg, *grp, *upd));
    steps.map(|step: Step| step.to_string()).collect()
}

const fn words(state: State) -> &'static str {
    match state {
        State::Authorised => "the user may; on its way",
        State::Retrying => "the partner cannot be reached and is tried again",
        State::Sent => "durable at the partner",
        State::PendingAtPartner => "a person of the partner must look",
        State::Cancelling => "taken back, which the partner does not know yet",
        State::Responded => "the response is here",
        State::LoggedOn => "a user logs on who may read it",
        State::Notified => "the user is told that a response is pending",
        State::Listed => "a client has asked what is pending",
        State::Delivered => "the response has been fetched",
        State::Closed => "over",
        State::Stored
        | State::Assigned
        | State::WaitingForLogon
        | State::WaitingForAlias
        | State::Fetched
        | State::Decided
        | State::ResponseSent
        | State::ResponseAcknowledged
        | State::ResponseUndelivered => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::acm_payload::Kind;

    /// The life of a transaction whose response a person made and another one has read.
    fn life(kind: Kind) -> Progress {
        let states = [
            State::Authorised,
            State::Sent,
            State::PendingAtPartner,
            State::Responded,
            State::LoggedOn,
            State::Notified,
            State::Listed,
            State::Delivered,
            State::Closed,
        ];
        let at = "2031-01-01T00:00:00Z";
        let key = json!({
            "origin": "sip:a.example", "transaction": "11111111-2222-4333-8444-555555555555",
        });
        let progress = json!({
            "summary": {
                "number": 1, "key": key, "kind": kind, "partner": "sip:b.example",
                "originator": "sip:anna@a.example", "created": at, "expires": at, "revision": 1,
                "state": "closed", "result": "ok",
            },
            "history": states.map(|state| json!({"at": at, "state": state})),
            "attempts": 0,
            "response": {
                "key": key, "system": "sip:b.example", "handler_id": "sip:bert@b.example",
                "handler_alias": null, "target_id": "sip:anna@a.example", "result": "ok",
                "text": null, "elements": [], "decided": at,
            },
        });
        serde_json::from_value(progress).unwrap()
    }

    fn labels_of(progress: &Progress) -> String {
        let states = progress.history.iter().map(|change| change.state);
        states.flat_map(|state| labels(progress, state)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_state_has_the_steps_that_lead_to_it() {
        for (kind, wanted) in [
            (
                Kind::Configuration,
                "XCFG-1 XCFG-2 XCFG-3 XCFG-4 XCFG-5 XCFG-10 XCFG-11 XCFG-12 XCFG-13 XCFG-14 XCFG-15 \
                 XCFG-16 XCFG-17",
            ),
            (
                Kind::Groups,
                "GRP-1 GRP-2 GRP-3 GRP-4a GRP-4b GRP-9 GRP-10 GRP-11 GRP-12 GRP-13a GRP-13b GRP-14",
            ),
            (Kind::Update, "UPD-1 UPD-2 UPD-3 UPD-4 UPD-6 UPD-7 UPD-8 UPD-9 UPD-10"),
            (Kind::AddUsers, ""),
        ] {
            assert_eq!(labels_of(&life(kind)), wanted);
        }
    }

    #[test]
    fn what_policy_decided_has_no_steps_of_a_person() {
        let mut progress = life(Kind::Update);
        progress.response.as_mut().unwrap().handler_id = None;
        let wanted = "UPD-1 UPD-2 UPD-3 UPD-4 UPD-8 UPD-9 UPD-10";
        assert_eq!(labels_of(&progress), wanted);
    }
}
