//! From the thread that asks for connection details to the one that registers: UEs with what they were told.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
};

use rustix::event::{EventfdFlags, eventfd};

use super::cause::Cause;
use crate::identity::UserIdentity;

/// A UE that was told its connection details, or was not.
pub(super) struct Told {
    /// Its number in its thread.
    pub(super) ue: u32,
    /// When it was to ask, nanoseconds.
    pub(super) intended: u64,
    /// How late the request left, and how long after the intended time its answer came.
    pub(super) late: u64,
    pub(super) took: u64,
    /// Of the answer; 0 if there was none.
    pub(super) status: u16,
    /// The pair to register with.
    pub(super) outcome: Result<Pair, Cause>,
}

/// An inbound pair, packed: a load may have many.
pub(super) struct Pair {
    /// The private identity, and right behind it the public one.
    text: Box<str>,
    impi: u8,
}

impl Pair {
    /// Packs a pair. Identities have at most 253 octets.
    pub(super) fn new(pair: &UserIdentity) -> Self {
        let (impi, impu) = (pair.impi.as_str(), pair.impu.as_str());
        let length = u8::try_from(impi.len()).unwrap_or(u8::MAX);
        Self { text: [impi, impu].concat().into(), impi: length }
    }

    /// The private identity, the public one, and the domain that they are of.
    pub(super) fn names(&self) -> [&str; 3] {
        let (impi, impu) = self.text.split_at_checked(usize::from(self.impi)).unwrap_or_default();
        let domain = impi.rsplit_once('@').map_or("", |(_, realm)| realm);
        [impi, impu, domain]
    }
}

/// The end that tells.
#[derive(Clone)]
pub(super) struct Teller {
    told: Sender<Told>,
    wake: Arc<OwnedFd>,
}

/// The end that registers.
pub(super) struct Listener {
    told: Receiver<Told>,
    wake: Arc<OwnedFd>,
}

/// A way from one thread to another one.
pub(super) fn handover() -> io::Result<(Teller, Listener)> {
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let (told, heard) = mpsc::channel();
    Ok((Teller { told, wake: Arc::clone(&wake) }, Listener { told: heard, wake }))
}

impl Teller {
    /// Hands a UE over, and wakes the thread.
    pub(super) fn tell(&self, told: Told) {
        // Without a listener the run is over.
        let _ = self.told.send(told);
        self.wake();
    }

    fn wake(&self) {
        // It only fails when nobody has looked for 2^64 times.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Teller {
    /// So that the end is seen, too.
    fn drop(&mut self) {
        self.wake();
    }
}

impl Listener {
    /// The next UE.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`] says whether more may come.
    pub(super) fn next(&self) -> Result<Told, TryRecvError> {
        self.told.try_recv()
    }

    /// What to wait on.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Forgets that it was woken.
    pub(super) fn rest(&self) {
        // Nothing to read is well, too.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}
