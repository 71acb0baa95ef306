//! Looks after a group: looks its names up, and probes the replicas that it is time to probe.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    group::Group,
    replica::{Failure, Replica},
};

/// Time between two looks at the replicas.
const LOOK: Duration = Duration::from_millis(200);
/// Time between two look-ups of a name.
const NAMES: Duration = Duration::from_secs(5);
/// Time for a probe's answer.
const PROBE: Duration = Duration::from_secs(2);

/// Goes on for as long as there is the group.
pub(crate) async fn look_after(group: Weak<Group>) {
    let mut looked_up: Option<Instant> = None;
    while let Some(group) = group.upgrade() {
        let now = Instant::now();
        if looked_up.is_none_or(|at| at + NAMES <= now) {
            looked_up = Some(now);
            look_up(&group);
        }
        for replica in group.replicas() {
            if replica.begin_probe(now) {
                tokio::spawn(probe(Arc::clone(&group), replica));
            }
        }
        drop(group);
        tokio::time::sleep(LOOK).await;
    }
}

/// Each name by itself: one that is slow to look up holds no other up.
fn look_up(group: &Arc<Group>) {
    for origin in group.origins.iter().filter(|origin| origin.ip.is_none()) {
        let (group, origin) = (Arc::clone(group), origin.clone());
        tokio::spawn(async move {
            let (service, name) = (group.service, origin.host.as_str());
            match tokio::net::lookup_host((name, origin.port)).await {
                // What was known stays: a name server that does not answer takes no replica away.
                Err(error) => tracing::warn!(%service, name, %error, "the name of a replica cannot be looked up"),
                Ok(found) => group.found(&origin, &replicas(found)),
            }
        });
    }
}

/// The addresses that stand for replicas. A name with addresses of both kinds has each replica twice: those of version 4 count.
fn replicas(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (mut v4, v6): (Vec<_>, Vec<_>) = found.partition(SocketAddr::is_ipv4);
    if v4.is_empty() {
        v4 = v6;
    }
    v4.sort_unstable();
    v4.dedup();
    v4
}

/// Asks which networks it runs, which tells as well whether it is there and knows the secret.
async fn probe(group: Arc<Group>, replica: Arc<Replica>) {
    let asking = async {
        let token = group.token()?;
        group.check(&replica.networks(&token).await?)
    };
    let late = || Failure::Broken("it does not answer in time".to_owned());
    let outcome = tokio::time::timeout(PROBE, asking).await.unwrap_or_else(|_| Err(late()));
    match outcome {
        Ok(()) => {
            if replica.health().probed(Instant::now()) {
                tracing::info!(service = %group.service, address = replica.written(), "a replica is back");
            }
        }
        // It is there, which is all that a probe wants to know.
        Err(Failure::Busy(_)) => {
            replica.health().probed(Instant::now());
        }
        Err(Failure::Late) => group.note(&replica, &late()),
        Err(Failure::Asked(reason)) => group.note(&replica, &Failure::Broken(reason)),
        Err(failure) => group.note(&replica, &failure),
    }
    replica.end_probe();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_each_kind_is_one_replica() {
        let of = |written: &[&str]| {
            let found = replicas(written.iter().map(|a| a.parse().unwrap()));
            found.iter().map(SocketAddr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(&["10.0.0.2:1", "[::1]:1", "10.0.0.1:1", "10.0.0.2:1"]), ["10.0.0.1:1", "10.0.0.2:1"]);
        assert_eq!(of(&["[::2]:1", "[::1]:1"]), ["[::1]:1", "[::2]:1"]);
        assert!(of(&[]).is_empty());
    }
}
