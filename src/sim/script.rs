//! What the users of UEs do when nobody tells them: obtain identities, register, leave, come back, and
//! try again after every failure.

use std::time::Duration;

use crate::{
    api::{
        connection_details,
        migration_identity::{Answer, Refusal, Request},
    },
    outbox::Undeliverable,
    ue::{ConfigurationFailure, ConfigurationState, Failure, State, UserAgent},
};

use super::{
    SystemId, Violation, World,
    http::{Asker, Inquiry},
    ue_host::{Script, Stage, UeHost},
};

/// How long a question may take before it is asked again.
const QUESTION: Duration = Duration::from_secs(10);

/// How long a user waits after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(6));

/// The pause between two actions.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(100));

/// How often a pair is given back without an answer. Not forever: a release names the pair, which may
/// be somebody else's after [`QUARANTINE`](super::QUARANTINE).
const RELEASES_MAX: u8 = 2;

impl World {
    /// Lets every UE go on by itself.
    pub(super) fn start_scripts(&mut self) {
        for number in 0..self.ues.len() {
            if let Some(ue) = self.ues.get_mut(number) {
                ue.script = Script { automatic: true, ..Script::default() };
                let pause = ue.pause(Duration::ZERO, Duration::from_secs(10));
                self.wake_after(number, pause);
            }
        }
    }

    /// Lets every UE register, and then stay so.
    pub(super) fn settle_scripts(&mut self) {
        for number in 0..self.ues.len() {
            let Some(ue) = self.ues.get_mut(number) else { continue };
            ue.script.settling = true;
            if ue.script.stage == Stage::Leave {
                ue.script.stage = Stage::Register;
            }
            // A wake-up that is under way comes, unless it waits for what has happened already.
            if !ue.script.waiting {
                self.wake_after(number, Duration::from_secs(1));
            }
        }
    }

    fn wake_after(&mut self, number: usize, span: Duration) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        ue.script.token += 1;
        ue.script.waiting = true;
        let token = ue.script.token;
        self.queue.put_after(span, super::Event::Wake { ue: number, token });
    }

    fn back_off(&mut self, number: usize) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        let span = ue.pause(BACK_OFF.0, BACK_OFF.1);
        self.wake_after(number, span);
    }

    fn pause(&mut self, number: usize) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        let span = ue.pause(PAUSE.0, PAUSE.1);
        self.wake_after(number, span);
    }

    /// A script goes on, unless something else happened to it.
    pub(super) fn wake(&mut self, number: usize, token: u64) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        if ue.script.token != token {
            return;
        }
        ue.script.waiting = false;
        let state = ue.agent.state().clone();
        match (ue.script.stage, state) {
            (Stage::Ask, _) => self.ask_details(number),
            (Stage::ReleaseInbound | Stage::ReleaseOutbound, _) => self.ask_release(number),
            (Stage::Register, State::Registered(_)) => self.decide(number),
            (Stage::Register | Stage::Leave, State::Busy) => self.back_off(number),
            (Stage::Register, State::Idle | State::Failed(_)) => {
                if !ue.script.settling && ue.decides(30) {
                    ue.outrun_home();
                } else if !ue.script.settling && ue.decides(50) {
                    ue.leap_or_start_over();
                }
                self.open_connection(number);
                self.call_ue(number, UserAgent::register);
            }
            (Stage::Leave, State::Registered(_) | State::Failed(_)) => {
                self.open_connection(number);
                self.call_ue(number, UserAgent::deregister);
            }
            (Stage::Leave, State::Idle) => {
                let releases = !ue.script.settling && ue.decides(300);
                ue.script.stage = if releases { Stage::ReleaseInbound } else { Stage::Register };
                self.pause(number);
            }
        }
    }

    /// What a registered user does next.
    fn decide(&mut self, number: usize) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        if ue.script.settling {
            return;
        }
        if ue.decides(400) {
            ue.script.stage = Stage::Leave;
            self.wake_after(number, Duration::ZERO);
        } else if ue.decides(300) {
            // an impatient user repeats step 1 while registered
            ue.script.stage = Stage::Ask;
            self.wake_after(number, Duration::ZERO);
        } else {
            self.pause(number);
        }
    }

    /// Looks at a user agent that was called, and plans what follows from its state.
    pub(super) fn script_watches(&mut self, number: usize) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        if !ue.script.automatic || ue.script.waiting {
            return;
        }
        match (ue.script.stage, ue.agent.state().clone()) {
            // 401: the UE gave up after several challenges, each lost with a storage that failed
            (Stage::Register, State::Failed(Failure::Refused(status))) if status != 401 => {
                if !ue.administrator.excuses_refusal(self.queue.now()) {
                    let detail = format_args!("ue{number} got {status}");
                    let rule = "a user who may migrate is not refused";
                    return self.violate(Violation::new(rule, &detail));
                }
                ue.script.stage = Stage::Ask;
                self.back_off(number);
            }
            // The second: the pair was revoked, and is somebody else's by now. Whose vector is it?
            (Stage::Leave, State::Failed(Failure::Refused(403)))
            | (Stage::Register, State::Failed(Failure::NetworkNotAuthentic))
                if ue.administrator.excuses_refusal(self.queue.now()) =>
            {
                ue.script.stage = Stage::Ask;
                self.back_off(number);
            }
            (Stage::Register | Stage::Leave, State::Failed(_)) => self.back_off(number),
            (Stage::Register, State::Registered(_)) if !ue.script.settling => self.pause(number),
            (Stage::Leave, State::Idle) => self.pause(number),
            _ => {}
        }
    }

    /// Asks for connection details (`MIG-1`); the same again if no answer came.
    fn ask_details(&mut self, number: usize) {
        self.wake_after(number, QUESTION);
        let Some(ue) = self.ues.get_mut(number) else { return };
        let partner = ue.home.other();
        let wish = ue.decides(500).then(|| partner.mc_system_id());
        let late = *ue.client.state() == ConfigurationState::Busy;
        self.call_client(number, |client, ctx| {
            if late {
                client.handle_answer(ctx, Err(Undeliverable));
                client.repeat(ctx);
            } else {
                client.ask(ctx, partner.location(), wish, false);
            }
        });
    }

    /// What came of a request of the UE's configuration management client (`MIG-13`).
    pub(super) fn client_answered(
        &mut self,
        number: usize,
        question: u64,
        outcome: Result<connection_details::Answer, Undeliverable>,
    ) {
        // The client has one request under way; what comes of an earlier one comes to nobody.
        if self.ues.get(number).is_none_or(|ue| ue.asked != Some(question)) {
            return;
        }
        self.call_client(number, |client, ctx| client.handle_answer(ctx, outcome));
        let now = self.queue.now();
        let Some(ue) = self.ues.get_mut(number).filter(|ue| ue.script.automatic) else { return };
        match ue.client.state().clone() {
            ConfigurationState::Received(_) => {
                ue.administrator.details_arrived(question, now);
                self.use_details(number);
            }
            ConfigurationState::Failed(
                ConfigurationFailure::NoAnswer
                | ConfigurationFailure::Refused(
                    connection_details::Refusal::Unavailable
                    | connection_details::Refusal::PartnerUnreachable,
                ),
            ) => self.back_off(number),
            ConfigurationState::Failed(failure) => {
                if !ue.administrator.excuses_refusal(now) {
                    return self
                        .violate(Violation::new("a user who may migrate gets a pair", &failure));
                }
                self.back_off(number);
            }
            ConfigurationState::Idle | ConfigurationState::Busy => {}
        }
    }

    /// Goes on with what the UE was told: registers with it, at once or after a pause (NOTE 5).
    fn use_details(&mut self, number: usize) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        ue.script.stage = Stage::Register;
        let told = ue.details().map(|details| details.identity.clone());
        if ue.at == ue.home.other() && told.as_ref() == Some(&ue.identity) {
            return self.wake_after(number, Duration::ZERO);
        }
        self.move_to_partner(number);
        self.pause(number);
    }

    /// Lets a UE use what it was told of its partner (`MIG-14`); whether it was told anything.
    pub(super) fn move_to_partner(&mut self, number: usize) -> bool {
        let now = self.queue.now();
        let effects = self.ues.get_mut(number).and_then(|ue| ue.move_to_partner(now));
        let told = effects.is_some();
        self.perform_ue(number, effects.unwrap_or_default());
        told
    }

    /// Calls a configuration management client and performs what it wants done.
    pub(super) fn call_client(
        &mut self,
        number: usize,
        call: impl FnOnce(&mut crate::ue::ConfigurationClient, &mut crate::outbox::Context<'_>),
    ) {
        let now = self.queue.now();
        let Some(ue) = self.ues.get_mut(number) else { return };
        let effects = ue.call_client(now, call);
        self.perform_ue(number, effects);
    }

    /// Asks that a pair or the leave to use the real one ends; again if no answer comes.
    fn ask_release(&mut self, number: usize) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        ue.script.releases += 1;
        if ue.script.releases > RELEASES_MAX {
            return self.released(number);
        }
        let Some((system, request)) = self.release_of(number) else {
            return self.released(number);
        };
        self.wake_after(number, QUESTION);
        let Some(token) = self.ues.get(number).map(|ue| ue.script.token) else { return };
        self.ask(system, Inquiry::Database(request), Asker::Script { ue: number, token });
    }

    /// Which release a UE's script has reached, if there is anything to release.
    fn release_of(&self, number: usize) -> Option<(SystemId, Request)> {
        let ue = self.ues.get(number)?;
        if ue.script.stage == Stage::ReleaseInbound {
            // An administrator may have revoked it, and it may be somebody else's by now.
            let held = self.inbound_of(number);
            let impi =
                held.filter(|held| ue.details().is_some_and(|it| it.identity.impi == *held))?;
            return Some((ue.home.other(), Request::ReleaseInbound(impi)));
        }
        Some((ue.home, self.withdrawal(ue)?))
    }

    /// Ends what a UE's home lent or granted it for its partner.
    pub(super) fn withdrawal(&self, ue: &UeHost) -> Option<Request> {
        if ue.hidden {
            let pair = self.outbound_of(ue)?;
            return Some(Request::ReleaseOutbound(pair.impi));
        }
        let partner = ue.home.other().database();
        Some(Request::DeleteGrant { impi: ue.real.impi.clone(), partner })
    }

    /// An answer to a script's release.
    pub(super) fn script_answered(&mut self, number: usize, token: u64, answer: &Answer) {
        if self.ues.get(number).is_none_or(|ue| ue.script.token != token) {
            return;
        }
        match answer {
            Answer::Refused(Refusal::Unavailable) => self.back_off(number),
            Answer::Refused(Refusal::NotFound(_)) | Answer::Done => self.released(number),
            Answer::Refused(_)
            | Answer::RowsRefused(_)
            | Answer::Binding(_)
            | Answer::Granted { .. }
            | Answer::Subscriber { .. }
            | Answer::DigestSubscriber { .. }
            | Answer::Pool { .. } => {
                let detail = format!("{answer:?}");
                self.violate(Violation::new("what was lent can be given back", &detail));
            }
        }
    }

    /// A pair was given back, or perhaps: goes on to the next one, and then asks for new ones.
    fn released(&mut self, number: usize) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        ue.script.releases = 0;
        if ue.script.stage == Stage::ReleaseInbound {
            ue.script.stage = Stage::ReleaseOutbound;
            return self.wake_after(number, Duration::ZERO);
        }
        ue.script.stage = Stage::Ask;
        self.pause(number);
    }
}
