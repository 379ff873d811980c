//! Queue: what waits to go out on one lane. Many fill it, one task empties it in batches.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{BATCH_BYTES, BATCH_FRAMES};

/// A queue bounded by items and by bytes.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    items_max: usize,
    bytes_max: usize,
    /// Wakes the task that empties it.
    filled: Notify,
    /// Wakes those who wait for room.
    emptied: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// There is something to say besides what waits here.
    is_poked: bool,
    is_closed: bool,
}

/// Why an item was not taken; it comes back.
#[derive(Debug)]
pub enum Refused<T> {
    /// There is no room.
    Full(T),
    /// The lane has ended.
    Closed(T),
}

// === impl Queue ===

impl<T> Queue<T> {
    /// An empty queue for so much.
    pub fn new(items_max: usize, bytes_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                is_poked: false,
                is_closed: false,
            }),
            items_max,
            bytes_max,
            filled: Notify::new(),
            emptied: Notify::new(),
        }
    }

    /// Takes an item of about so many bytes. The last one may be larger than the room there is.
    ///
    /// # Errors
    /// Gives it back when there is no room or the lane has ended.
    pub fn push(&self, item: T, bytes: usize) -> Result<(), Refused<T>> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Refused::Closed(item));
        }
        if !self.has_room(&state) {
            return Err(Refused::Full(item));
        }
        let was_empty = state.items.is_empty();
        state.items.push_back((item, bytes));
        state.bytes += bytes;
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Lets the next [`Queue::batch`] return even if nothing waits.
    pub fn poke(&self) {
        self.state().is_poked = true;
        self.filled.notify_one();
    }

    /// Ends the queue: what waits is gone.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.bytes = 0;
        let items = std::mem::take(&mut state.items);
        drop(state);
        // Outside the lock: items may be large.
        drop(items);
        self.filled.notify_one();
        self.emptied.notify_waiters();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Waits until there may be room, or the queue is closed, or [`Queue::wake_all`] is called.
    pub async fn room(&self) {
        let mut emptied = std::pin::pin!(self.emptied.notified());
        emptied.as_mut().enable();
        if !self.is_worth_trying() {
            emptied.await;
        }
    }

    /// Wakes all who wait for room, to look again whether they still want it here.
    pub fn wake_all(&self) {
        self.emptied.notify_waiters();
    }

    /// Waits for items and moves as many as fit one message to `batch`, which may stay empty after
    /// a [`Queue::poke`]. False when the queue is closed. Only one task may wait; when it is
    /// dropped while it waits nothing is lost.
    pub async fn batch(&self, batch: &mut Vec<T>) -> bool {
        loop {
            if let Some(is_open) = self.take(batch) {
                return is_open;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self, batch: &mut Vec<T>) -> Option<bool> {
        let mut state = self.state();
        if state.is_closed {
            return Some(false);
        }
        let mut taken = 0;
        while taken < BATCH_BYTES
            && batch.len() < BATCH_FRAMES
            && let Some((item, bytes)) = state.items.pop_front()
        {
            taken += bytes;
            batch.push(item);
        }
        state.bytes -= taken;
        let is_poked = std::mem::take(&mut state.is_poked);
        drop(state);
        if batch.is_empty() {
            return is_poked.then_some(true);
        }
        self.emptied.notify_waiters();
        Some(true)
    }

    /// Whether whoever waits for room need not.
    fn is_worth_trying(&self) -> bool {
        let state = self.state();
        state.is_closed || self.has_room(&state)
    }

    fn has_room(&self, state: &State<T>) -> bool {
        state.items.len() < self.items_max && state.bytes < self.bytes_max
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn batches_are_bounded_and_in_order() {
        let queue = Queue::new(1000, usize::MAX);
        for number in 0..600 {
            queue.push(number, 1).expect("room");
        }
        let mut all = Vec::new();
        for expected in [BATCH_FRAMES, BATCH_FRAMES, 600 - 2 * BATCH_FRAMES] {
            let mut batch = Vec::new();
            assert!(queue.batch(&mut batch).await);
            assert_eq!(batch.len(), expected);
            all.extend(batch);
        }
        assert_eq!(all, (0..600).collect::<Vec<_>>());
        for _ in 0..3 {
            queue.push(0, BATCH_BYTES / 2 + 1).expect("room");
        }
        let mut batch = Vec::new();
        assert!(queue.batch(&mut batch).await);
        assert_eq!(batch.len(), 2);
    }

    #[tokio::test]
    async fn who_waits_for_room_is_woken() {
        let queue = Queue::new(10, 100);
        queue.push("large", 1000).expect("the last may be larger");
        assert!(matches!(queue.push("more", 1), Err(Refused::Full("more"))));
        let take = async {
            tokio::task::yield_now().await;
            let mut batch = Vec::new();
            queue.batch(&mut batch).await;
            batch
        };
        let ((), batch) = tokio::join!(queue.room(), take);
        assert_eq!(batch, ["large"]);
        queue.push("more", 1000).expect("room");
        let close = async {
            tokio::task::yield_now().await;
            queue.close();
        };
        tokio::join!(queue.room(), close);
        assert!(matches!(
            queue.push("late", 1),
            Err(Refused::Closed("late"))
        ));
        assert!(!queue.batch(&mut Vec::new()).await);
    }

    #[tokio::test]
    async fn a_poke_returns_without_items() {
        let queue = Queue::<u8>::new(10, 100);
        queue.poke();
        let mut batch = Vec::new();
        assert!(queue.batch(&mut batch).await);
        assert!(batch.is_empty());
    }
}
