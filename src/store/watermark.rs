//! Up to which number everything is durable.

use std::collections::BTreeSet;

use super::CommitSeq;

/// The highest number below which every commit is durable.
///
/// Commits are drawn in one order and reach the engine in another; a message waits for the highest
/// number it relies on, so the mark only moves over a complete row.
#[derive(Debug, Default)]
pub struct Watermark {
    reached: CommitSeq,
    ahead: BTreeSet<CommitSeq>,
}

impl Watermark {
    /// Starts with everything up to `reached` durable.
    pub fn starting_at(reached: CommitSeq) -> Self {
        Self { reached, ahead: BTreeSet::new() }
    }

    /// Records that `seq` is durable and returns how far the row is complete now.
    pub fn mark(&mut self, seq: CommitSeq) -> CommitSeq {
        if self.ahead.is_empty() && seq.0 == self.reached.0 + 1 {
            self.reached = seq; // as nearly always
            return seq;
        }
        self.ahead.insert(seq);
        while self.ahead.remove(&CommitSeq(self.reached.0 + 1)) {
            self.reached.0 += 1;
        }
        self.reached
    }

    /// Up to which number everything is durable.
    pub const fn reached(&self) -> CommitSeq {
        self.reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_waits_for_the_missing_number() {
        let mut mark = Watermark::starting_at(CommitSeq::from_u64(10));
        assert_eq!(mark.mark(CommitSeq::from_u64(12)).as_u64(), 10);
        assert_eq!(mark.mark(CommitSeq::from_u64(13)).as_u64(), 10);
        assert_eq!(mark.mark(CommitSeq::from_u64(11)).as_u64(), 13);
    }
}
