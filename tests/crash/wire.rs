//! SIP transactions over one UDP socket for many UEs.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::UdpSocket,
    sync::{oneshot, watch},
};

/// T1 and T2 of RFC 3261 clause 17.1.2.2: the first retransmission, and the longest time between two.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

/// How often a request is sent at most: as often as Timer F of 32 s allows.
const SENDINGS_MAX: u32 = 11;

/// What begins every branch (RFC 3261 clause 8.1.1.7).
const COOKIE: &[u8] = b"branch=z9hG4bK";

/// One socket, for the UEs of one thread.
pub struct SipLink {
    socket: UdpSocket,
    pub local: SocketAddr,
    core: SocketAddr,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
    last_branch: Cell<u64>,
}

impl SipLink {
    /// Opens a socket towards `core` and gives what arrives to whoever waits. Branches are unique for
    /// `first_branch` that are far apart.
    pub async fn open(core: SocketAddr, first_branch: u64) -> Rc<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let local = socket.local_addr().unwrap();
        let (waiting, last_branch) = (RefCell::default(), Cell::new(first_branch));
        let link = Rc::new(Self { socket, local, core, waiting, last_branch });
        tokio::task::spawn_local(Rc::clone(&link).receive());
        link
    }

    /// The number of a new transaction; its branch is that in hexadecimal digits after the cookie.
    pub fn next_branch(&self) -> u64 {
        self.last_branch.set(self.last_branch.get() + 1);
        self.last_branch.get()
    }

    /// Sends a request until a final response comes. Retransmits by timer, and at once when `restarts`
    /// says that a system was started again. `None` if all that was in vain.
    pub async fn request(
        &self,
        branch: u64,
        request: &Bytes,
        restarts: &mut watch::Receiver<super::load::Situation>,
    ) -> Option<Vec<u8>> {
        let (sender, mut response) = oneshot::channel();
        self.waiting.borrow_mut().insert(branch, sender);
        restarts.mark_unchanged();
        let mut wait = T1;
        for _ in 0..SENDINGS_MAX {
            let _ = self.socket.send_to(request, self.core).await;
            tokio::select! {
                response = &mut response => return response.ok(),
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(T2),
                _ = restarts.changed() => {}
            }
        }
        self.waiting.borrow_mut().remove(&branch);
        None
    }

    async fn receive(self: Rc<Self>) {
        let mut buffer = vec![0; 65_536];
        loop {
            let Ok((octets, _)) = self.socket.recv_from(&mut buffer).await else { continue };
            let message = &buffer[..octets];
            if message.starts_with(b"SIP/2.0 1") {
                continue; // provisional
            }
            let Some(branch) = branch_of(message) else { continue };
            if let Some(sender) = self.waiting.borrow_mut().remove(&branch) {
                let _ = sender.send(message.to_vec());
            }
        }
    }
}

fn branch_of(message: &[u8]) -> Option<u64> {
    let start = memchr::memmem::find(message, COOKIE)? + COOKIE.len();
    let digits = message[start..].split(|octet| !octet.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
