//! A line in which clients take turns: however many entries one of them has in it, another's next entry waits for one of
//! them at most.

use std::collections::VecDeque;

use crate::caller::ClientId;

/// The line. Order is kept within a client; between clients it goes round.
#[derive(Debug)]
pub struct FairQueue<T> {
    /// One lane per client that waits; the front one is next.
    lanes: VecDeque<Lane<T>>,
    len: usize,
}

#[derive(Debug)]
struct Lane<T> {
    client: ClientId,
    waiting: VecDeque<T>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lanes: VecDeque::new(), len: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Entries of all clients.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries of one client.
    pub fn len_of(&self, client: ClientId) -> usize {
        self.lanes.iter().find(|lane| lane.client == client).map_or(0, |lane| lane.waiting.len())
    }

    /// Adds an entry behind those of the same client.
    pub fn push(&mut self, client: ClientId, entry: T) {
        self.len += 1;
        match self.lanes.iter_mut().find(|lane| lane.client == client) {
            Some(lane) => lane.waiting.push_back(entry),
            None => self.lanes.push_back(Lane { client, waiting: VecDeque::from([entry]) }),
        }
    }

    /// The entry that is next.
    pub fn peek(&self) -> Option<&T> {
        self.lanes.front().and_then(|lane| lane.waiting.front())
    }

    /// Takes the entry that is next; its client's turn comes again after everybody else's.
    pub fn pop(&mut self) -> Option<T> {
        let mut lane = self.lanes.pop_front()?;
        let entry = lane.waiting.pop_front()?;
        self.len -= 1;
        if !lane.waiting.is_empty() {
            self.lanes.push_back(lane);
        }
        Some(entry)
    }

    /// Takes the newest entry of the client that has most, if `client` would have less even with one more; so that a full
    /// line has room for whoever holds little of it.
    pub fn make_room_for(&mut self, client: ClientId) -> Option<T> {
        let own = self.len_of(client);
        let index = (0..self.lanes.len()).max_by_key(|i| self.lanes[*i].waiting.len())?;
        let lane = &mut self.lanes[index];
        if lane.client == client || lane.waiting.len() <= own + 1 {
            return None;
        }
        let entry = lane.waiting.pop_back();
        self.len -= usize::from(entry.is_some());
        entry
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn client(n: u64) -> ClientId {
        ClientId::of(n)
    }

    #[test]
    fn clients_take_turns_and_each_keeps_its_order() {
        let mut queue = FairQueue::default();
        for n in 0..5 {
            queue.push(client(0), (0, n));
        }
        queue.push(client(1), (1, 0));
        queue.push(client(1), (1, 1));
        queue.push(client(2), (2, 0));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2), (0, 3), (0, 4)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_line_has_room_for_whoever_holds_least() {
        let mut queue = FairQueue::default();
        for n in 0..4 {
            queue.push(client(0), n);
        }
        assert_eq!(queue.make_room_for(client(0)), None, "nobody else to take it from");
        assert_eq!(queue.make_room_for(client(1)), Some(3), "the newest of the greediest");
        queue.push(client(1), 10);
        queue.push(client(1), 11);
        assert_eq!(queue.make_room_for(client(1)), None, "three and three would be no better");
        assert_eq!(queue.len(), 5);
    }

    /// Random pushes and pops against a model: nothing lost, nothing twice, order kept, and no client waits for more than
    /// one entry of each other client.
    #[test]
    fn nothing_is_lost_and_nobody_starves() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut queue = FairQueue::default();
            let mut waiting: HashMap<u64, VecDeque<u32>> = HashMap::new();
            // How often each other client was served since this one, while it waited, was served last.
            let mut passed: HashMap<(u64, u64), u32> = HashMap::new();
            for entry in 0..300 {
                if rng.u8(..) < 150 {
                    let c = rng.u64(..5);
                    let lane = waiting.entry(c).or_default();
                    if lane.is_empty() {
                        passed.retain(|(waiter, _), _| *waiter != c);
                    }
                    lane.push_back(entry);
                    queue.push(client(c), (c, entry));
                } else if let Some((c, entry)) = queue.pop() {
                    assert_eq!(waiting.get_mut(&c).unwrap().pop_front(), Some(entry));
                    passed.retain(|(waiter, _), _| *waiter != c);
                    for (other, lane) in &waiting {
                        if *other != c && !lane.is_empty() {
                            let times = passed.entry((*other, c)).or_default();
                            *times += 1;
                            assert!(*times <= 1, "{other} was passed by {c} {times} times");
                        }
                    }
                }
                assert_eq!(queue.len(), waiting.values().map(VecDeque::len).sum::<usize>());
            }
        }
    }
}
