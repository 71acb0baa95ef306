//! The trait's methods, each of which stands in a file of its subject.

use async_trait::async_trait;
use facesocial_types::{Embedding, ModelId};

use super::Backend;
use crate::{
    error::{Result, StoreError},
    text,
    traits::Gallery,
    types::*,
};

#[async_trait]
impl Gallery for Backend {
    async fn create_collection(&self, write: &Write, new: NewCollection) -> Result<Outcome<Collection>> {
        self.within(self.insert_collection(write, new)).await
    }

    async fn collection(&self, name: &str) -> Result<Collection> {
        self.within(self.collection_named(name)).await
    }

    async fn collection_by_id(&self, id: CollectionId) -> Result<Collection> {
        self.within(self.collection_with(id)).await
    }

    async fn collections(&self, only: &[CollectionId], page: PageRequest) -> Result<Page<Collection>> {
        self.within(self.list_collections(only, page)).await
    }

    async fn delete_collection(&self, write: &Write, id: CollectionId) -> Result<Outcome<Erased>> {
        self.within_long(self.erase_collection(write, id)).await
    }

    async fn create_person(&self, write: &Write, collection: CollectionId, new: NewPerson) -> Result<Outcome<Person>> {
        self.within(self.insert_person(write, collection, new)).await
    }

    async fn person(&self, collection: CollectionId, id: PersonId) -> Result<Person> {
        self.within(self.person_with(collection, id)).await
    }

    async fn person_by_external_id(&self, collection: CollectionId, external_id: &str) -> Result<Person> {
        self.within(self.person_called(collection, external_id)).await
    }

    async fn persons(&self, collection: CollectionId, page: PageRequest) -> Result<Page<Person>> {
        self.within(self.list_persons(collection, page)).await
    }

    async fn persons_like(&self, collection: CollectionId, part: &str, page: PageRequest) -> Result<Page<Person>> {
        self.within(self.list_persons_like(collection, part, page)).await
    }

    async fn update_person(
        &self,
        write: &Write,
        collection: CollectionId,
        id: PersonId,
        change: PersonChange,
    ) -> Result<Outcome<Person>> {
        self.within(self.change_person(write, collection, id, change)).await
    }

    async fn delete_person(&self, write: &Write, collection: CollectionId, id: PersonId) -> Result<Outcome<Erased>> {
        self.within(self.erase_person(write, collection, id)).await
    }

    async fn export_person(&self, collection: CollectionId, id: PersonId) -> Result<PersonExport> {
        self.within_long(self.export(collection, id)).await
    }

    async fn enroll(&self, write: &Write, collection: CollectionId, face: NewFace) -> Result<Outcome<Enrolled>> {
        self.within(self.insert_face(write, collection, face)).await
    }

    async fn face(&self, collection: CollectionId, id: FaceId) -> Result<FaceRecord> {
        self.within(self.face_with(collection, id)).await
    }

    async fn face_crop(&self, collection: CollectionId, id: FaceId) -> Result<Option<Vec<u8>>> {
        self.within(self.crop_of(collection, id)).await
    }

    async fn faces(
        &self,
        collection: CollectionId,
        person: Option<Option<PersonId>>,
        page: PageRequest,
    ) -> Result<Page<FaceRecord>> {
        self.within(self.list_faces(collection, person, page)).await
    }

    async fn update_face(
        &self,
        write: &Write,
        collection: CollectionId,
        id: FaceId,
        change: FaceChange,
    ) -> Result<Outcome<FaceRecord>> {
        self.within(self.change_face(write, collection, id, change)).await
    }

    async fn delete_face(&self, write: &Write, collection: CollectionId, id: FaceId) -> Result<Outcome<Erased>> {
        self.within(self.erase_face(write, collection, id)).await
    }

    async fn embeddings_of(
        &self,
        collection: CollectionId,
        person: PersonId,
        model: &ModelId,
    ) -> Result<Vec<(FaceId, Embedding)>> {
        self.within(self.person_embeddings(collection, person, model)).await
    }

    async fn embeddings_after(
        &self,
        collection: CollectionId,
        model: &ModelId,
        after: Option<FaceId>,
        limit: u32,
    ) -> Result<Vec<(FaceId, Option<PersonId>, Embedding)>> {
        self.within(self.next_embeddings(collection, model, after, limit)).await
    }

    async fn faces_without(
        &self,
        collection: CollectionId,
        model: &ModelId,
        after: Option<FaceId>,
        limit: u32,
    ) -> Result<Vec<(FaceId, Option<Vec<u8>>)>> {
        self.within(self.next_faces_without(collection, model, after, limit)).await
    }

    async fn put_embedding(&self, collection: CollectionId, face: FaceId, embedding: &Embedding) -> Result<()> {
        self.within(self.replace_embedding(collection, face, embedding)).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<SearchResult> {
        if query.limit == 0 {
            return Err(StoreError::Invalid("a search's limit must be at least 1".to_owned()));
        }
        query.groups.iter().try_for_each(|group| text::check_text("a group", group, text::MAX_KEY))?;
        self.within(async {
            self.demand_collection(query.collection).await?;
            self.search_faces(query).await
        })
        .await
    }

    async fn gallery_stats(&self) -> Result<GalleryStats> {
        self.within(self.stats()).await
    }
}
