//! The faults that come and go by themselves.

use std::time::Duration;

use crate::store::ReplayError;

use super::{Event, SystemId, Violation, Who, World};

/// The longest time until a UE opens a lost TCP connection again.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(2);

/// How long a partition lasts.
const PARTITION: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(90));

/// How long a process that crashed is away.
const DOWN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(8));

/// How long a storage refuses every commit.
const REFUSAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// A fault that begins or ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The systems cannot reach each other.
    Partition,
    /// They can again.
    PartitionEnds,
    /// A system's process crashes.
    Restart,
    /// A UE's TCP connection breaks.
    Disconnect,
    /// An agreement about a UE's user ends, for a while, or what was lent to it does.
    Withdrawal,
    /// A storage refuses every commit, for a while.
    Refusal,
}

impl World {
    /// Lets the faults of the options begin.
    pub(super) fn begin_storm(&mut self) {
        self.stormy = true;
        for fault in
            [Fault::Partition, Fault::Restart, Fault::Disconnect, Fault::Withdrawal, Fault::Refusal]
        {
            self.schedule(fault);
        }
    }

    /// Ends all faults: the networks deliver, the storage works, nothing crashes any more.
    pub(super) fn end_storm(&mut self) {
        self.stormy = false;
        self.options = self.options.calmed();
        self.record(Who::World, || "the faults end".to_owned());
        let now = self.queue.now();
        for id in [SystemId::A, SystemId::B] {
            let refuses_until = &mut self.system_mut(id).refuses_until;
            *refuses_until = now.min(*refuses_until);
        }
        if self.wire.partitioned {
            self.join();
        }
    }

    /// Lets a storage refuse everything for a while.
    fn refuse_commits(&mut self) {
        let id = self.draw_system();
        let span = self.entropy.span(REFUSAL.0, REFUSAL.1);
        self.record(Who::System(id), || "the storage begins to refuse".to_owned());
        self.system_mut(id).refuses_until = self.queue.now() + span;
    }

    fn draw_system(&mut self) -> SystemId {
        if self.entropy.happens(500) { SystemId::A } else { SystemId::B }
    }

    fn schedule(&mut self, fault: Fault) {
        let every = match fault {
            Fault::Partition => self.options.partition_every,
            Fault::Restart => self.options.restart_every,
            Fault::Disconnect => self.options.disconnect_every,
            Fault::Withdrawal => self.options.withdraw_every,
            Fault::Refusal => self.options.refusal_every,
            Fault::PartitionEnds => None,
        };
        if let Some(every) = every {
            let span = self.entropy.span(every / 2, every * 3 / 2);
            self.queue.put_after(span, Event::Fault(fault));
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        if !self.stormy {
            return;
        }
        match fault {
            Fault::Partition => {
                self.separate();
                if self.entropy.happens(500) {
                    self.break_wire();
                }
                let span = self.entropy.span(PARTITION.0, PARTITION.1);
                self.queue.put_after(span, Event::Fault(Fault::PartitionEnds));
                return;
            }
            Fault::PartitionEnds => {
                self.join();
                return self.schedule(Fault::Partition);
            }
            Fault::Restart => {
                let id = self.draw_system();
                let down = self.entropy.span(DOWN.0, DOWN.1);
                self.crash(id, down);
            }
            Fault::Disconnect => {
                let open = self.connections_to(None);
                let chosen = usize::try_from(self.entropy.below(open.len() as u64)).unwrap_or(0);
                if let Some(connection) = open.get(chosen) {
                    self.break_connection(*connection);
                }
            }
            Fault::Withdrawal => self.end_something(),
            Fault::Refusal => self.refuse_commits(),
        }
        self.schedule(fault);
    }

    /// Ends a system's process without warning, and starts it again after `down`.
    pub(super) fn crash(&mut self, id: SystemId, down: Duration) {
        if !self.system(id).up {
            return;
        }
        self.record(Who::System(id), || "the process crashes".to_owned());
        let forgotten = self.system_mut(id).abandon_http();
        let now = self.queue.now();
        self.system_mut(id).crash(now);
        self.checks.facts.forget_roles(now, id);
        self.forget_assignments(id);
        self.break_http(forgotten);
        self.break_wire();
        for connection in self.connections_to(Some(id)) {
            self.break_connection(connection);
        }
        self.queue.put_after(down, Event::Start { system: id });
    }

    pub(super) fn start(&mut self, id: SystemId) {
        if self.system(id).up {
            return self.violate(Violation::new("a process starts once", &id.label()));
        }
        let now = self.queue.now();
        let readable = self.draw_readable(id);
        let started = self.system_mut(id).start(now, readable);
        if let Err(ReplayError::Engine(_)) = started {
            self.record(Who::System(id), || "the process cannot start".to_owned());
            let down = self.entropy.span(DOWN.0, DOWN.1);
            return self.queue.put_after(down, Event::Start { system: id });
        }
        self.record(Who::System(id), || "the process starts".to_owned());
        self.loaded(id, started);
        if id == SystemId::B {
            self.connect();
        }
    }
}
