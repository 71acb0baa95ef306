//! Slows down whoever guesses passwords.

use std::{net::IpAddr, time::Duration};

use super::tokens::digest;
use crate::{
    error::{ApiError, ApiResult, Code},
    state::State,
};

/// Time within which attempts are counted.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// An address may stand for many people: it has this many times the attempts of one account.
const PER_ADDRESS: u64 = 6;
/// Attempts at one account from everywhere, against those from one network. Few enough that nobody guesses a password of 12
/// characters, many enough that it takes several networks to keep the account's owner out.
const FROM_EVERYWHERE: u64 = 10;
/// How long a network counts as one of the account's own after a login from there.
const KNOWN: Duration = Duration::from_secs(30 * 86_400);

/// Counts an attempt at a password or token.
///
/// An account is not locked: whoever tries from one network takes the attempts of that network away, and of all other networks
/// those alone from which nobody has logged in before.
///
/// # Errors
/// [`Code::RateLimited`] if there were too many at this account or from this address. That is so for the right password,
/// too: otherwise guessing would go on.
pub async fn attempt(state: &State, account: Option<&str>, address: Option<IpAddr>) -> ApiResult<()> {
    let allowed = u64::from(state.auth.login_attempts);
    let network = address.map(network);
    if let Some(network) = &network {
        count(state, format!("attempt:address:{network}"), allowed * PER_ADDRESS).await?;
    }
    if let Some(account) = account {
        let account = Account::of(account);
        let from = network.as_deref().unwrap_or("unknown");
        count(state, format!("attempt:account:{}:{from}", account.0), allowed).await?;
        if !account.knows(state, from).await {
            count(state, format!("attempt:account:{}", account.0), allowed * FROM_EVERYWHERE).await?;
        }
    }
    Ok(())
}

/// Notes that the right password came from a network.
pub async fn succeeded(state: &State, account: &str, address: Option<IpAddr>) {
    if let Some(address) = address {
        let field = network(address);
        state.cache().put(&Account::of(account).networks(), &field, vec![1], KNOWN).await;
    }
}

/// An account by the digest of its name: names do not have to stand in the cache.
struct Account(String);

impl Account {
    fn of(name: &str) -> Self {
        Self(digest(&name.to_lowercase()))
    }

    /// The group of the networks from which its owner has logged in.
    fn networks(&self) -> String {
        format!("networks:{}", self.0)
    }

    async fn knows(&self, state: &State, network: &str) -> bool {
        state.cache().get(&self.networks(), network).await.is_some()
    }
}

async fn count(state: &State, key: String, allowed: u64) -> ApiResult<()> {
    let (count, left) = state.cache().count(&key, WINDOW).await;
    if count <= allowed {
        return Ok(());
    }
    let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1);
    let detail = format!("too many attempts to log in; try again in {} minutes", seconds.div_ceil(60));
    Err(ApiError::new(Code::RateLimited, detail).after(seconds))
}

/// The address; of IPv6 the part that one household or machine has all of.
pub fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_network_count_together() {
        let of = |s: &str| network(s.parse().unwrap());
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
