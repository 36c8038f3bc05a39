//! A storage that fails while it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use migcore::{
    node::Options,
    store::{Commit, CommitSeq, Each, Engine, EngineError, MemoryEngine, Reader, ReplayError},
};

/// Keeps records in memory and fails while told to.
struct Flaky {
    engine: MemoryEngine,
    fails: Arc<AtomicBool>,
}

/// The options of a system on such a storage, and what makes it fail.
pub fn flaky() -> (Options, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let engine = Flaky { engine: MemoryEngine::default(), fails: Arc::clone(&fails) };
    (Options { engine: Some(Box::new(engine)), ..Options::default() }, fails)
}

impl Flaky {
    fn check(&self) -> Result<(), EngineError> {
        let failed = || EngineError::Medium("no space left".to_owned());
        if self.fails.load(Ordering::SeqCst) { Err(failed()) } else { Ok(()) }
    }
}

impl Engine for Flaky {
    fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
        self.check()?;
        self.engine.commit(commits)
    }

    fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        self.check()?;
        self.engine.replay(each)
    }

    fn approximate_len(&self) -> u64 {
        self.engine.approximate_len()
    }

    fn waits(&self) -> bool {
        false
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.engine.reader()
    }
}
