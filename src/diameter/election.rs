//! Which of two connections survives when both peers connect at once (RFC 6733 section 5.6.4), and
//! when to connect again.

use std::time::Duration;

use super::local::DiameterIdentity;
use crate::entropy::Entropy;

/// Whether we won the election: then the connection that we accepted stays and the one that we
/// initiated is closed; otherwise the other way round. Both peers come to the same connection.
pub fn is_won(local: &DiameterIdentity, remote: &DiameterIdentity) -> bool {
    local > remote
}

/// Longest time between two attempts to connect.
pub const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(30);
/// Longest time before the second attempt.
const RECONNECT_DELAY_FIRST: Duration = Duration::from_secs(1);

/// How long to wait after the `attempt`-th failed attempt in a row, from 1: at most one second,
/// doubled with every attempt up to [`RECONNECT_DELAY_MAX`], and at random between half of that and
/// all of it, so that peers of a failed node do not return at once.
pub fn reconnect_delay(attempt: u32, entropy: &mut dyn Entropy) -> Duration {
    let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let longest = RECONNECT_DELAY_FIRST.saturating_mul(doubled).min(RECONNECT_DELAY_MAX);
    jitter(longest / 2, longest, entropy)
}

/// A uniformly random time in `shortest..=longest`, in milliseconds.
pub(super) fn jitter(shortest: Duration, longest: Duration, entropy: &mut dyn Entropy) -> Duration {
    let span = longest.saturating_sub(shortest).as_millis() + 1;
    let offset = u128::from(entropy.next_u64()).checked_rem(span).unwrap_or_default();
    shortest + Duration::from_millis(u64::try_from(offset).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Constant(u8);

    impl Entropy for Constant {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    #[test]
    fn exactly_one_of_two_peers_wins_and_letter_case_does_not_matter() {
        let identity = |text: &str| DiameterIdentity::parse(text).unwrap();
        let (a, b) = (identity("Hss.a.example"), identity("hss.B.example"));
        assert!(!is_won(&a, &b));
        assert!(is_won(&b, &a));
        assert!(!is_won(&a, &identity("hss.a.EXAMPLE")));
    }

    #[test]
    fn the_delay_doubles_with_jitter_up_to_thirty_seconds() {
        for (attempt, shortest, longest) in [
            (0, 500, 1_000),
            (1, 500, 1_000),
            (2, 1_000, 2_000),
            (5, 8_000, 16_000),
            (6, 15_000, 30_000),
            (u32::MAX, 15_000, 30_000),
        ] {
            for seed in 0..=255 {
                let delay = reconnect_delay(attempt, &mut Constant(seed)).as_millis();
                assert!((shortest..=longest).contains(&delay), "attempt {attempt}: {delay} ms");
            }
        }
    }
}
