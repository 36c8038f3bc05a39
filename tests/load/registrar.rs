//! A registrar of its own making: answers by IMS-AKA, as late, as seldom and as wrongly as a test wants.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use migcore::{
    aka::{
        AuthVector, Milenage, Sqn,
        digest::{Algorithm, DigestInput, decode_auts, encode_nonce, verify},
    },
    secret::Secret,
    sip::{
        Framing, auth_header::DigestCredentials, header::HeaderName, register::RegisterRequest,
        view::MessageView,
    },
};

pub const K: [u8; 16] = *b"0123456789abcdef";
pub const OP: [u8; 16] = *b"fedcba9876543210";

/// What a registrar does with a user, by the user part of the private identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trick {
    None,
    /// The number of each user's next SEQ does not grow.
    SqnStands,
    /// The same, but an AUTS is heeded.
    SqnStandsUntilAuts,
    Forbidden,
    /// Refuses the response, and has another realm than the user.
    OtherRealm,
    Silent,
    /// 503 with Retry-After at the first attempt.
    BusyAtFirst,
    /// Offers no qop that there is.
    StrangeQop,
    /// No AKA.
    PlainDigest,
}

/// How late the n-th first REGISTER is answered.
pub type Delay = fn(u64) -> Duration;

/// Until it is dropped.
pub struct Registrar {
    pub address: SocketAddr,
    /// Messages that arrived.
    seen: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Registrar {
    /// Serves; `trick` says what it does with whom. From `stall` on it does nothing for as long as `stall` says.
    pub fn start(
        delay: Delay,
        trick: fn(&str) -> Trick,
        stall: Option<(Duration, Duration)>,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let opc = migcore::aka::opc_from_op(&Secret::new(K), &Secret::new(OP));
        let serving = Serving {
            socket,
            delay,
            trick,
            milenage: Milenage::new(&Secret::new(K), &opc),
            users: HashMap::new(),
            initials: 0,
            answers: 0,
            seen: Arc::clone(&seen),
            transactions: HashMap::new(),
            pending: BinaryHeap::new(),
        };
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || serving.run(&stop, stall)
        });
        Self { address, seen, stop, thread: Some(thread) }
    }

    /// Waits until so many messages have arrived.
    pub fn wait_for(&self, messages: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.seen.load(Ordering::Relaxed) < messages {
            assert!(Instant::now() < deadline, "they do not come");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

struct Serving {
    socket: UdpSocket,
    delay: Delay,
    trick: fn(&str) -> Trick,
    milenage: Milenage,
    users: HashMap<String, User>,
    /// First REGISTERs.
    initials: u64,
    answers: u64,
    seen: Arc<AtomicU64>,
    /// By Via and CSeq: when the answer leaves, and the answer.
    transactions: HashMap<String, (Instant, String)>,
    pending: BinaryHeap<Reverse<(Instant, u64, SocketAddr, String)>>,
}

#[derive(Default)]
struct User {
    seq: u64,
    attempts: u64,
    vector: Option<AuthVector>,
}

impl Serving {
    fn run(mut self, stop: &AtomicBool, stall: Option<(Duration, Duration)>) {
        let mut buffer = [0; 4_096];
        let mut first = None::<Instant>;
        let mut stall = stall;
        while !stop.load(Ordering::Relaxed) {
            if let (Some(first), Some((after, time))) = (first, stall)
                && first.elapsed() >= after
            {
                stall = None;
                thread::sleep(time);
            }
            if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                first.get_or_insert_with(Instant::now);
                self.seen.fetch_add(1, Ordering::Relaxed);
                self.take(&buffer[..length], from);
            }
            while self.pending.peek().is_some_and(|Reverse((at, ..))| *at <= Instant::now()) {
                let Reverse((_, _, to, answer)) = self.pending.pop().unwrap();
                self.socket.send_to(answer.as_bytes(), to).unwrap();
            }
        }
    }

    /// Answers a message; one that is repeated gets the same answer again, unless that has still to leave.
    fn take(&mut self, octets: &[u8], from: SocketAddr) {
        let view = MessageView::parse(octets, Framing::Datagram).expect("a message");
        let via = view.header(HeaderName::Via).unwrap();
        let transaction = format!("{via} {}", view.cseq().number);
        let now = Instant::now();
        let (at, answer) = match self.transactions.get(&transaction) {
            Some((at, _)) if *at > now => return,
            Some((_, answer)) => (now, answer.clone()),
            None => {
                let Some((after, answer)) = self.handle(&view) else { return };
                self.transactions.insert(transaction, (now + after, answer.clone()));
                (now + after, answer)
            }
        };
        self.answers += 1;
        self.pending.push(Reverse((at, self.answers, from, answer)));
    }

    fn handle(&mut self, view: &MessageView<'_>) -> Option<(Duration, String)> {
        let register = RegisterRequest::from_view(view).expect("a REGISTER");
        let value = view.header(HeaderName::Authorization).expect("credentials");
        let credentials = DigestCredentials::parse(value).expect("of Digest");
        let name = credentials.username.split('@').next().unwrap().to_owned();
        let trick = (self.trick)(&name);
        let user = self.users.entry(name).or_default();
        if credentials.response.is_empty() {
            user.attempts += 1;
            let delay = (self.delay)(self.initials);
            self.initials += 1;
            let answer = match trick {
                Trick::Silent => return None,
                Trick::Forbidden => reply(view, "403 Forbidden", ""),
                Trick::BusyAtFirst if user.attempts == 1 => {
                    reply(view, "503 Service Unavailable", "Retry-After: 1\r\n")
                }
                _ => challenge(view, &self.milenage, user, trick),
            };
            return Some((delay, answer));
        }
        if let Some(auts) = credentials.auts.as_deref() {
            let rand = user.vector.as_ref().unwrap().rand;
            let sqn = self.milenage.verify_auts(&rand, &decode_auts(auts).unwrap()).unwrap();
            if trick == Trick::SqnStandsUntilAuts {
                user.seq = sqn.seq(5) + 1;
            }
            return Some((Duration::ZERO, challenge(view, &self.milenage, user, trick)));
        }
        let input = DigestInput {
            username: &credentials.username,
            realm: &credentials.realm,
            method: "REGISTER",
            uri: &credentials.uri,
            nonce: &credentials.nonce,
            qop: None,
            body: &[],
        };
        let is_live =
            |vector: &AuthVector| *encode_nonce(&vector.rand, &vector.autn) == *credentials.nonce;
        // Of a UE that is late, a response may come twice, or to a challenge that another one has followed.
        let Some(vector) = user.vector.take_if(|vector| is_live(vector)) else {
            return Some((Duration::ZERO, challenge(view, &self.milenage, user, trick)));
        };
        let verified = verify(Algorithm::AkaV1Md5, &input, &vector, &credentials.response);
        let answer = match (verified, trick) {
            (Ok(_), Trick::OtherRealm) => reply(view, "403 Forbidden", ""),
            (Ok(_), _) => {
                let contact = register.view().header(HeaderName::Contact).unwrap();
                reply(view, "200 OK", &format!("Contact: {contact};expires=60\r\n"))
            }
            (Err(wrong), _) => panic!("{wrong}"),
        };
        Some((Duration::ZERO, answer))
    }
}

fn challenge(view: &MessageView<'_>, milenage: &Milenage, user: &mut User, trick: Trick) -> String {
    if !matches!(trick, Trick::SqnStands | Trick::SqnStandsUntilAuts) || user.seq == 0 {
        user.seq += 1;
    }
    let rand = [u8::try_from(user.attempts % 251).unwrap(); 16];
    let vector = milenage.vector(&rand, Sqn::new(user.seq, 0, 5), [0x80, 0]);
    let nonce = encode_nonce(&vector.rand, &vector.autn);
    user.vector = Some(vector);
    let realm = if trick == Trick::OtherRealm { "elsewhere" } else { "a.example" };
    let algorithm = if trick == Trick::PlainDigest { "MD5" } else { "AKAv1-MD5" };
    let qop = if trick == Trick::StrangeQop { ", qop=\"strange\"" } else { "" };
    let challenge =
        format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}{qop}");
    reply(view, "401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"))
}

fn reply(view: &MessageView<'_>, status: &str, more: &str) -> String {
    let field = |name| view.header(name).unwrap();
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=r\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\n{more}\
         Content-Length: 0\r\n\r\n",
        field(HeaderName::Via),
        field(HeaderName::From),
        field(HeaderName::To),
        view.call_id(),
        view.cseq().number,
    )
}
