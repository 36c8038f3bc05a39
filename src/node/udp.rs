//! SIP over UDP: datagrams in. Answers leave by [`Worker::send_datagram`](super::worker::Worker).

use std::{io::ErrorKind, net::SocketAddr, os::fd::AsFd, sync::Arc};

use bytes::Bytes;
use tokio::{io::Interest, net::UdpSocket};

use super::{
    datagrams::{Buffer, Incoming},
    metrics::Direction,
    overload::Overload,
    perform::{Batch, Call, Caller},
    worker::Datagram,
};
use crate::outbox::{Flow, Transport};

/// Datagrams, or trains of them, taken in by one system call, before other tasks of the worker get their turn.
const BATCH: usize = 16;

/// Datagrams sorted in a row, when there are too many to be served, before some are served.
const SORTED_AT_ONCE: usize = 2_048;

/// From the how-manieth datagram in a row on every other one is handed to another worker: the kernel
/// gives all datagrams of one flow, such as a P-CSCF's, to one socket.
const BACKLOG: usize = 16;

/// Takes datagrams in until the task is dropped.
pub(super) async fn receive(mut caller: Caller, socket: Arc<UdpSocket>, local: SocketAddr) {
    let mut incoming = Incoming::new(BATCH);
    // Many UEs behind one flow, such as a P-CSCF's, arrive in trains. Without it, it only costs more.
    let _ = Incoming::accept_trains(socket.as_fd());
    let mut overload = Overload::new(&caller.shared.config.overload);
    let (mut in_a_row, mut sorted) = (0, 0);
    let flow_of = |remote| Flow { transport: Transport::Udp, local, remote, connection: 0 };
    loop {
        let receive = || incoming.receive(socket.as_fd());
        let received = if overload.is_over() {
            socket.async_io(Interest::READABLE, receive).await
        } else {
            socket.try_io(Interest::READABLE, receive)
        };
        let is_full = matches!(received, Ok(BATCH));
        match received {
            Ok(_) if !is_full && overload.is_over() => in_a_row = 0,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // ICMP reports on earlier answers arrive here; they concern no datagram.
            Err(_) => caller.shared.metrics.drop_one("udp_receive_error"),
        }
        if overload.is_on(|| is_full.then(|| Buffer::of(socket.as_fd())).flatten()) {
            for (octets, remote) in
                incoming.datagrams().filter(|(octets, _)| !is_keep_alive(octets))
            {
                overload.sort(&mut caller, flow_of(remote), octets);
                sorted += 1;
            }
            if is_full && sorted < SORTED_AT_ONCE {
                continue;
            }
            sorted = 0;
            overload.serve(&mut caller, |batch, remote, octets| {
                in_a_row += 1;
                handle(batch, flow_of(remote), octets, in_a_row);
            });
        } else {
            caller.batch(|batch| {
                for (octets, remote) in incoming.datagrams() {
                    in_a_row += 1;
                    handle(batch, flow_of(remote), octets, in_a_row);
                }
            });
        }
        tokio::task::yield_now().await;
    }
}

/// A keep-alive (RFC 5626 section 3.5.2 uses STUN, many UEs CR LF): no message, no answer.
fn is_keep_alive(octets: &[u8]) -> bool {
    octets.iter().all(|octet| matches!(octet, b'\r' | b'\n' | 0))
}

fn handle(batch: &mut Batch<'_>, flow: Flow, octets: &[u8], in_a_row: usize) {
    if is_keep_alive(octets) {
        return;
    }
    let caller = batch.caller();
    caller.shared.observe_sip(Direction::In, None, &flow, octets);
    if in_a_row > BACKLOG && in_a_row.is_multiple_of(2) && hand_over(caller, flow, octets, in_a_row)
    {
        return;
    }
    batch.call(Call::Sip { flow, octets });
}

/// Gives a datagram to another worker, if there is one with room.
fn hand_over(caller: &Caller, flow: Flow, octets: &[u8], in_a_row: usize) -> bool {
    let mut others = caller.shared.workers.iter();
    let others = others.by_ref().filter(|other| !Arc::ptr_eq(other, &caller.worker));
    let count = caller.shared.workers.len() - 1;
    let Some(which) = (in_a_row / 2).checked_rem(count) else { return false };
    let other = others.skip(which).find_map(|other| other.handed_over.try_reserve().ok());
    let Some(permit) = other else { return false };
    permit.send(Datagram { flow, octets: Bytes::copy_from_slice(octets) });
    true
}
