//! This system's own keys. The next one is made and published well before it signs, so that partners, who may have no
//! link to this system, can be brought its certificate; and a certificate outlives its key by as long as a token holds.

use std::{sync::Arc, time::Duration};

use super::{
    IdentityServer, Unavailable,
    expiry::wake,
    record::{KeyRecord, Stored},
    state::State,
};
use crate::{
    api::idms_management::{Answer, OwnKey, Refusal},
    outbox::{Context, IdmsNote, Note},
    time::Timestamp,
    token::{
        certificate::Certificate,
        claims::CLOCK_SKEW_SECS,
        key::{KeyError, SigningKey, Thumbprint, VerifyingKey},
    },
};

const SKEW: Duration = Duration::from_secs(CLOCK_SKEW_SECS);

/// The furthest that a key may be planned ahead.
const AHEAD_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A key in memory.
#[derive(Debug)]
pub(super) struct HeldKey {
    pub(super) signing: SigningKey,
    pub(super) certificate: Certificate,
    pub(super) signs_from: Timestamp,
}

impl HeldKey {
    pub(super) fn new(record: KeyRecord) -> Result<Self, KeyError> {
        let KeyRecord { pkcs8, certificate, signs_from } = record;
        let signing = SigningKey::from_pkcs8(pkcs8)?;
        let is_certified = certificate.key() == signing.public();
        is_certified.then_some(Self { signing, certificate, signs_from }).ok_or(KeyError::Malformed)
    }

    /// Whether tokens that it signed are to be believed.
    pub(super) fn is_known_at(&self, now: Timestamp) -> bool {
        self.certificate.is_valid_at(now)
    }

    fn record(&self) -> KeyRecord {
        KeyRecord {
            pkcs8: self.signing.pkcs8().clone(),
            certificate: self.certificate.clone(),
            signs_from: self.signs_from,
        }
    }
}

impl State {
    /// The key that signs: the latest that does so by now.
    pub(super) fn signing_key(&self, now: Timestamp) -> Option<Arc<HeldKey>> {
        let signing =
            self.keys.values().filter(|key| key.signs_from <= now && key.is_known_at(now));
        signing.max_by_key(|key| key.signs_from).map(Arc::clone)
    }

    /// From when on the latest key signs.
    fn latest_key(&self) -> Option<Timestamp> {
        self.keys.values().map(|key| key.signs_from).max()
    }
}

impl IdentityServer {
    /// The keys whose tokens are to be believed.
    pub(super) fn known_keys(&self, now: Timestamp) -> Vec<Arc<HeldKey>> {
        let state = self.state();
        state.keys.values().filter(|key| key.is_known_at(now)).map(Arc::clone).collect()
    }

    /// A key that verifies nothing of anybody else's, to take as long as one that might.
    pub(super) fn own_public_key(&self, now: Timestamp) -> Option<VerifyingKey> {
        self.state().signing_key(now).map(|key| key.signing.public().clone())
    }

    /// Makes a key when it is time for one, and says when it is time for the next.
    pub(super) fn keep_keys(
        &self,
        ctx: &mut Context<'_>,
        state: &mut State,
    ) -> Result<Timestamp, Unavailable> {
        let (lifetime, overlap) = (self.config.key_lifetime, self.config.key_overlap);
        if state.signing_key(ctx.now).is_none() {
            self.make_key(ctx, state, ctx.now)?;
        }
        loop {
            let latest = state.latest_key().unwrap_or(ctx.now);
            let ends = latest + lifetime;
            let due = latest + lifetime.saturating_sub(overlap);
            if ctx.now < due {
                return Ok(due);
            }
            // After a long stop the next one may be late: it signs at once then.
            self.make_key(ctx, state, ends.max(ctx.now))?;
        }
    }

    /// Makes a key that an operator wants.
    pub(super) fn rotate_key(
        &self,
        ctx: &mut Context<'_>,
        from: Option<Timestamp>,
    ) -> Result<Answer, Refusal> {
        let from = from.unwrap_or(ctx.now);
        if from < ctx.now || from > ctx.now + AHEAD_MAX {
            return Err(Refusal::Time);
        }
        let state = &mut self.state();
        self.make_key(ctx, state, from)?;
        wake(ctx, state);
        Ok(own_keys(state, ctx.now))
    }

    /// Shows the keys.
    pub(super) fn export_keys(&self, now: Timestamp) -> Answer {
        own_keys(&self.state(), now)
    }

    fn make_key(
        &self,
        ctx: &mut Context<'_>,
        state: &mut State,
        signs_from: Timestamp,
    ) -> Result<(), Unavailable> {
        let config = &self.config;
        let token = config.security_token_lifetime.max(config.access_token_lifetime);
        let not_after = signs_from + config.key_lifetime + token + 2 * SKEW;
        // Clocks differ: what is made now is valid for whoever is behind, too.
        let not_before = Timestamp::from_secs(ctx.now.as_secs().saturating_sub(CLOCK_SKEW_SECS));
        let made = SigningKey::generate().and_then(|signing| {
            let issuer = config.issuer.as_str();
            let certificate = Certificate::of_own(&signing, issuer, not_before, not_after)?;
            Ok(HeldKey { signing, certificate, signs_from })
        });
        let key = made.map_err(|_| Unavailable)?;
        self.commit(ctx, [key.record().put()])?;
        ctx.out.note(Note::Idms(IdmsNote::KeyMade(key.certificate.fingerprint())));
        state.keys.insert(key.signing.thumbprint().clone(), Arc::new(key));
        Ok(())
    }

    /// Forgets keys whose tokens are not believed any more.
    pub(super) fn forget_keys(&self, ctx: &mut Context<'_>, state: &mut State) {
        let over: Vec<Thumbprint> = state
            .keys
            .iter()
            .filter(|(_, key)| key.certificate.not_after <= ctx.now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in over {
            let deletion = state.keys.get(&name).map(|key| key.record().delete());
            if deletion.is_some_and(|deletion| self.commit(ctx, [deletion]).is_ok()) {
                state.keys.remove(&name);
            }
        }
    }
}

fn own_keys(state: &State, now: Timestamp) -> Answer {
    let signing = state.signing_key(now).map(|key| key.certificate.fingerprint());
    let mut keys: Vec<OwnKey> = state
        .keys
        .values()
        .map(|key| OwnKey {
            certificate: key.certificate.clone(),
            signs_from: key.signs_from,
            signs: Some(key.certificate.fingerprint()) == signing,
        })
        .collect();
    keys.sort_by_key(|key| key.signs_from);
    Answer::Own(keys)
}
