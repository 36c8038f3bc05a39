//! Passwords are checked on threads of their own: each takes some tens of milliseconds and as many MiB.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    node::{
        SystemEntropy,
        perform::{Call, Caller, Shared},
        worker::Worker,
    },
    outbox::{PasswordReply, RequestId, TooManyChecks},
    secret::SecretText,
    token::password::PasswordHash,
};

/// How many may wait for their turn, for each that is checked.
const WAITING: usize = 8;

/// How many passwords may be checked, and wait for it.
pub(in crate::node) struct PasswordChecks {
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl PasswordChecks {
    /// So many at a time.
    pub(in crate::node) fn new(at_once: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(at_once)),
            places: Arc::new(Semaphore::new(at_once * (1 + WAITING))),
        }
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, TooManyChecks> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| TooManyChecks)
    }
}

/// Has a password checked, and the role told.
///
/// # Errors
///
/// [`TooManyChecks`]: nothing is checked.
pub(in crate::node) fn check(
    shared: &Arc<Shared>,
    worker: &Arc<Worker>,
    id: RequestId,
    password: SecretText,
    hash: PasswordHash,
) -> Result<(), TooManyChecks> {
    let place = shared.passwords.place()?;
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| TooManyChecks)?;
    let (shared, worker) = (Arc::clone(shared), Arc::clone(worker));
    runtime.spawn(async move {
        let outcome = compute(&shared, move || hash.is_of(&password)).await;
        drop(place);
        Caller::new(&shared, &worker).call(Call::PasswordReply(PasswordReply { id, outcome }));
    });
    Ok(())
}

/// Computes what is kept of a new password.
///
/// # Errors
///
/// [`TooManyChecks`]: nothing is computed.
pub(in crate::node) async fn hash(
    shared: &Arc<Shared>,
    password: SecretText,
) -> Result<PasswordHash, TooManyChecks> {
    let _place = shared.passwords.place()?;
    let cost = shared.config.idms.server.password_cost;
    let computed =
        compute(shared, move || PasswordHash::compute(&password, cost, &mut SystemEntropy::new()));
    computed.await?.map_err(|_| TooManyChecks)
}

/// Computes on a thread that may take long, when it is its turn.
async fn compute<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TooManyChecks> {
    // Neither the semaphore is ever closed, nor does the computation panic.
    let turn = Arc::clone(&shared.passwords.running).acquire_owned().await;
    let _turn = turn.map_err(|_| TooManyChecks)?;
    tokio::task::spawn_blocking(work).await.map_err(|_| TooManyChecks)
}
