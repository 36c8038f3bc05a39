//! What a UE makes of answers: it answers a challenge by its ISIM, and is registered, or is not.

use super::{CHALLENGES_MAX, Phase, Ues, millis, name};
use crate::{
    aka::digest::Qop,
    node::load::{
        answer::{Answer, Answerer},
        cause::{Cause, Step},
        outgoing::Outgoing,
        request::{Authorization, Response, hex},
    },
    sip::response::ResponseView,
};

impl Ues {
    /// Handles one message that arrived.
    pub(in crate::node::load) fn handle_message(
        &mut self,
        octets: &[u8],
        now: u64,
        out: &mut Outgoing,
    ) {
        let Some(branch) = self.prefix.find(octets) else {
            let is_response = octets.starts_with(b"SIP/2.0 ");
            let counts = &mut self.recorder.counts;
            *(if is_response { &mut counts.stray } else { &mut counts.malformed }) += 1;
            return;
        };
        let state = self.states.get(branch.ue as usize).filter(|ue| ue.cseq == branch.cseq);
        let Some((state, step)) = state.and_then(|ue| Some((*ue, ue.step()?))) else {
            self.recorder.counts.stray += 1;
            return;
        };
        let Ok(answer) = ResponseView::parse(octets, self.settings.framing) else {
            self.recorder.counts.malformed += 1;
            return self.fail(branch.ue, Cause::Malformed, None, now);
        };
        let status = answer.status();
        let took = now.saturating_sub(state.since);
        self.recorder.answered(step, status, took);
        match status {
            ..200 => {
                self.recorder.counts.provisional += 1;
                let interval = millis(self.settings.t2);
                self.change(branch.ue, |ue| ue.interval = interval);
            }
            401 => self.handle_challenge(branch.ue, &answer, now, out),
            200..300 => self.handle_success(branch.ue, &answer, now),
            _ => {
                let cause = match status {
                    423 => Cause::Period,
                    403 | 404 if state.other_realm => Cause::Realm(status),
                    _ => Cause::Refused(step, status),
                };
                self.fail(branch.ue, cause, answer.retry_after(), now);
            }
        }
    }

    /// A 401: answers it with the ISIM.
    fn handle_challenge(
        &mut self,
        ue: u32,
        answer: &ResponseView<'_>,
        now: u64,
        out: &mut Outgoing,
    ) {
        let Some(state) = self.states.get(ue as usize).copied() else { return };
        if state.challenges == CHALLENGES_MAX {
            let cause = if state.other_realm { Cause::Realm(401) } else { Cause::Challenged };
            return self.fail(ue, cause, None, now);
        }
        let subscriber = self.subscriber(ue);
        let cnonce = hex(self.random.next_u32());
        let cnonce = std::str::from_utf8(&cnonce).unwrap_or_default();
        let Self { subscribers, pairs, names, uri, sqn, diagnosis, .. } = self;
        let domain = name(subscribers, pairs, (subscriber, ue), names);
        uri.clear();
        uri.push_str("sip:");
        uri.push_str(domain);
        let answerer = Answerer { subscribers, subscriber, names, uri, cnonce };
        let answered = match answerer.answer(answer, (sqn, ue), diagnosis) {
            Ok(answered) if answered.auts.is_some() && state.resynchronized => Err(Cause::Sqn),
            outcome => outcome,
        };
        let answered = match answered {
            Ok(answered) => answered,
            Err(cause) => return self.fail(ue, cause, None, now),
        };
        let other_realm = !answered.challenge.realm.eq_ignore_ascii_case(domain);
        if state.phase == Phase::Challenge {
            self.recorder.step_done(Step::Challenge, now.saturating_sub(state.since));
        }
        let resynchronizes = answered.auts.is_some();
        self.recorder.counts.resynchronizations += u64::from(resynchronizes);
        self.change(ue, |state| {
            state.cseq += 1;
            state.challenges += 1;
            state.since = now;
            state.phase = if resynchronizes { Phase::Challenge } else { Phase::Response };
            state.resynchronized |= resynchronizes;
            state.other_realm = other_realm;
        });
        self.send_response(ue, &answered, cnonce, out);
        self.start_transaction(ue, now);
    }

    /// `MIG-23`: sends the response, and keeps the request.
    fn send_response(&mut self, ue: u32, answered: &Answer<'_>, cnonce: &str, out: &mut Outgoing) {
        let response = Response {
            realm: &answered.challenge.realm,
            nonce: &answered.challenge.nonce,
            digest: answered.response.as_str(),
            algorithm: answered.algorithm.as_str(),
            qop: answered.qop.map(|qop| (Qop::as_str(qop), cnonce)),
            auts: answered.auts.as_deref(),
            opaque: answered.challenge.opaque.as_deref(),
        };
        let octets = self.write_register(ue, Authorization::Response(response), out);
        let Some(state) = self.states.get_mut(ue as usize) else { return };
        self.kept.release(state.kept);
        state.kept = self.kept.keep(octets);
    }

    /// `MIG-25`: registered, if the contact is among those that the registrar has.
    fn handle_success(&mut self, ue: u32, answer: &ResponseView<'_>, now: u64) {
        let Some(state) = self.states.get(ue as usize).copied() else { return };
        let user = hex(self.subscriber(ue));
        let period = answer.expires().unwrap_or(1);
        let granted = answer.contacts().any(|contact| {
            let user_of = contact.uri.strip_prefix("sip:u").unwrap_or_default();
            user_of.as_bytes().starts_with(&user) && contact.expires.unwrap_or(period) > 0
        });
        if !granted {
            return self.fail(ue, Cause::NotGranted, None, now);
        }
        if let Some(step) = state.step() {
            self.recorder.step_done(step, now.saturating_sub(state.since));
        }
        let took = now.saturating_sub(state.intended);
        self.recorder.registration.record(took);
        self.recorder.counts.succeeded += 1;
        self.current.succeeded(took);
        self.rest(ue);
    }
}
