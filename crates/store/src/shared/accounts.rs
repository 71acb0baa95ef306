//! Accounts, keys, logins: which file does what.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Backend, api_keys, logins, users};
use crate::{error::Result, traits::Accounts, types::*};

#[async_trait]
impl Accounts for Backend {
    async fn count_users(&self) -> Result<u64> {
        self.within(users::count(self)).await
    }

    async fn create_user(&self, write: &Write, new: NewUser) -> Result<Outcome<User>> {
        self.within(users::create(self, write, new)).await
    }

    async fn create_first_user(&self, write: &Write, new: NewUser) -> Result<User> {
        self.within(users::create_first(self, write, new)).await
    }

    async fn user(&self, id: UserId) -> Result<User> {
        self.within(users::get(self, id)).await
    }

    async fn credentials(&self, login: &str) -> Result<Credentials> {
        self.within(users::credentials(self, login)).await
    }

    async fn users(&self, page: PageRequest) -> Result<Page<User>> {
        self.within(users::list(self, page)).await
    }

    async fn update_user(&self, write: &Write, id: UserId, change: UserChange) -> Result<Outcome<User>> {
        self.within(users::update(self, write, id, change)).await
    }

    async fn delete_user(&self, write: &Write, id: UserId) -> Result<Outcome<()>> {
        self.within(users::delete(self, write, id)).await
    }

    async fn create_api_key(&self, write: &Write, new: NewApiKey) -> Result<Outcome<ApiKey>> {
        self.within(api_keys::create(self, write, new)).await
    }

    async fn api_key_by_hash(&self, key_hash: &str, now: OffsetDateTime) -> Result<Option<(ApiKey, User)>> {
        self.within(api_keys::by_hash(self, key_hash, now)).await
    }

    async fn api_keys(&self, user: Option<UserId>, page: PageRequest) -> Result<Page<ApiKey>> {
        self.within(api_keys::list(self, user, page)).await
    }

    async fn api_key(&self, id: ApiKeyId) -> Result<ApiKey> {
        self.within(api_keys::get(self, id)).await
    }

    async fn revoke_api_key(&self, write: &Write, id: ApiKeyId) -> Result<Outcome<ApiKey>> {
        self.within(api_keys::revoke(self, write, id)).await
    }

    async fn start_login(&self, write: &Write, token: NewRefreshToken) -> Result<()> {
        self.within(logins::start(self, write, token)).await
    }

    async fn rotate_refresh_token(
        &self,
        write: &Write,
        token_hash: &str,
        next: NewRefreshToken,
        now: OffsetDateTime,
    ) -> Result<Rotation> {
        self.within(logins::rotate(self, write, token_hash, next, now)).await
    }

    async fn login_active(&self, login: LoginId) -> Result<bool> {
        self.within(logins::active(self, login)).await
    }

    async fn end_login(&self, write: &Write, login: LoginId) -> Result<()> {
        self.within(logins::end(self, write, login)).await
    }

    async fn end_logins(&self, write: &Write, user: UserId) -> Result<Vec<LoginId>> {
        self.within(logins::end_of_user(self, write, user)).await
    }
}
