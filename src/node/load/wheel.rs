//! A timer wheel: one timer for each UE, armed and disarmed in constant time, nothing allocated.

/// How long a tick is, nanoseconds.
pub(super) const TICK_NANOS: u64 = 1_000_000;

/// Slots of the wheel: beyond so many ticks a timer waits for another round.
const SLOTS: u32 = 1 << 16;

/// No UE.
const NONE: u32 = u32::MAX;

/// The timers of all UEs of one thread.
pub(super) struct Wheel {
    /// The first UE of each slot.
    heads: Box<[u32]>,
    /// By UE.
    links: Vec<Link>,
    /// What is over.
    tick: u32,
    armed: usize,
}

/// The place of a UE in the list of its slot.
#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    /// When it fires; [`NONE`] if it is not armed.
    due: u32,
}

impl Wheel {
    /// The wheel of so many UEs.
    pub(super) fn new(ues: usize) -> Self {
        let idle = Link { next: NONE, previous: NONE, due: NONE };
        Self { heads: vec![NONE; SLOTS as usize].into(), links: vec![idle; ues], tick: 0, armed: 0 }
    }

    /// Begins at time 0 again. No timer may be armed.
    pub(super) fn restart(&mut self) {
        debug_assert_eq!(self.armed, 0, "nobody waits");
        self.tick = 0;
    }

    /// Whether any timer is armed.
    pub(super) const fn is_armed(&self) -> bool {
        self.armed > 0
    }

    /// Arms the timer of `ue` for `at`, nanoseconds, instead of what it was armed for.
    pub(super) fn arm(&mut self, ue: u32, at: u64) {
        self.disarm(ue);
        // Never early, and never in the past, which is not looked at again.
        let tick = u32::try_from(at.div_ceil(TICK_NANOS)).unwrap_or(NONE - 1).min(NONE - 1);
        let due = tick.max(self.tick + 1);
        let Some(head) = self.heads.get_mut(slot(due)) else { return };
        let next = std::mem::replace(head, ue);
        if let Some(link) = self.links.get_mut(ue as usize) {
            *link = Link { next, previous: NONE, due };
        }
        if let Some(link) = self.links.get_mut(next as usize) {
            link.previous = ue;
        }
        self.armed += 1;
    }

    /// Disarms the timer of `ue`.
    pub(super) fn disarm(&mut self, ue: u32) {
        let Some(link) = self.links.get_mut(ue as usize) else { return };
        if link.due == NONE {
            return;
        }
        let Link { next, previous, due } = *link;
        link.due = NONE;
        match self.links.get_mut(previous as usize) {
            Some(link) => link.next = next,
            None => {
                if let Some(head) = self.heads.get_mut(slot(due)) {
                    *head = next;
                }
            }
        }
        if let Some(link) = self.links.get_mut(next as usize) {
            link.previous = previous;
        }
        self.armed -= 1;
    }

    /// Disarms all that are due at `now`, nanoseconds, and gives them to `fired`.
    pub(super) fn advance(&mut self, now: u64, fired: &mut Vec<u32>) {
        let now = u32::try_from(now / TICK_NANOS).unwrap_or(NONE - 1);
        if self.armed == 0 {
            self.tick = self.tick.max(now);
            return;
        }
        let slots = now.saturating_sub(self.tick).min(SLOTS);
        for ahead in 1..=slots {
            let mut ue = self.heads.get(slot(self.tick + ahead)).copied().unwrap_or(NONE);
            while let Some(&Link { next, due, .. }) = self.links.get(ue as usize) {
                if due <= now {
                    self.disarm(ue);
                    fired.push(ue);
                }
                ue = next;
            }
        }
        self.tick = self.tick.max(now);
    }
}

const fn slot(tick: u32) -> usize {
    (tick % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::node::load::random::Random;

    #[test]
    fn timers_fire_once_and_when_they_are_due_and_not_after_they_were_disarmed() {
        const UES: u32 = 50;
        let mut wheel = Wheel::new(UES as usize);
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let (mut random, mut now, mut fired) = (Random::new(7), 0_u64, Vec::new());
        for _ in 0..20_000 {
            let ue = u32::try_from(random.next_u64() % u64::from(UES)).unwrap();
            match random.next_u64() % 4 {
                0 => {
                    wheel.disarm(ue);
                    model.remove(&ue);
                }
                1 | 2 => {
                    // Some beyond one round of the wheel.
                    let at = now + random.next_u64() % (200_000 * TICK_NANOS);
                    wheel.arm(ue, at);
                    model.insert(ue, at.div_ceil(TICK_NANOS).max(now / TICK_NANOS + 1));
                }
                _ => {
                    now += random.next_u64() % (20_000 * TICK_NANOS);
                    wheel.advance(now, &mut fired);
                    let due: Vec<u32> = model
                        .iter()
                        .filter(|(_, at)| **at <= now / TICK_NANOS)
                        .map(|(ue, _)| *ue)
                        .collect();
                    fired.sort_unstable();
                    assert_eq!(fired, due, "at {now}");
                    fired.clear();
                    for ue in due {
                        model.remove(&ue);
                    }
                }
            }
            assert_eq!(wheel.is_armed(), !model.is_empty());
        }
    }
}
