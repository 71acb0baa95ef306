//! Searches, held against a look at every vector.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use facesocial_store::{
    CollectionId, FaceChange, FaceId, Match, NewFace, PersonId, PersonRef, SearchQuery, Store, StoreError, Write,
};
use facesocial_types::{Embedding, ModelId};

use crate::backend::*;

conformance!(
    searches_find_what_a_look_at_every_vector_finds,
    equal_similarities_come_in_the_order_of_identifiers,
    matches_name_their_person,
    models_and_dimensions_are_never_compared,
    the_threshold_leaves_out_what_is_below,
    changes_show_in_the_next_search,
    an_acknowledged_face_is_found_while_others_come_and_go,
    rare_groups_are_found_among_many_faces,
);

const FACES: u64 = 300;
const GROUPS: [&str; 3] = ["primary", "alternate", "rare"];

struct Known {
    id: FaceId,
    person: Option<PersonId>,
    group: &'static str,
    searchable: bool,
    embedding: Embedding,
}

/// Faces around a few centres, as those of persons are; every seventh is not to be found.
async fn fill(f: &Fixture, c: CollectionId) -> Vec<Known> {
    let mut known = Vec::new();
    for i in 0..FACES {
        let centre = vector(1000 + i % 20, 64);
        let noise = vector(i, 64);
        let mixed = centre.iter().zip(&noise).map(|(a, b)| a + b * 0.7).collect();
        let embedding = Embedding::new(model(), mixed).unwrap();
        let group = GROUPS[if i % 50 == 0 { 2 } else { (i % 3 / 2) as usize }];
        let searchable = i % 7 != 0;
        let new = NewFace {
            person: (i % 4 != 0).then(|| PersonRef::GetOrCreate(person(&format!("p{}", i % 20)))),
            face_group: group.to_owned(),
            searchable,
            embeddings: vec![embedding.clone()],
            ..face(i)
        };
        let face = f.enroll(c, new).await.face;
        known.push(Known { id: face.id, person: face.person_id, group, searchable, embedding });
    }
    known
}

fn expected(known: &[Known], query: &SearchQuery) -> Vec<(FaceId, f32)> {
    let mut all: Vec<(FaceId, f32)> = known
        .iter()
        .filter(|face| face.searchable && (query.groups.is_empty() || query.groups.iter().any(|g| g == face.group)))
        .filter(|face| query.person.is_none() || face.person == query.person)
        .map(|face| (face.id, face.embedding.cosine(&query.probe).unwrap()))
        .filter(|(_, similarity)| *similarity >= query.min_similarity)
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(query.limit);
    all
}

fn assert_same(found: &[Match], expected: &[(FaceId, f32)]) {
    let ids = |faces: &[(FaceId, f32)]| faces.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let got: Vec<(FaceId, f32)> = found.iter().map(|found| (found.face_id, found.similarity)).collect();
    assert_eq!(ids(&got), ids(expected));
    for (got, expected) in got.iter().zip(expected) {
        assert!((got.1 - expected.1).abs() < 1e-6, "{got:?} is not {expected:?}");
    }
}

async fn searches_find_what_a_look_at_every_vector_finds(f: Fixture) {
    let c = f.collection().await;
    let known = fill(&f, c).await;
    for seed in 0..40 {
        // Half of the probes are near the centres, half anywhere.
        let probe =
            Embedding::new(model(), vector(if seed % 2 == 0 { 1000 + seed / 2 } else { 5000 + seed }, 64)).unwrap();
        for limit in [1, 10, 500] {
            let plain = query(c, probe.clone(), limit);
            let in_groups = SearchQuery { groups: vec!["alternate".to_owned(), "rare".to_owned()], ..plain.clone() };
            let of_person = SearchQuery { person: known[seed as usize + 1].person, ..plain.clone() };
            let both = SearchQuery { groups: vec!["primary".to_owned()], ..of_person.clone() };
            let near = SearchQuery { min_similarity: 0.5, ..plain.clone() };
            for query in [plain, in_groups, of_person, both, near] {
                let result = f.store.search(&query).await.unwrap();
                assert_eq!(result.searched, FACES);
                assert_same(&result.matches, &expected(&known, &query));
            }
        }
    }
    let nothing = f.store.search(&SearchQuery { groups: vec!["none".to_owned()], ..query(c, embedding(1), 5) }).await;
    assert!(nothing.unwrap().matches.is_empty());
    is_invalid(f.store.search(&query(c, embedding(1), 0)).await);

    let f = f.reopen().await;
    let query = SearchQuery { groups: vec!["primary".to_owned()], ..query(c, embedding(1), 10) };
    assert_same(&f.store.search(&query).await.unwrap().matches, &expected(&known, &query));
    f.assert_sound().await;
}

async fn equal_similarities_come_in_the_order_of_identifiers(f: Fixture) {
    let c = f.collection().await;
    let mut ids = Vec::new();
    for i in 0..30 {
        ids.push(f.enroll(c, NewFace { embeddings: vec![embedding(1)], ..face(i) }).await.face.id);
    }
    let found = f.store.search(&query(c, embedding(1), 30)).await.unwrap().matches;
    assert_eq!(found.iter().map(|found| found.face_id).collect::<Vec<_>>(), ids);
    if !f.is_postgres() {
        // Of more equal ones than asked for, the first; an index gives some.
        let found = f.store.search(&query(c, embedding(1), 7)).await.unwrap().matches;
        assert_eq!(found.iter().map(|found| found.face_id).collect::<Vec<_>>(), ids[..7]);
    }
}

async fn matches_name_their_person(f: Fixture) {
    let c = f.collection().await;
    let enrolled = f.enroll(c, face_of("anna", 1)).await;
    f.enroll(c, face(2)).await;
    let found = f.store.search(&query(c, embedding(1), 2)).await.unwrap().matches;
    assert_eq!((found[0].face_id, found[0].similarity), (enrolled.face.id, 1.0));
    assert_eq!((found[0].face_group.as_str(), &found[0].metadata), ("primary", &enrolled.face.metadata));
    let (anna, matched) = (enrolled.person.unwrap(), found[0].person.clone().unwrap());
    assert_eq!((matched.id, matched.external_id, matched.name), (anna.id, anna.external_id, anna.name));
    assert_eq!(found[1].person, None);
}

async fn models_and_dimensions_are_never_compared(f: Fixture) {
    let c = f.collection().await;
    let vector = vector(1, 64);
    let of = |name: &str, version: &str, n: usize| {
        Embedding::new(ModelId::new(name, version), vector[..n].to_vec()).unwrap()
    };
    for (i, embedding) in
        [of("a", "1", 64), of("a", "2", 64), of("b", "1", 64), of("a", "1", 32)].into_iter().enumerate()
    {
        f.enroll(c, NewFace { embeddings: vec![embedding], metadata: i.into(), ..face(i as u64) }).await;
    }
    for (i, probe) in [of("a", "1", 64), of("a", "2", 64), of("b", "1", 64), of("a", "1", 32)].into_iter().enumerate() {
        let result = f.store.search(&query(c, probe, 10)).await.unwrap();
        assert_eq!((result.searched, result.matches.len()), (1, 1));
        assert_eq!(result.matches[0].metadata, i);
    }
    let unknown = f.store.search(&query(c, of("c", "1", 64), 10)).await.unwrap();
    assert_eq!((unknown.searched, unknown.matches.len()), (0, 0));
}

async fn the_threshold_leaves_out_what_is_below(f: Fixture) {
    let c = f.collection().await;
    let direction = |x: f32, y: f32| Embedding::new(model(), vec![x, y]).unwrap();
    for (i, (x, y)) in [(1.0, 0.0), (3.0, 4.0), (0.0, 1.0), (-1.0, 0.0)].into_iter().enumerate() {
        f.enroll(c, NewFace { embeddings: vec![direction(x, y)], metadata: i.into(), ..face(i as u64) }).await;
    }
    for (least, expected) in [(-1.0, 4), (-0.5, 3), (0.6, 2), (0.61, 1), (1.0, 1)] {
        let query = SearchQuery { min_similarity: least, ..query(c, direction(1.0, 0.0), 10) };
        assert_eq!(f.store.search(&query).await.unwrap().matches.len(), expected, "{least}");
    }
}

async fn changes_show_in_the_next_search(f: Fixture) {
    let c = f.collection().await;
    let id = f.enroll(c, face(1)).await.face.id;
    let anna = f.store.create_person(&Write::system(), c, person("anna")).await.unwrap().value.id;
    let found = |query: SearchQuery| {
        let store = Arc::clone(&f.store);
        async move { store.search(&query).await.unwrap().matches.len() }
    };
    let change = |change: FaceChange| {
        let store = Arc::clone(&f.store);
        async move { store.update_face(&Write::system(), c, id, change).await.unwrap() }
    };
    let plain = query(c, embedding(1), 5);
    let group = SearchQuery { groups: vec!["other".to_owned()], ..plain.clone() };
    let of_anna = SearchQuery { person: Some(anna), ..plain.clone() };
    assert_eq!((found(plain.clone()).await, found(group.clone()).await, found(of_anna.clone()).await), (1, 0, 0));
    change(FaceChange { face_group: Some("other".to_owned()), person: Some(anna), ..FaceChange::default() }).await;
    assert_eq!((found(plain.clone()).await, found(group.clone()).await, found(of_anna.clone()).await), (1, 1, 1));
    change(FaceChange { searchable: Some(false), ..FaceChange::default() }).await;
    assert_eq!((found(plain.clone()).await, found(group.clone()).await, found(of_anna.clone()).await), (0, 0, 0));
    change(FaceChange { searchable: Some(true), ..FaceChange::default() }).await;
    assert_eq!((found(plain.clone()).await, found(group.clone()).await, found(of_anna.clone()).await), (1, 1, 1));
    f.store.put_embedding(c, id, &embedding(2)).await.unwrap();
    assert_eq!(f.store.search(&query(c, embedding(2), 1)).await.unwrap().matches[0].similarity, 1.0);
    assert!(f.store.search(&plain).await.unwrap().matches[0].similarity < 0.9);
    f.store.delete_face(&Write::system(), c, id).await.unwrap();
    assert_eq!(found(plain).await, 0);
}

async fn an_acknowledged_face_is_found_while_others_come_and_go(f: Fixture) {
    let c = f.collection().await;
    let stop = Arc::new(AtomicBool::new(false));
    // Faces that are more like the probe than the one that must be found second.
    let stirring = {
        let (store, stop): (Arc<dyn Store>, _) = (Arc::clone(&f.store), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut i = 1000;
            while !stop.load(Ordering::Relaxed) {
                let new = NewFace { embeddings: vec![embedding(7)], ..face(i) };
                let id = store.enroll(&Write::system(), c, new).await.unwrap().value.face.id;
                store.delete_face(&Write::system(), c, id).await.unwrap();
                i += 1;
            }
            i
        })
    };
    for i in 0..40 {
        let near: Vec<f32> = vector(7, 64).iter().zip(vector(i, 64)).map(|(a, b)| a + 0.1 * b).collect();
        let near = Embedding::new(model(), near).unwrap();
        let id = f.enroll(c, NewFace { embeddings: vec![near], ..face(i) }).await.face.id;
        let found = f.store.search(&query(c, embedding(7), 60)).await.unwrap().matches;
        assert!(found.iter().any(|found| found.face_id == id), "face {i} is not found");
        assert!(found.len() as u64 > i, "face {i}: only {} are found", found.len());
    }
    stop.store(true, Ordering::Relaxed);
    assert!(stirring.await.unwrap() > 1001);
    f.assert_sound().await;
}

async fn rare_groups_are_found_among_many_faces(f: Fixture) {
    let c = f.collection().await;
    // The rare one is the least like the probe.
    let probe = Embedding::new(model(), vec![1.0; 64]).unwrap();
    for i in 0..200 {
        let near: Vec<f32> = vector(i, 64).iter().map(|x| 1.0 + 0.1 * x).collect();
        f.enroll(c, NewFace { embeddings: vec![Embedding::new(model(), near).unwrap()], ..face(i) }).await;
    }
    let far = Embedding::new(model(), vec![-1.0; 64]).unwrap();
    let new = NewFace { embeddings: vec![far], face_group: "rare".to_owned(), ..face(999) };
    let rare = f.enroll(c, new).await.face.id;
    let found = f.store.search(&SearchQuery { groups: vec!["rare".to_owned()], ..query(c, probe, 5) }).await;
    let found: Result<Vec<FaceId>, StoreError> = found.map(|r| r.matches.iter().map(|found| found.face_id).collect());
    assert_eq!(found.unwrap(), [rare]);
}
