//! What a system does as a whole: it settles and stops, reloads what is stored, and says how it is.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use super::{
    admin::Readiness,
    metrics::ServiceLabel,
    perform::{Caller, Shared},
    worker::stopped,
};
use crate::{
    api::migration_identity::Direction,
    store::{EngineError, Record, ReplayError},
    user_profile::ProfileService,
};

/// How long a system that is to stop waits for commits under way.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);

impl Shared {
    /// Stops the system after a fault of its own. What waits for a commit learns that it is lost.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.committer.abandon();
        self.stop.send_replace(true);
    }

    /// Returns when the system is to stop and what waited for commits has left, or has had its time.
    pub(super) async fn stopped_and_settled(&self) {
        stopped(self.stop.subscribe()).await;
        self.settle().await;
    }

    /// Returns when nothing waits for commits any more, [`SETTLE_TIME_MAX`] later at most.
    pub(super) async fn settle(&self) {
        // Who comes with ever new requests, or a medium that hangs, does not keep the system.
        let _ = tokio::time::timeout(SETTLE_TIME_MAX, self.committer.settle()).await;
    }

    /// Makes commits durable in the calling thread until the system has stopped.
    pub(super) fn run_committer(&self) {
        let _fails = FailsOnPanic(self);
        self.committer.run(|commits, took, outcome| {
            self.metrics.commit_seconds.observe(took.as_secs_f64());
            self.report_commits(commits, outcome);
        });
    }

    /// Counts commits, and has the storage mended if they failed.
    pub(super) fn report_commits(&self, commits: usize, outcome: Result<(), EngineError>) {
        let Err(error) = outcome else {
            self.metrics.commits.inc_by(commits as u64);
            return;
        };
        self.metrics.commit_failures.inc_by(commits as u64);
        // Of what is refused after the failure there may be much.
        if error != EngineError::Closed {
            tracing::error!(system = %self.config.system.name, %error, "a commit failed");
        }
        self.storage_failed.notify_one();
    }

    /// Opens the storage again and loads it into empty roles.
    ///
    /// The roles go on refusing while they are loaded: without storage a call neither changes nor tells what
    /// they hold.
    ///
    /// # Errors
    ///
    /// Why it does not work yet; the roles hold a part of it, and go on refusing everything.
    pub(super) fn reload(self: &Arc<Self>) -> Result<(), ReplayError> {
        let _apart = self.apart.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let _outside = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            self.clear_roles();
        }
        self.load()
    }

    /// Loads what is stored into the roles, which are empty, and lets them go to work.
    ///
    /// # Errors
    ///
    /// What is stored cannot be read or used.
    pub(super) fn load(self: &Arc<Self>) -> Result<(), ReplayError> {
        let each = |record: Record<'_>| self.roles.load(&record);
        let highest = self.loading.replay(&self.config.system.name, &self.committer, &each)?;
        self.sequencer.advance_to(highest);
        let _outside = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.committer.resume(self.sequencer.last());
        if let Some(worker) = self.workers.first() {
            Caller::new(self, worker).finish_loading();
        }
        self.loading.finish();
        Ok(())
    }

    fn clear_roles(&self) {
        // Whoever waits here is never answered by roles that have forgotten the question.
        for number in self.parked.numbers() {
            self.unpark_unanswered(number);
        }
        self.connections.cut_all();
        self.acm_events.clear();
        self.roles.clear();
    }

    /// What the system needs to do its work, and has or has not.
    pub(super) fn readiness(&self) -> Readiness {
        Readiness {
            storage: self.committer.is_available(),
            own_database: self.roles.database.is_some() || self.peers.own_database_is_open(),
            unconnected_peers: self.peers.unconnected(),
            stopping: *self.stop.borrow(),
            loading: self.loading.progress(),
        }
    }

    /// The metrics as they are now.
    pub(super) fn metrics_text(&self) -> String {
        let timers: usize = self.workers.iter().map(|worker| worker.timers.len()).sum();
        self.metrics.timers.set(i64::try_from(timers).unwrap_or(i64::MAX));
        self.metrics.waiting.set(i64::try_from(self.parked.len()).unwrap_or(i64::MAX));
        self.metrics.storage_available.set(i64::from(self.committer.is_available()));
        if let Some(database) = &self.roles.database {
            for (direction, label) in
                [(Direction::Inbound, "inbound"), (Direction::Outbound, "outbound")]
            {
                self.metrics.set_leases(label, database.leases(direction));
            }
            let resting = database.resting(self.clock.now());
            self.metrics.identities_resting.set(i64::try_from(resting).unwrap_or(i64::MAX));
        }
        if let Some(core) = &self.roles.core {
            let registered = i64::try_from(core.registered()).unwrap_or(i64::MAX);
            self.metrics.registrations.set(registered);
        }
        if let Some(mc_server) = &self.roles.mc_server {
            for service in ProfileService::ALL {
                let label = ServiceLabel { service: service.as_str() };
                let gauge = self.metrics.service_authorisations.get_or_create(&label);
                gauge.set(i64::try_from(mc_server.authorised(service)).unwrap_or(i64::MAX));
            }
        }
        let queued = self.committer.queued();
        self.metrics.commits_queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
        self.metrics.encode()
    }
}

/// Stops the system when its thread panics.
pub(super) struct FailsOnPanic<'a>(pub(super) &'a Shared);

impl Drop for FailsOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}
