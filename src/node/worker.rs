//! One worker: a thread with its own runtime, sockets and timers.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::UdpSocket,
    sync::{Notify, mpsc, oneshot, watch},
};

use super::{
    datagrams::Outgoing,
    metrics::Metrics,
    perform::{Call, Caller, Shared},
    timers::TimerQueue,
};
use crate::outbox::Flow;

/// Most datagrams that wait for room in a socket's send buffer; further ones are dropped.
pub(super) const SEND_BACKLOG_DATAGRAMS_MAX: usize = 4_096;

/// Most datagrams that another worker may have handed over and that are not handled yet.
pub(super) const HANDED_OVER_DATAGRAMS_MAX: usize = 4_096;

/// Datagrams that leave by one system call at most: enough for trains of each kind of answer.
const OUTGOING_BATCH: usize = 256;

/// Timers handled before sockets get their turn.
const TIMERS_BATCH: usize = 64;

/// Datagrams handed over that are handled before sockets get their turn.
const HANDED_OVER_BATCH: usize = 64;

/// Messages taken back before sockets and connections get their turn: fewer than fit into a mailbox.
const RETURNED_BATCH: usize = 64;

/// What belongs to one worker thread.
pub(super) struct Worker {
    /// Its number.
    pub(super) index: usize,
    pub(super) timers: TimerQueue,
    /// The worker's own socket for each listen address.
    pub(super) sockets: OnceLock<Vec<(SocketAddr, Arc<UdpSocket>)>>,
    /// What leaves with the next flush, by socket.
    outgoing: Mutex<Vec<Outgoing>>,
    /// Where other workers hand datagrams over when they have a backlog.
    pub(super) handed_over: mpsc::Sender<Datagram>,
    unsent: Mutex<VecDeque<Unsent>>,
    has_unsent: Notify,
}

/// A datagram received by one worker and handed to another.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) flow: Flow,
    pub(super) octets: Bytes,
}

/// A datagram that found no room in the send buffer.
struct Unsent {
    socket: Arc<UdpSocket>,
    remote: SocketAddr,
    octets: Bytes,
}

impl Worker {
    /// Creates the worker of a number, and the end where it takes datagrams handed over.
    pub(super) fn new(index: usize) -> (Arc<Self>, mpsc::Receiver<Datagram>) {
        let (handed_over, receiver) = mpsc::channel(HANDED_OVER_DATAGRAMS_MAX);
        let worker = Self {
            index,
            timers: TimerQueue::default(),
            sockets: OnceLock::new(),
            outgoing: Mutex::default(),
            handed_over,
            unsent: Mutex::default(),
            has_unsent: Notify::new(),
        };
        (Arc::new(worker), receiver)
    }

    /// Lets a datagram leave from this worker's socket of the flow's address, with the next [`Self::flush`] at the
    /// latest.
    pub(super) fn send_datagram(&self, metrics: &Metrics, flow: &Flow, octets: &[u8]) {
        let sockets = self.sockets();
        let Some(number) = sockets.iter().position(|(local, _)| *local == flow.local) else {
            return metrics.drop_one("no_such_socket");
        };
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        if outgoing.len() <= number {
            outgoing.resize_with(number + 1, Outgoing::with_trains);
        }
        let Some(batch) = outgoing.get_mut(number) else { return };
        batch.push(flow.remote, |batch| batch.extend_from_slice(octets));
        let is_full = batch.len() >= OUTGOING_BATCH;
        drop(outgoing);
        if is_full {
            self.flush(metrics);
        }
    }

    /// Sends what was to leave.
    pub(super) fn flush(&self, metrics: &Metrics) {
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, socket), batch) in self.sockets().iter().zip(outgoing.iter_mut()) {
            if batch.is_empty() {
                continue;
            }
            let sent = batch.flush(socket.as_fd(), |remote, octets| {
                self.keep_unsent(metrics, socket, remote, octets);
            });
            for _ in 0..sent.failed {
                // What ICMP reported about an earlier datagram, or an address that cannot be reached.
                metrics.drop_one("udp_send_error");
            }
        }
    }

    fn keep_unsent(
        &self,
        metrics: &Metrics,
        socket: &Arc<UdpSocket>,
        remote: SocketAddr,
        octets: &[u8],
    ) {
        let mut unsent = self.unsent();
        if unsent.len() >= SEND_BACKLOG_DATAGRAMS_MAX {
            return metrics.drop_one("udp_send_backlog");
        }
        let octets = Bytes::copy_from_slice(octets);
        unsent.push_back(Unsent { socket: Arc::clone(socket), remote, octets });
        self.has_unsent.notify_one();
    }

    fn sockets(&self) -> &[(SocketAddr, Arc<UdpSocket>)] {
        self.sockets.get().map(Vec::as_slice).unwrap_or_default()
    }

    fn unsent(&self) -> MutexGuard<'_, VecDeque<Unsent>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what found no room, as room comes.
pub(super) async fn send_unsent(worker: Arc<Worker>, shared: Arc<Shared>) {
    loop {
        let next = worker.unsent().pop_front();
        match next {
            Some(Unsent { socket, remote, octets }) => {
                if socket.send_to(&octets, remote).await.is_err() {
                    shared.metrics.drop_one("udp_send_error");
                }
            }
            None => worker.has_unsent.notified().await,
        }
    }
}

/// Handles what other workers hand over.
pub(super) async fn handle_handed_over(
    mut caller: Caller,
    mut datagrams: mpsc::Receiver<Datagram>,
) {
    let mut received = Vec::with_capacity(HANDED_OVER_BATCH);
    while datagrams.recv_many(&mut received, HANDED_OVER_BATCH).await > 0 {
        caller.batch(|batch| {
            for Datagram { flow, octets } in received.drain(..) {
                batch.call(Call::Sip { flow, octets: &octets });
            }
        });
        tokio::task::yield_now().await;
    }
}

/// Deals with messages that waited for commits, until `ends`.
pub(super) async fn take_back(mut caller: Caller, mut ends: oneshot::Receiver<()>) {
    let mut returned = Vec::new();
    loop {
        tokio::select! {
            () = caller.shared.committer.returned(caller.worker.index) => {}
            _ = &mut ends => return,
        }
        caller.shared.committer.take_returned(caller.worker.index, &mut returned);
        let count = returned.len();
        let mut rest = returned.drain(..);
        while rest.len() > 0 {
            caller.batch(|batch| {
                rest.by_ref().take(RETURNED_BATCH).for_each(|waited| batch.take_back(waited));
            });
            if rest.len() > 0 {
                tokio::task::yield_now().await;
            }
        }
        drop(rest);
        caller.shared.committer.done_with(count);
    }
}

/// Wakes roles when their timers are due.
pub(super) async fn run_timers(mut caller: Caller) {
    const IDLE: Duration = Duration::from_secs(3_600);
    loop {
        let handled = caller.batch(|batch| {
            let mut handled = 0;
            while handled < TIMERS_BATCH
                && let Some(timer) = batch.caller().worker.timers.pop_due(batch.now())
            {
                batch.call(Call::Timer(timer));
                handled += 1;
            }
            handled
        });
        if handled == TIMERS_BATCH {
            tokio::task::yield_now().await;
            continue;
        }
        let now = caller.shared.clock.now();
        let wait = caller.worker.timers.next_due().map_or(IDLE, |due| due.since(now).min(IDLE));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = caller.worker.timers.armed_earlier() => {}
        }
    }
}

/// Returns when the system is to stop.
pub(super) async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the system is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}
