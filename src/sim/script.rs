//! What the users of UEs do when nobody tells them: obtain identities, register, leave, come back, and
//! try again after every failure.

use std::time::Duration;

use crate::{
    api::migration_identity::{Answer, Binding, PrimaryUser, Refusal, Request},
    identity::UserIdentity,
    ue::{Failure, State, UserAgent},
};

use super::{
    SystemId, Violation, World,
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

/// How long a grant is asked for: longer than any run of scripts.
const GRANT: Duration = Duration::from_secs(24 * 3_600);

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
            (
                Stage::AskHome | Stage::AskPartner | Stage::ReleaseInbound | Stage::ReleaseOutbound,
                _,
            ) => self.ask_question(number),
            (Stage::Register, State::Registered(_)) => self.decide(number),
            (Stage::Register | Stage::Leave, State::Busy) => self.back_off(number),
            (Stage::Register, State::Idle | State::Failed(_)) => {
                if !ue.script.settling && ue.decides(30) {
                    ue.outrun_home();
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
            ue.script.stage = Stage::AskHome;
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
                let detail = format_args!("ue{number} got {status}");
                self.violate(Violation::new("a user who may migrate is not refused", &detail));
            }
            (Stage::Register | Stage::Leave, State::Failed(_)) => self.back_off(number),
            (Stage::Register, State::Registered(_)) if !ue.script.settling => self.pause(number),
            (Stage::Leave, State::Idle) => self.pause(number),
            _ => {}
        }
    }

    /// Asks for a pair, for leave to use the real one, or that either ends; again if no answer comes.
    fn ask_question(&mut self, number: usize) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        if ue.script.stage.releases() {
            ue.script.releases += 1;
            if ue.script.releases > RELEASES_MAX {
                return self.released(number);
            }
        }
        let (system, request) = ue.question();
        self.wake_after(number, QUESTION);
        let Some(token) = self.ues.get(number).map(|ue| ue.script.token) else { return };
        self.ask(system, request, Some((number, token)));
    }

    /// An answer to a script's question.
    pub(super) fn script_answered(&mut self, number: usize, token: u64, answer: Answer) {
        let Some(ue) = self.ues.get_mut(number).filter(|ue| ue.script.token == token) else {
            return;
        };
        match answer {
            Answer::Refused(Refusal::Unavailable) => return self.back_off(number),
            Answer::Refused(Refusal::NotFound(_)) if ue.script.stage.releases() => {}
            Answer::Refused(refusal) => {
                return self
                    .violate(Violation::new("a user who may migrate gets a pair", &refusal));
            }
            Answer::Binding(binding) => ue.take_binding(binding),
            Answer::Done | Answer::Subscriber { .. } | Answer::Pool { .. } => {}
        }
        match ue.script.stage {
            Stage::AskHome => {
                ue.script.stage = Stage::AskPartner;
                self.wake_after(number, Duration::ZERO);
            }
            Stage::AskPartner => {
                ue.script.stage = Stage::Register;
                let pair = ue.script.inbound.as_ref().map(|binding| binding.identity.clone());
                let partner = ue.home.other();
                match pair {
                    Some(pair) if ue.at != partner || ue.identity != pair => {
                        ue.move_to(partner, &pair);
                        self.pause(number);
                    }
                    _ => self.wake_after(number, Duration::ZERO),
                }
            }
            Stage::ReleaseInbound | Stage::ReleaseOutbound => self.released(number),
            Stage::Register | Stage::Leave => {}
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
        ue.script.stage = Stage::AskHome;
        ue.script.outbound = None;
        self.pause(number);
    }
}

impl Stage {
    /// Whether something is given back, which may have been given back already.
    const fn releases(self) -> bool {
        matches!(self, Self::ReleaseInbound | Self::ReleaseOutbound)
    }
}

impl UeHost {
    /// What is to be asked at this stage, and whom.
    pub(super) fn question(&self) -> (SystemId, Request) {
        match self.script.stage {
            Stage::AskPartner => (self.home.other(), self.question_to_partner()),
            Stage::ReleaseInbound => {
                (self.home.other(), Request::ReleaseInbound(self.identity.impi.clone()))
            }
            Stage::ReleaseOutbound => (self.home, self.withdrawal()),
            Stage::AskHome | Stage::Register | Stage::Leave => (self.home, self.question_to_home()),
        }
    }

    /// B1, or a grant where the home does not hide identities.
    pub(super) fn question_to_home(&self) -> Request {
        let (user, partner) = (self.real.clone(), self.home.other().database());
        if self.hidden {
            Request::BindOutbound { user, partner, allowed: None }
        } else {
            Request::PutGrant { user, partner, valid_for: GRANT, allowed: None }
        }
    }

    /// Ends what [`UeHost::question_to_home`] gave.
    pub(super) fn withdrawal(&self) -> Request {
        if self.hidden {
            Request::ReleaseOutbound(self.primary_side_pair().impi)
        } else {
            let partner = self.home.other().database();
            Request::DeleteGrant { impi: self.real.impi.clone(), partner }
        }
    }

    /// D1.
    pub(super) fn question_to_partner(&self) -> Request {
        Request::BindInbound {
            primary: PrimaryUser {
                database: self.home.database(),
                identity: self.primary_side_pair(),
                server_name: format!("sip:migration.{}", self.home.domain()),
            },
            allowed: None,
        }
    }

    /// The pair that the partner knows the user by.
    pub(super) fn primary_side_pair(&self) -> UserIdentity {
        let outbound = self.script.outbound.as_ref().filter(|_| self.hidden);
        outbound.map_or_else(|| self.real.clone(), |binding| binding.identity.clone())
    }

    /// Takes the pair in that [`UeHost::question`] asked for.
    pub(super) fn take_binding(&mut self, binding: Binding) {
        let slot = match self.script.stage {
            Stage::AskHome => &mut self.script.outbound,
            Stage::AskPartner
            | Stage::Register
            | Stage::Leave
            | Stage::ReleaseInbound
            | Stage::ReleaseOutbound => &mut self.script.inbound,
        };
        *slot = Some(binding);
    }
}
