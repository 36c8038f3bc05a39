//! Places of which there are few, such as for long bodies: each holder has a share of them, so that nobody has all.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// So many places, of which one holder has at most its share.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: usize,
    share: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// By holder; who has none is not in it.
    by: BTreeMap<Box<str>, usize>,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Inner>,
    holder: Box<str>,
}

impl Places {
    /// `all` places, of which one holder has at most `share`.
    pub(super) fn new(all: usize, share: usize) -> Self {
        Self(Arc::new(Inner { all, share, taken: Mutex::default() }))
    }

    /// Takes a place for `holder`; `None` if it has its share, or if all are taken.
    pub(super) fn take(&self, holder: &str) -> Option<Place> {
        let mut taken = self.0.lock();
        let held = taken.by.get(holder).copied().unwrap_or_default();
        if taken.all >= self.0.all || held >= self.0.share {
            return None;
        }
        taken.all += 1;
        taken.by.insert(holder.into(), held + 1);
        Some(Place { places: Arc::clone(&self.0), holder: holder.into() })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(held) = taken.by.get_mut(&self.holder) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                taken.by.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_has_its_share_and_others_have_the_rest() {
        let places = Places::new(3, 2);
        let of_a = [places.take("a"), places.take("a")];
        assert!(of_a.iter().all(Option::is_some));
        assert!(places.take("a").is_none(), "it has its share");
        let of_b = places.take("b");
        assert!(of_b.is_some(), "one is left for another");
        assert!(places.take("c").is_none(), "all are taken");
        drop(of_a);
        assert!(places.take("c").is_some());
        drop(of_b);
        assert!(places.0.lock().by.is_empty(), "who has none is forgotten");
    }
}
