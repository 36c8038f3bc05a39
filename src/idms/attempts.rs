//! How often something may be tried in vain: a table of fixed size, so that nobody makes it grow.
//!
//! Each place is for whoever's keyed hash it is; two may share one, and then share its attempts.

use std::{hash::Hash, time::Duration};

use ahash::RandomState;

use crate::time::Timestamp;

const PLACES: usize = 65_536;

/// What is counted apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Of {
    User,
    Source,
}

/// Attempts within a window of time.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    hasher: RandomState,
    window: Duration,
    places: Vec<(Timestamp, u32)>,
}

impl Attempts {
    pub(super) fn new(hasher: RandomState, window: Duration) -> Self {
        Self { hasher, window, places: vec![(Timestamp::default(), 0); PLACES] }
    }

    /// Counts one more attempt of `who`, or says after how many seconds there may be one.
    pub(super) fn take(
        &mut self,
        of: Of,
        who: impl Hash,
        max: u32,
        now: Timestamp,
    ) -> Result<(), u32> {
        let window = self.window;
        let Some((since, count)) = self.place(of, who) else { return Ok(()) };
        if now.since(*since) >= window {
            (*since, *count) = (now, 0);
        }
        if *count >= max {
            let left = (*since + window).since(now).as_secs() + 1;
            return Err(u32::try_from(left).unwrap_or(u32::MAX));
        }
        *count += 1;
        Ok(())
    }

    /// Takes an attempt back that was not in vain.
    pub(super) fn give(&mut self, of: Of, who: impl Hash) {
        if let Some((_, count)) = self.place(of, who) {
            *count = count.saturating_sub(1);
        }
    }

    fn place(&mut self, of: Of, who: impl Hash) -> Option<&mut (Timestamp, u32)> {
        let hash = usize::try_from(self.hasher.hash_one((of, who))).unwrap_or_default();
        self.places.get_mut(hash % PLACES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_tried_too_often_waits_for_the_rest_of_the_window_and_nobody_else_does() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut attempts = Attempts::new(hasher, Duration::from_secs(60));
        let mut take = |who, at| attempts.take(Of::User, who, 2, Timestamp::from_secs(at));
        assert_eq!((take("eve", 1_000), take("eve", 1_010)), (Ok(()), Ok(())));
        assert_eq!(take("eve", 1_020), Err(41));
        assert_eq!(take("bob", 1_020), Ok(()));
        assert_eq!(take("eve", 1_060), Ok(()));
        attempts.give(Of::User, "eve");
        let mut take = |of| attempts.take(of, "eve", 1, Timestamp::from_secs(1_061));
        assert_eq!((take(Of::User), take(Of::User)), (Ok(()), Err(60)));
        assert_eq!(take(Of::Source), Ok(()));
    }
}
