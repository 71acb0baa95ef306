//! Who asks.

use std::net::IpAddr;

use facesocial_store::{Actor, ActorKind, ApiKey, CollectionId, LoginId, Role, User, UserId};
use uuid::Uuid;

use super::permission::{Permission, role_has};
use crate::error::{ApiError, ApiResult, Code};

/// Who asks, and what may be asked for.
#[derive(Debug, Clone)]
pub struct Principal {
    actor: Actor,
    user: Option<UserId>,
    login: Option<LoginId>,
    role: Role,
    /// The permissions that are left of the role's; `None` for all.
    scopes: Option<Vec<String>>,
    collections: Vec<CollectionId>,
}

/// What another service may do with its token.
const SERVICE_SCOPES: [&str; 2] = ["analyze", "search"];

impl Principal {
    /// Anybody, where authentication is off.
    pub fn anonymous(address: Option<IpAddr>) -> Self {
        Self {
            actor: actor(ActorKind::Anonymous, None, address),
            user: None,
            login: None,
            role: Role::Admin,
            scopes: None,
            collections: Vec::new(),
        }
    }

    /// Somebody who logged in.
    pub fn of_login(user: &User, login: LoginId, address: Option<IpAddr>) -> Self {
        Self {
            actor: actor(ActorKind::User, Some(user.id.0), address),
            user: Some(user.id),
            login: Some(login),
            role: user.role,
            scopes: None,
            collections: user.collections.clone(),
        }
    }

    /// A program with a key: what the key's scopes leave of what its user may.
    pub fn of_key(key: &ApiKey, user: &User, address: Option<IpAddr>) -> Self {
        Self {
            actor: actor(ActorKind::ApiKey, Some(key.id.0), address),
            user: Some(user.id),
            login: None,
            role: user.role,
            scopes: Some(key.scopes.clone()),
            collections: both(&user.collections, &key.collections),
        }
    }

    /// Another service of this system.
    pub fn of_service(address: Option<IpAddr>) -> Self {
        Self {
            actor: actor(ActorKind::Service, None, address),
            user: None,
            login: None,
            role: Role::ReadOnly,
            scopes: Some(SERVICE_SCOPES.map(str::to_owned).to_vec()),
            collections: Vec::new(),
        }
    }

    /// Whoever asked for a job, while it is worked on: what it may was found when the job was made.
    pub fn of_job(user: Option<UserId>) -> Self {
        let actor = user.map_or_else(Actor::system, |user| actor(ActorKind::User, Some(user.0), None));
        Self { actor, user, login: None, role: Role::Admin, scopes: None, collections: Vec::new() }
    }

    /// Who is named in the audit trail and holds idempotency keys.
    pub fn actor(&self) -> Actor {
        self.actor.clone()
    }

    /// The role; scopes of a key may leave less than it gives.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The account, also that of a key.
    pub fn user_id(&self) -> Option<UserId> {
        self.user
    }

    /// The login that the access token belongs to.
    pub fn login(&self) -> Option<LoginId> {
        self.login
    }

    /// The collections that it is bound to; empty for all.
    pub fn collections(&self) -> &[CollectionId] {
        &self.collections
    }

    /// Whether the collection is one of those it is bound to.
    pub fn may_see(&self, id: CollectionId) -> bool {
        self.collections.is_empty() || self.collections.contains(&id)
    }

    /// Whether it has a permission.
    pub fn may<P: Permission>(&self) -> bool {
        self.has(P::NAME, P::LEAST)
    }

    /// Whether it has a permission that a request turns out to need beside its handler's own.
    ///
    /// # Errors
    /// [`Code::Forbidden`], which names the permission.
    pub fn require<P: Permission>(&self) -> ApiResult<()> {
        if self.may::<P>() {
            return Ok(());
        }
        let detail = format!("this needs the permission {}, which the caller does not have", P::NAME);
        Err(ApiError::new(Code::Forbidden, detail))
    }

    /// [`Self::may`] for a permission by name.
    pub(super) fn has(&self, name: &str, least: Role) -> bool {
        role_has(self.role, least) && self.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(|s| s == name))
    }
}

fn actor(kind: ActorKind, id: Option<Uuid>, address: Option<IpAddr>) -> Actor {
    Actor { kind, id, address: address.map(|a| a.to_string()) }
}

/// The collections of two lists of which an empty one stands for all.
fn both(user: &[CollectionId], key: &[CollectionId]) -> Vec<CollectionId> {
    match (user.is_empty(), key.is_empty()) {
        (_, true) => user.to_vec(),
        (true, false) => key.to_vec(),
        (false, false) => {
            let common: Vec<CollectionId> = key.iter().copied().filter(|id| user.contains(id)).collect();
            // Nothing in common must not become the empty list: no collection has this identifier.
            if common.is_empty() { vec![CollectionId(Uuid::nil())] } else { common }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_a_collection_in_common_with_its_user_sees_none() {
        let [a, b] = [CollectionId::new(), CollectionId::new()];
        assert_eq!(both(&[], &[]), []);
        assert_eq!(both(&[a], &[]), [a]);
        assert_eq!(both(&[], &[b]), [b]);
        assert_eq!(both(&[a, b], &[b]), [b]);
        let none = both(&[a], &[b]);
        assert!(!none.is_empty() && !none.contains(&a) && !none.contains(&b));
    }
}
