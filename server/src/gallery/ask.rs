//! What every handler of the gallery begins with: who asks, for what, with which key.

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use facesocial_store::{Collection, Outcome, PageRequest, Person, Store, StoreError, Write};
use serde::de::DeserializeOwned;

use super::names::{self, PersonKey};
use crate::{
    auth::{Authorized, Permission, Principal},
    error::{ApiError, ApiResult},
    extract::{Fields, Fingerprint, IdempotencyKey, RequestInfo, page_request, parse_json, read_body, write},
    state::State,
};

/// A request by somebody who has the permission `P`.
pub struct Ask<P: Permission> {
    /// Who asks.
    pub auth: Authorized<P>,
    /// What all requests share.
    pub state: web::Data<State>,
    /// The request's id and time.
    pub info: RequestInfo,
    /// The request.
    pub req: HttpRequest,
    key: IdempotencyKey,
}

impl<P: Permission> FromRequest for Ask<P> {
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Self::Error>>>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let auth = Authorized::<P>::from_request(req, payload);
        let state = web::Data::<State>::from_request(req, payload);
        let key = IdempotencyKey::from_request(req, payload);
        let info = RequestInfo::from_request(req, payload);
        let req = req.clone();
        Box::pin(
            async move { Ok(Self { auth: auth.await?, state: state.await?, key: key.await?, info: info.await?, req }) },
        )
    }
}

impl<P: Permission> Ask<P> {
    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.auth.principal
    }

    /// The store.
    ///
    /// # Errors
    /// It is not open yet.
    pub fn store(&self) -> ApiResult<&Arc<dyn Store>> {
        self.state.store()
    }

    /// A collection that the caller may see. Of one that it may not, the existence is not told.
    ///
    /// # Errors
    /// A name that no collection can have, no such collection.
    pub async fn collection(&self, name: &str) -> ApiResult<Collection> {
        collection(self.store()?, self.principal(), name).await
    }

    /// A person of a collection.
    ///
    /// # Errors
    /// A malformed key, no such person.
    pub async fn person(&self, collection: &Collection, key: &str) -> ApiResult<Person> {
        person(self.store()?, collection, &PersonKey::parse(key)?).await
    }

    /// Reads a small JSON body, with what tells the request from others.
    ///
    /// # Errors
    /// Another media type, too large, not JSON, not of the expected form.
    pub async fn body<T: DeserializeOwned>(&self, payload: web::Payload) -> ApiResult<(T, Write)> {
        let (bytes, _memory) = read_body(&self.req, payload, &self.state, 0).await?;
        let fingerprint = Fingerprint::of(&self.req).part("body", &bytes).finish();
        Ok((parse_json(&bytes)?, self.write(fingerprint)))
    }

    /// What a change without a body carries.
    pub fn bare_write(&self) -> Write {
        self.write(Fingerprint::of(&self.req).finish())
    }

    /// What a change carries.
    pub fn write(&self, fingerprint: String) -> Write {
        write(self.principal(), &self.info, &self.key, fingerprint)
    }

    /// The first answer, if the request repeats one. Asked before anything is looked up: what the first one deleted is not
    /// found by its repetition.
    ///
    /// # Errors
    /// The key belongs to another request; the store does not answer.
    pub async fn replayed<T: DeserializeOwned>(&self, write: &Write) -> ApiResult<Option<Outcome<T>>> {
        replayed(self.store()?, write).await
    }

    /// The page of a list that the query asks for.
    ///
    /// # Errors
    /// A wrong limit or cursor.
    pub fn page(&self) -> ApiResult<PageRequest> {
        page_request(&Fields::of_query(&self.req)?)
    }
}

/// [`Ask::collection`].
///
/// # Errors
/// As there.
pub async fn collection(store: &Arc<dyn Store>, principal: &Principal, name: &str) -> ApiResult<Collection> {
    names::collection(name)?;
    let found = store.collection(name).await?;
    if principal.may_see(found.id) {
        Ok(found)
    } else {
        Err(StoreError::NotFound { kind: "collection", id: name.to_owned() }.into())
    }
}

/// [`Ask::person`].
///
/// # Errors
/// No such person.
pub async fn person(store: &Arc<dyn Store>, collection: &Collection, key: &PersonKey) -> ApiResult<Person> {
    Ok(match key {
        PersonKey::Id(id) => store.person(collection.id, *id).await?,
        PersonKey::External(external) => store.person_by_external_id(collection.id, external).await?,
    })
}

/// [`Ask::replayed`].
///
/// # Errors
/// As there.
pub async fn replayed<T: DeserializeOwned>(store: &Arc<dyn Store>, write: &Write) -> ApiResult<Option<Outcome<T>>> {
    let Some(idempotency) = &write.idempotency else { return Ok(None) };
    let Some(value) = store.replay(&write.actor, idempotency).await? else { return Ok(None) };
    let value = serde_json::from_value(value).map_err(|e| ApiError::internal(&e))?;
    Ok(Some(Outcome { value, replayed: true }))
}
