//! Stored analyses: which file does what.

use async_trait::async_trait;

use super::{Backend, sessions};
use crate::{error::Result, traits::History, types::*};

#[async_trait]
impl History for Backend {
    async fn save_session(&self, write: &Write, new: NewSession) -> Result<Outcome<Session>> {
        self.within(sessions::save(self, write, new)).await
    }

    async fn session(&self, id: SessionId) -> Result<SessionDetail> {
        self.within(sessions::get(self, id)).await
    }

    async fn session_image(&self, id: SessionId) -> Result<Option<(String, Vec<u8>)>> {
        self.within(sessions::image(self, id)).await
    }

    async fn sessions(
        &self,
        user: Option<UserId>,
        collections: &[CollectionId],
        page: PageRequest,
    ) -> Result<Page<Session>> {
        self.within(sessions::list(self, user, collections, page)).await
    }

    async fn delete_session(&self, write: &Write, id: SessionId) -> Result<Outcome<()>> {
        self.within(sessions::delete(self, write, id)).await
    }
}
