//! Whose security tokens are taken: certificates that an operator imported from a file (TS 33.180 clause 5.1.4.2).
//!
//! A certificate is good while it is valid and not revoked, by a list of who signed it or by an operator. A revoked one
//! stays known, so that no file brings it back.

use super::{
    IdentityServer, Unavailable,
    record::{IssuerRecord, Revocation, Stored, Trusted},
};
use crate::{
    api::{
        identity_management::IssuerUrl,
        idms_management::{Answer, CERTIFICATES_MAX, ISSUERS_MAX, Refusal, TrustedCertificate},
    },
    outbox::{Context, IdmsNote, Note},
    time::Timestamp,
    token::{
        certificate::{Certificate, CertificateError, Fingerprint, TrustFile, revoked_by},
        key::VerifyingKey,
    },
};

/// Why a list ends the trust in a certificate.
const BY_LIST: &str = "list of revoked certificates";

/// Longest reason of a revocation, characters.
const REASON_CHARACTERS_MAX: usize = 200;

/// Most lists of revoked certificates that are kept of one issuer: the latest.
const LISTS_MAX: usize = 8;

impl IssuerRecord {
    /// Keeps lists for certificates that come later; `false` if all were known.
    fn add_lists(&mut self, lists: &[Vec<u8>]) -> bool {
        let before = self.lists.len();
        let new = lists.iter().filter(|list| !self.lists.contains(list));
        let new: Vec<Vec<u8>> = new.cloned().collect();
        self.lists.extend(new);
        let has_new = self.lists.len() > before;
        self.lists.drain(..self.lists.len().saturating_sub(LISTS_MAX));
        has_new
    }

    fn new(issuer: &IssuerUrl) -> Self {
        Self { issuer: issuer.clone(), certificates: Vec::new(), lists: Vec::new() }
    }

    /// Revokes what the lists that are kept name, and returns what was not before.
    ///
    /// # Errors
    ///
    /// That nobody known here signed one of the lists in `new`.
    fn apply_lists(
        &mut self,
        new: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Vec<Fingerprint>, CertificateError> {
        let all: Vec<Certificate> =
            self.certificates.iter().map(|known| known.certificate.clone()).collect();
        let all: Vec<&Certificate> = all.iter().collect();
        let mut revoked = Vec::new();
        for list in self.lists.clone() {
            let listed = match revoked_by(&list, &all) {
                // Of one from before, who signed it may have gone.
                Err(_) if !new.contains(&list) => Vec::new(),
                listed => listed?,
            };
            revoked.extend(listed.into_iter().filter(|one| self.revoke(*one, now, BY_LIST)));
        }
        Ok(revoked)
    }

    fn is_known(&self, fingerprint: Fingerprint) -> bool {
        self.certificates.iter().any(|known| known.certificate.fingerprint() == fingerprint)
    }

    /// Ends the trust in a certificate; `false` if there was none any more.
    fn revoke(&mut self, fingerprint: Fingerprint, at: Timestamp, reason: &str) -> bool {
        let mut all = self.certificates.iter_mut();
        let known = all.find(|known| known.certificate.fingerprint() == fingerprint);
        match known {
            Some(known) if known.revoked.is_none() => {
                known.revoked = Some(Revocation { at, reason: reason.to_owned() });
                true
            }
            Some(_) | None => false,
        }
    }
}

impl IdentityServer {
    /// The keys that an issuer's tokens are verified with now; `None` for one that is not known.
    pub(super) fn trusted_keys(
        &self,
        issuer: &IssuerUrl,
        now: Timestamp,
    ) -> Option<Vec<VerifyingKey>> {
        let state = self.state();
        let certificates = &state.issuers.get(issuer)?.certificates;
        let good = certificates.iter().filter(|known| {
            known.revoked.is_none()
                && known.certificate.is_valid_at(now)
                && !known.certificate.is_authority()
        });
        Some(good.map(|known| known.certificate.key().clone()).collect())
    }

    /// Takes a file in: all of it or nothing.
    pub(super) fn import(
        &self,
        ctx: &mut Context<'_>,
        issuer: &IssuerUrl,
        file: &TrustFile,
    ) -> Result<Answer, Refusal> {
        if *issuer == self.config.issuer {
            return Err(Refusal::Own);
        }
        let state = &mut self.state();
        let before = state.issuers.get(issuer);
        if before.is_none() && state.issuers.len() >= ISSUERS_MAX {
            return Err(Refusal::Full("issuers"));
        }
        let mut record = before.cloned().unwrap_or_else(|| IssuerRecord::new(issuer));
        let others = state.issuers.values().filter(|other| other.issuer != *issuer);
        let others: Vec<&VerifyingKey> = others
            .flat_map(|other| &other.certificates)
            .filter(|known| !known.certificate.is_authority())
            .map(|known| known.certificate.key())
            .collect();
        let (mut added, mut known) = (Vec::new(), 0);
        for certificate in &file.certificates {
            if !certificate.is_authority() && others.contains(&certificate.key()) {
                return Err(Refusal::OfAnother);
            }
            if record.is_known(certificate.fingerprint()) {
                known += 1; // and revoked, if it was
                continue;
            }
            check_not_revoked(&record, certificate)?;
            added.push(certificate.fingerprint());
            let certificate = certificate.clone();
            record.certificates.push(Trusted { certificate, imported: ctx.now, revoked: None });
        }
        let has_new_lists = record.add_lists(&file.lists);
        let revoked = record.apply_lists(&file.lists, ctx.now)?;
        if record.certificates.len() > CERTIFICATES_MAX {
            // What is over verifies nothing any more. What was revoked stays: its key may come again in another one.
            record
                .certificates
                .retain(|known| known.revoked.is_some() || ctx.now < known.certificate.not_after);
        }
        if record.certificates.len() > CERTIFICATES_MAX {
            return Err(Refusal::Full("certificates of this issuer"));
        }
        if !added.is_empty() || !revoked.is_empty() || has_new_lists {
            self.commit(ctx, [record.put()])?;
            state.issuers.insert(issuer.clone(), record);
        }
        if !added.is_empty() || has_new_lists {
            let (issuer, added) = (issuer.clone(), added.clone());
            ctx.out.note(Note::Idms(IdmsNote::TrustImported { issuer, added }));
        }
        for fingerprint in revoked.iter().copied() {
            let issuer = issuer.clone();
            ctx.out.note(Note::Idms(IdmsNote::TrustRevoked { issuer, fingerprint }));
        }
        Ok(Answer::Imported { added, known, revoked })
    }

    /// Ends the trust in a certificate.
    pub(super) fn revoke(
        &self,
        ctx: &mut Context<'_>,
        fingerprint: Fingerprint,
        reason: &str,
    ) -> Result<Answer, Refusal> {
        let state = &mut self.state();
        let mut issuers = state.issuers.values();
        let record = issuers.find(|record| record.is_known(fingerprint));
        let mut record = record.cloned().ok_or(Refusal::NotFound("certificate"))?;
        let reason: String = reason
            .chars()
            .filter(|character| !character.is_control())
            .take(REASON_CHARACTERS_MAX)
            .collect();
        if record.revoke(fingerprint, ctx.now, &reason) {
            self.commit(ctx, [record.put()]).map_err(|Unavailable| Refusal::Unavailable)?;
            let issuer = record.issuer.clone();
            state.issuers.insert(issuer.clone(), record);
            ctx.out.note(Note::Idms(IdmsNote::TrustRevoked { issuer, fingerprint }));
        }
        Ok(Answer::Done)
    }

    /// Shows what is and was trusted.
    pub(super) fn list_trust(&self) -> Answer {
        let state = self.state();
        let all = state.issuers.values().flat_map(|record| {
            record.certificates.iter().map(|known| TrustedCertificate {
                issuer: record.issuer.clone(),
                certificate: known.certificate.clone(),
                imported: known.imported,
                revoked: known.revoked.clone().map(|Revocation { at, reason }| (at, reason)),
            })
        });
        Answer::Trust(all.collect())
    }
}

/// Checks that no certificate of the same key is revoked.
fn check_not_revoked(record: &IssuerRecord, certificate: &Certificate) -> Result<(), Refusal> {
    let is_revoked = record
        .certificates
        .iter()
        .any(|known| known.revoked.is_some() && known.certificate.key() == certificate.key());
    if is_revoked { Err(Refusal::Revoked) } else { Ok(()) }
}
