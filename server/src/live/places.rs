//! How many live connections there are, in all and of each who asks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    config::LiveConfig,
    error::{ApiError, ApiResult, Code},
};

/// Seconds after which a place may be free again.
const RETRY: u32 = 10;

/// The places for live connections of this server.
#[derive(Debug, Clone)]
pub struct Places {
    /// How much live video is looked at.
    pub config: LiveConfig,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub struct Place {
    who: String,
    places: Places,
}

impl Places {
    /// All free.
    pub fn new(config: LiveConfig) -> Self {
        Self { config, taken: Arc::default() }
    }

    /// Takes a place for `who`: an account, a key or an address.
    ///
    /// # Errors
    /// [`Code::Overloaded`] if all are taken, [`Code::RateLimited`] if `who` has as many as may be.
    pub fn take(&self, who: &str) -> ApiResult<Place> {
        let mut taken = self.lock();
        if taken.values().sum::<usize>() >= self.config.connections {
            let detail = "as many live connections are open as may be; try again later";
            return Err(ApiError::new(Code::Overloaded, detail).after(RETRY));
        }
        self.add(&mut taken, who)
    }

    /// How many are taken.
    pub fn open(&self) -> usize {
        self.lock().values().sum()
    }

    fn add(&self, taken: &mut HashMap<String, usize>, who: &str) -> ApiResult<Place> {
        let each = self.config.connections_each;
        let of_who = taken.entry(who.to_owned()).or_default();
        if *of_who >= each {
            if *of_who == 0 {
                taken.remove(who);
            }
            let detail = format!("{each} live connections at a time are allowed; close one, or try again later");
            return Err(ApiError::new(Code::RateLimited, detail).after(RETRY));
        }
        *of_who += 1;
        Ok(Place { who: who.to_owned(), places: self.clone() })
    }

    // Counting cannot panic half-way.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The same place in the name of somebody else, now that it is known who asks.
    ///
    /// # Errors
    /// [`Code::RateLimited`] as [`Places::take`]; the place is then free.
    pub fn pass_to(self, who: &str) -> ApiResult<Self> {
        if self.who == who {
            return Ok(self);
        }
        let places = self.places.clone();
        let mut taken = places.lock();
        let passed = places.add(&mut taken, who);
        // The old place is given back under the same lock, after this.
        drop(taken);
        passed
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(n) = taken.get_mut(&self.who) {
            *n -= 1;
            if *n == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, connections_each: usize) -> Places {
        Places::new(LiveConfig { connections, connections_each, ..LiveConfig::default() })
    }

    #[test]
    fn places_are_bounded_in_all_and_for_each_and_given_back() {
        let places = places(3, 2);
        let first = places.take("ann").unwrap();
        let _second = places.take("ann").unwrap();
        assert_eq!(places.take("ann").unwrap_err().code, Code::RateLimited);
        let _third = places.take("bob").unwrap();
        let full = places.take("cid").unwrap_err();
        assert_eq!((full.code, full.retry_after), (Code::Overloaded, Some(RETRY)));
        drop(first);
        assert!(places.take("cid").is_ok());
    }

    #[test]
    fn a_place_changes_hands_without_being_counted_twice() {
        let places = places(2, 1);
        let unknown = places.take("address:1").unwrap();
        let ann = unknown.pass_to("ann").unwrap();
        let _other = places.take("address:1").unwrap();
        assert_eq!(places.lock().values().sum::<usize>(), 2);
        assert!(ann.pass_to("address:1").is_err());
        assert_eq!(places.lock().len(), 1, "a place that could not change hands is free");
    }

    #[test]
    fn no_place_at_all_is_a_refusal() {
        assert_eq!(places(0, 4).take("ann").unwrap_err().code, Code::Overloaded);
        assert_eq!(places(4, 0).take("ann").unwrap_err().code, Code::RateLimited);
    }
}
