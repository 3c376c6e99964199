//! Where threads wait for each other: [`Board`] for stages, [`Claims`] for steps with one key, [`Slots`] for the number
//! of steps that run at once. Every wait ends when the build is cancelled, and everybody who is waited for says so even
//! if he fails: the guards do it when they are dropped.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use store::Digest;

use super::TICK;
use crate::cancel::Cancel;
use crate::op::OpError;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tick<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait_timeout(guard, TICK).unwrap_or_else(PoisonError::into_inner).0
}

/// Results by number, each there once it is published. `Some(None)` is an end without a result.
pub(super) struct Board<T> {
    results: Mutex<Vec<Option<Option<T>>>>,
    changed: Condvar,
}

/// The duty to publish a result.
pub(super) struct Promise<'a, T> {
    board: &'a Board<T>,
    index: usize,
}

impl<T: Clone> Board<T> {
    pub(super) fn new(count: usize) -> Self {
        let mut results = Vec::new();
        results.resize_with(count, || None);
        Self { results: Mutex::new(results), changed: Condvar::new() }
    }

    pub(super) fn promise(&self, index: usize) -> Promise<'_, T> {
        Promise { board: self, index }
    }

    /// Waits for result `index`; none if there will not be one, or on cancellation.
    pub(super) fn wait(&self, index: usize, cancel: &Cancel) -> Option<T> {
        let mut results = lock(&self.results);
        loop {
            match &results[index] {
                Some(result) => return result.clone(),
                None if cancel.is_cancelled() => return None,
                None => results = tick(&self.changed, results),
            }
        }
    }

    /// All results there are.
    pub(super) fn results(&self) -> Vec<Option<T>> {
        lock(&self.results).iter().map(|result| result.clone().flatten()).collect()
    }
}

impl<T> Promise<'_, T> {
    /// Publishes it.
    pub(super) fn keep(self, result: Option<T>) {
        lock(&self.board.results)[self.index] = Some(result);
    }
}

impl<T> Drop for Promise<'_, T> {
    fn drop(&mut self) {
        lock(&self.board.results)[self.index].get_or_insert(None);
        self.board.changed.notify_all();
    }
}

/// Steps being done, by key, and the results of those done.
pub(super) struct Claims<T> {
    state: Mutex<(HashSet<Digest>, HashMap<Digest, T>)>,
    changed: Condvar,
}

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: Condvar::new() }
    }
}

/// Who does a step.
pub(super) enum Claim<'a, T> {
    /// The caller.
    Mine(Guard<'a, T>),
    /// Somebody else does it, or has done it.
    Others(Waiting<'a, T>),
}

/// The duty to do a step.
pub(super) struct Guard<'a, T> {
    claims: &'a Claims<T>,
    key: Digest,
}

/// A step that somebody else does.
pub(super) struct Waiting<'a, T> {
    claims: &'a Claims<T>,
    key: Digest,
}

impl<T: Clone> Claims<T> {
    pub(super) fn claim(&self, key: Digest) -> Claim<'_, T> {
        let mut state = lock(&self.state);
        if state.1.contains_key(&key) || !state.0.insert(key) {
            return Claim::Others(Waiting { claims: self, key });
        }
        Claim::Mine(Guard { claims: self, key })
    }
}

impl<T> Guard<'_, T> {
    /// It is done.
    pub(super) fn done(self, result: T) {
        lock(&self.claims.state).1.insert(self.key, result);
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        lock(&self.claims.state).0.remove(&self.key);
        self.claims.changed.notify_all();
    }
}

impl<T: Clone> Waiting<'_, T> {
    /// Waits for the result; none if the one who did it failed.
    pub(super) fn wait(self, cancel: &Cancel) -> Result<Option<T>, OpError> {
        let mut state = lock(&self.claims.state);
        loop {
            if let Some(result) = state.1.get(&self.key) {
                return Ok(Some(result.clone()));
            }
            if !state.0.contains(&self.key) {
                return Ok(None);
            }
            if cancel.is_cancelled() {
                return Err(OpError::Cancelled);
            }
            state = tick(&self.claims.changed, state);
        }
    }
}

/// Places for steps that run.
pub(super) struct Slots {
    free: Mutex<usize>,
    changed: Condvar,
}

/// A place taken.
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), changed: Condvar::new() }
    }

    pub(super) fn take(&self, cancel: &Cancel) -> Result<Slot<'_>, OpError> {
        let mut free = lock(&self.free);
        loop {
            if cancel.is_cancelled() {
                return Err(OpError::Cancelled);
            }
            if *free > 0 {
                *free -= 1;
                return Ok(Slot(self));
            }
            free = tick(&self.changed, free);
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.changed.notify_one();
    }
}
