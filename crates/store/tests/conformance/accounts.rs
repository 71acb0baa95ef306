//! Accounts, keys, logins.

use std::{collections::BTreeSet, sync::Arc};

use facesocial_store::{
    Actor, ActorKind, ApiKey, CollectionId, Idempotency, LoginId, NewApiKey, NewCollection, NewRefreshToken, NewUser,
    PageRequest, Role, Rotation, Store, StoreError, User, UserChange, UserId, Write,
};
use time::{Duration, OffsetDateTime};

use crate::backend::{Fixture, is_invalid, is_not_found, is_taken};

conformance!(
    an_account_is_read_as_it_was_made,
    names_and_addresses_are_unique_whatever_their_case,
    at_once_a_name_is_taken_once,
    servers_that_start_at_once_make_one_first_account,
    accounts_come_in_pages_in_the_order_of_making,
    a_change_leaves_the_rest_and_ends_logins_where_it_must,
    the_last_administrator_stays,
    of_two_administrators_that_go_at_once_one_stays,
    deleting_an_account_takes_its_keys_and_logins,
    a_repeated_change_of_accounts_gives_the_first_answer,
    a_key_works_until_it_or_its_user_ends,
    the_use_of_a_key_is_noted_to_the_minute,
    keys_are_listed_of_one_user_or_all,
    a_refresh_token_serves_once,
    a_refresh_token_expires,
    of_two_uses_at_once_one_rotates_and_one_ends_the_login,
    a_login_that_ends_while_it_is_renewed_has_ended,
    logins_end_one_by_one_or_all,
    what_concerns_accounts_is_audited_without_secrets,
);

fn system() -> Write {
    Write::system()
}

fn new_user(name: &str, role: Role) -> NewUser {
    NewUser {
        username: name.to_owned(),
        email: Some(format!("{name}@example.org")),
        password_hash: format!("$argon2id$of-{name}"),
        first_name: "First".to_owned(),
        last_name: "Last".to_owned(),
        role,
        collections: Vec::new(),
    }
}

async fn user(store: &dyn Store, name: &str, role: Role) -> User {
    store.create_user(&system(), new_user(name, role)).await.unwrap().value
}

fn token(user: UserId, login: LoginId, hash: &str) -> NewRefreshToken {
    NewRefreshToken {
        login_id: login,
        user_id: user,
        token_hash: hash.to_owned(),
        expires_at: OffsetDateTime::now_utc() + Duration::days(30),
    }
}

async fn login(store: &dyn Store, user: UserId, hash: &str) -> LoginId {
    let login = LoginId::new();
    store.start_login(&system(), token(user, login, hash)).await.unwrap();
    login
}

async fn rotate(store: &dyn Store, old: &str, new: &str) -> Rotation {
    // The login and the account of the next token are those of the old one, whatever is given.
    let next = token(UserId::new(), LoginId::new(), new);
    store.rotate_refresh_token(&system(), old, next, OffsetDateTime::now_utc()).await.unwrap()
}

async fn actions(store: &dyn Store) -> Vec<String> {
    let trail = store.audit_trail(PageRequest::first(1000)).await.unwrap();
    trail.items.into_iter().map(|entry| entry.action).collect()
}

async fn an_account_is_read_as_it_was_made(f: Fixture) {
    let store = &*f.store;
    assert_eq!(store.count_users().await.unwrap(), 0, "no account comes with the schema");
    let collection = store
        .create_collection(&system(), NewCollection { name: "bound".to_owned(), description: String::new() })
        .await
        .unwrap()
        .value;
    let new = NewUser { collections: vec![collection.id], ..new_user("Alice", Role::Operator) };
    let made = store.create_user(&system(), new).await.unwrap();
    assert!(!made.replayed);
    let made = made.value;
    assert_eq!(store.user(made.id).await.unwrap(), made);
    assert_eq!(
        (made.username.as_str(), made.role, made.is_active, made.is_verified),
        ("Alice", Role::Operator, true, false)
    );
    assert_eq!(made.collections, [collection.id]);
    assert_eq!(store.count_users().await.unwrap(), 1);

    for login in ["Alice", "ALICE", "alice", "Alice@Example.ORG"] {
        let credentials = store.credentials(login).await.unwrap();
        assert_eq!(credentials.user, made, "{login}");
        assert_eq!(credentials.password_hash, "$argon2id$of-Alice");
    }
    is_not_found(store.credentials("bob").await, "user");
    is_not_found(store.credentials("a\0b").await, "user");
    is_not_found(store.credentials("").await, "user");
    is_not_found(store.credentials(&"x".repeat(10_000)).await, "user");
    is_not_found(store.credentials("' OR 1=1 --").await, "user");
    is_not_found(store.user(UserId::new()).await, "user");
}

async fn names_and_addresses_are_unique_whatever_their_case(f: Fixture) {
    let store = &*f.store;
    let alice = user(store, "alice", Role::User).await;
    let bob = user(store, "bob", Role::User).await;
    let with =
        |name: &str, email: Option<&str>| NewUser { email: email.map(str::to_owned), ..new_user(name, Role::User) };
    is_taken(store.create_user(&system(), with("ALICE", None)).await, "username");
    is_taken(store.create_user(&system(), with("carol", Some("Alice@EXAMPLE.org"))).await, "email");
    // Neither may be what the other is called by: a login names its account by either.
    is_taken(store.create_user(&system(), with("alice@example.org", None)).await, "username");
    is_taken(store.create_user(&system(), with("carol", Some("Bob"))).await, "email");
    // The whole of Unicode, not only what SQLite folds by itself.
    store.create_user(&system(), with("Ärger", None)).await.unwrap();
    is_taken(store.create_user(&system(), with("äRGER", None)).await, "username");
    // Several may have no address.
    store.create_user(&system(), with("nomail", None)).await.unwrap();

    let change = |email: &str| UserChange { email: Some(email.to_owned()), ..UserChange::default() };
    is_taken(store.update_user(&system(), bob.id, change("ALICE@example.org")).await, "email");
    is_taken(store.update_user(&system(), bob.id, change("alice")).await, "email");
    // One's own is not taken.
    let changed = store.update_user(&system(), bob.id, change("BOB@example.org")).await.unwrap().value;
    assert_eq!(changed.email.as_deref(), Some("BOB@example.org"));
    let emptied = store.update_user(&system(), bob.id, change("")).await.unwrap().value;
    assert_eq!(emptied.email, None);
    assert_eq!(store.user(alice.id).await.unwrap(), alice);

    let rejected = [
        with("", None),
        with("a\0b", None),
        with(&"x".repeat(10_000), None),
        with("dave", Some("d\0@example.org")),
        NewUser { first_name: "\0".to_owned(), ..new_user("dave", Role::User) },
        NewUser { last_name: "x".repeat(10_000), ..new_user("dave", Role::User) },
    ];
    for new in rejected {
        is_invalid(store.create_user(&system(), new).await);
    }
    is_not_found(
        store
            .create_user(&system(), NewUser { collections: vec![CollectionId::new()], ..new_user("dave", Role::User) })
            .await,
        "collection",
    );
    is_not_found(store.credentials("dave").await, "user");
}

async fn at_once_a_name_is_taken_once(f: Fixture) {
    let mut tasks = Vec::new();
    for i in 0..8 {
        let store = Arc::clone(&f.store);
        let new = NewUser { email: None, ..new_user(if i % 2 == 0 { "Same" } else { "sAME" }, Role::User) };
        tasks.push(tokio::spawn(async move { store.create_user(&Write::system(), new).await }));
    }
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => {
                is_taken::<()>(Err(error), "username");
            }
        }
    }
    assert_eq!(made, 1);
}

async fn servers_that_start_at_once_make_one_first_account(f: Fixture) {
    let mut tasks = Vec::new();
    for i in 0..6 {
        let store = Arc::clone(&f.store);
        let new = new_user(&format!("admin{i}"), Role::Admin);
        tasks.push(tokio::spawn(async move { store.create_first_user(&Write::system(), new).await }));
    }
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => {
                is_taken::<()>(Err(error), "first account");
            }
        }
    }
    assert_eq!(made, 1);
    assert_eq!(f.store.count_users().await.unwrap(), 1);
}

async fn accounts_come_in_pages_in_the_order_of_making(f: Fixture) {
    let store = &*f.store;
    let mut made = Vec::new();
    for i in 0..5 {
        made.push(user(store, &format!("user{i}"), Role::User).await);
    }
    let first = store.users(PageRequest::first(2)).await.unwrap();
    assert_eq!(first.items, made[..2]);
    assert_eq!(first.next, Some(made[1].id.0));
    let second = store.users(PageRequest { after: first.next, limit: 3 }).await.unwrap();
    assert_eq!(second.items, made[2..]);
    assert_eq!(second.next, None, "exactly the rest is the last page");
}

async fn a_change_leaves_the_rest_and_ends_logins_where_it_must(f: Fixture) {
    let store = &*f.store;
    user(store, "admin", Role::Admin).await;
    let made = user(store, "alice", Role::User).await;
    let kept = login(store, made.id, "a").await;
    let change =
        UserChange { first_name: Some("Other".to_owned()), role: Some(Role::ReadOnly), ..UserChange::default() };
    let changed = store.update_user(&system(), made.id, change).await.unwrap().value;
    assert_eq!(store.user(made.id).await.unwrap(), changed);
    assert!(changed.updated_at > made.updated_at);
    let expected =
        User { first_name: "Other".to_owned(), role: Role::ReadOnly, updated_at: changed.updated_at, ..made.clone() };
    assert_eq!(changed, expected);
    assert!(store.login_active(kept).await.unwrap(), "a name ends no login");

    let password = UserChange { password_hash: Some("$new".to_owned()), ..UserChange::default() };
    store.update_user(&system(), made.id, password).await.unwrap();
    assert!(!store.login_active(kept).await.unwrap(), "a new password ends logins");
    assert_eq!(store.credentials("alice").await.unwrap().password_hash, "$new");
    assert_eq!(rotate(store, "a", "a2").await, Rotation::Refused);

    let other = login(store, made.id, "b").await;
    let off = UserChange { is_active: Some(false), ..UserChange::default() };
    store.update_user(&system(), made.id, off).await.unwrap();
    assert!(!store.login_active(other).await.unwrap());
    assert_eq!(rotate(store, "b", "b2").await, Rotation::Refused);
    is_invalid(store.start_login(&system(), token(made.id, LoginId::new(), "c")).await);
    let on = UserChange { is_active: Some(true), ..UserChange::default() };
    assert!(store.update_user(&system(), made.id, on).await.unwrap().value.is_active);
    assert!(!store.login_active(other).await.unwrap(), "what has ended does not come back");

    is_not_found(store.update_user(&system(), UserId::new(), UserChange::default()).await, "user");
    let nowhere = UserChange { collections: Some(vec![CollectionId::new()]), ..UserChange::default() };
    is_not_found(store.update_user(&system(), made.id, nowhere).await, "collection");
}

async fn the_last_administrator_stays(f: Fixture) {
    let store = &*f.store;
    let admin = user(store, "admin", Role::Admin).await;
    let other = user(store, "other", Role::User).await;
    let demoted = || UserChange { role: Some(Role::Operator), ..UserChange::default() };
    let off = || UserChange { is_active: Some(false), ..UserChange::default() };
    for reason in [
        is_invalid(store.update_user(&system(), admin.id, demoted()).await),
        is_invalid(store.update_user(&system(), admin.id, off()).await),
        is_invalid(store.delete_user(&system(), admin.id).await),
    ] {
        assert!(reason.contains("last active administrator"), "{reason}");
    }
    // Changes of others, and harmless ones, pass.
    store.update_user(&system(), other.id, off()).await.unwrap();
    let name = UserChange { first_name: Some("A".to_owned()), role: Some(Role::Admin), ..UserChange::default() };
    store.update_user(&system(), admin.id, name).await.unwrap();

    // An inactive administrator does not count.
    let promoted = UserChange { role: Some(Role::Admin), ..UserChange::default() };
    store.update_user(&system(), other.id, promoted).await.unwrap();
    is_invalid(store.delete_user(&system(), admin.id).await);
    let on = UserChange { is_active: Some(true), ..UserChange::default() };
    store.update_user(&system(), other.id, on).await.unwrap();
    store.delete_user(&system(), admin.id).await.unwrap();
    is_not_found(store.user(admin.id).await, "user");
    is_invalid(store.delete_user(&system(), other.id).await);
}

async fn of_two_administrators_that_go_at_once_one_stays(f: Fixture) {
    let mut one = user(&*f.store, "one", Role::Admin).await.id;
    let mut two = user(&*f.store, "two", Role::Admin).await.id;
    for round in 0..8 {
        let going = |id: UserId| {
            let store = Arc::clone(&f.store);
            tokio::spawn(async move {
                let demoted = UserChange { role: Some(Role::User), ..UserChange::default() };
                let off = UserChange { is_active: Some(false), ..UserChange::default() };
                match round % 3 {
                    0 => store.update_user(&Write::system(), id, demoted).await.map(|_| ()),
                    1 => store.update_user(&Write::system(), id, off).await.map(|_| ()),
                    _ => store.delete_user(&Write::system(), id).await.map(|_| ()),
                }
            })
        };
        let (first, second) = (going(one), going(two));
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        let (stayed, refusal) = match (first, second) {
            (Ok(()), Err(error)) => (two, error),
            (Err(error), Ok(())) => (one, error),
            other => panic!("one of the two should stay: {other:?}"),
        };
        assert!(matches!(refusal, StoreError::Invalid(_)), "{refusal:?}");
        one = stayed;
        two = user(&*f.store, &format!("next{round}"), Role::Admin).await.id;
    }
}

async fn deleting_an_account_takes_its_keys_and_logins(f: Fixture) {
    let store = &*f.store;
    user(store, "admin", Role::Admin).await;
    let alice = user(store, "alice", Role::User).await;
    let login = login(store, alice.id, "t").await;
    let key = key(store, alice.id, "h").await;
    let usage = facesocial_store::NewApiUsage {
        endpoint: "/x".to_owned(),
        method: "GET".to_owned(),
        actor: Actor { kind: ActorKind::ApiKey, id: Some(key.id.0), address: Some("192.0.2.1".to_owned()) },
        request_size_bytes: 1,
        response_size_bytes: 2,
        response_status: 200,
        processing_time_ms: 3,
    };
    store.add_api_usage(&[usage]).await.unwrap();
    store.delete_user(&system(), alice.id).await.unwrap();
    is_not_found(store.user(alice.id).await, "user");
    is_not_found(store.api_key(key.id).await, "api_key");
    assert!(store.api_key_by_hash("h", OffsetDateTime::now_utc()).await.unwrap().is_none());
    assert!(!store.login_active(login).await.unwrap());
    assert_eq!(rotate(store, "t", "t2").await, Rotation::Refused);
    is_not_found(store.delete_user(&system(), alice.id).await, "user");
    // The name is free again.
    user(store, "alice", Role::User).await;
}

async fn a_repeated_change_of_accounts_gives_the_first_answer(f: Fixture) {
    let store = &*f.store;
    user(store, "admin", Role::Admin).await;
    let write = |key: &str, fingerprint: &str| Write {
        idempotency: Some(Idempotency { key: key.to_owned(), fingerprint: fingerprint.to_owned() }),
        ..Write::system()
    };
    let first = store.create_user(&write("k1", "f1"), new_user("alice", Role::User)).await.unwrap();
    let again = store.create_user(&write("k1", "f1"), new_user("alice", Role::User)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.value, first.value);
    let other = store.create_user(&write("k1", "f2"), new_user("bob", Role::User)).await;
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    is_not_found(store.credentials("bob").await, "user");

    store.delete_user(&write("k2", "f"), first.value.id).await.unwrap();
    assert!(store.delete_user(&write("k2", "f"), first.value.id).await.unwrap().replayed);
    // The recorded answer told of the account, and went with it.
    is_not_found(store.create_user(&write("k1", "f1"), new_user("alice", Role::User)).await, "user");
}

async fn key(store: &dyn Store, user: UserId, hash: &str) -> ApiKey {
    store.create_api_key(&system(), new_key(user, hash)).await.unwrap().value
}

fn new_key(user: UserId, hash: &str) -> NewApiKey {
    NewApiKey {
        name: "importer".to_owned(),
        prefix: "fs_1234".to_owned(),
        key_hash: hash.to_owned(),
        user_id: user,
        scopes: vec!["search".to_owned(), "gallery:read".to_owned()],
        collections: Vec::new(),
        expires_at: None,
    }
}

async fn a_key_works_until_it_or_its_user_ends(f: Fixture) {
    let store = &*f.store;
    user(store, "admin", Role::Admin).await;
    let alice = user(store, "alice", Role::User).await;
    let now = OffsetDateTime::now_utc();
    let made = key(store, alice.id, "h1").await;
    assert_eq!(store.api_key(made.id).await.unwrap(), made);
    assert_eq!(made.scopes, ["search", "gallery:read"]);
    let (found, owner) = store.api_key_by_hash("h1", now).await.unwrap().unwrap();
    assert_eq!((found.id, owner.id), (made.id, alice.id));
    for wrong in ["h2", "", "h\0", "' OR ''='"] {
        assert!(store.api_key_by_hash(wrong, now).await.unwrap().is_none());
    }

    let short = NewApiKey { expires_at: Some(now + Duration::minutes(5)), ..new_key(alice.id, "h3") };
    store.create_api_key(&system(), short).await.unwrap();
    assert!(store.api_key_by_hash("h3", now).await.unwrap().is_some());
    assert!(store.api_key_by_hash("h3", now + Duration::minutes(5)).await.unwrap().is_none());

    let off = UserChange { is_active: Some(false), ..UserChange::default() };
    store.update_user(&system(), alice.id, off).await.unwrap();
    assert!(store.api_key_by_hash("h1", now).await.unwrap().is_none());
    let on = UserChange { is_active: Some(true), ..UserChange::default() };
    store.update_user(&system(), alice.id, on).await.unwrap();
    assert!(store.api_key_by_hash("h1", now).await.unwrap().is_some());

    let revoked = store.revoke_api_key(&system(), made.id).await.unwrap().value;
    let at = revoked.revoked_at.unwrap();
    assert!(store.api_key_by_hash("h1", now).await.unwrap().is_none());
    let again = store.revoke_api_key(&system(), made.id).await.unwrap().value;
    assert_eq!(again.revoked_at, Some(at), "the first end counts");

    is_not_found(store.api_key(facesocial_store::ApiKeyId::new()).await, "api_key");
    is_not_found(store.revoke_api_key(&system(), facesocial_store::ApiKeyId::new()).await, "api_key");
    is_not_found(store.create_api_key(&system(), new_key(UserId::new(), "h4")).await, "user");
    is_taken(store.create_api_key(&system(), new_key(alice.id, "h1")).await, "key");
    let nowhere = NewApiKey { collections: vec![CollectionId::new()], ..new_key(alice.id, "h5") };
    is_not_found(store.create_api_key(&system(), nowhere).await, "collection");
    for bad in [
        NewApiKey { name: "\0".to_owned(), ..new_key(alice.id, "h6") },
        NewApiKey { scopes: vec![String::new()], ..new_key(alice.id, "h6") },
        NewApiKey { scopes: vec!["s".to_owned(); 1000], ..new_key(alice.id, "h6") },
        new_key(alice.id, ""),
    ] {
        is_invalid(store.create_api_key(&system(), bad).await);
    }
}

async fn the_use_of_a_key_is_noted_to_the_minute(f: Fixture) {
    let store = &*f.store;
    let alice = user(store, "alice", Role::User).await;
    let made = key(store, alice.id, "h").await;
    assert_eq!(made.last_used_at, None);
    let start = made.created_at + Duration::hours(1);
    let use_at = async |seconds: i64| {
        store.api_key_by_hash("h", start + Duration::seconds(seconds)).await.unwrap().unwrap().0.last_used_at
    };
    assert_eq!(use_at(0).await, Some(start));
    assert_eq!(store.api_key(made.id).await.unwrap().last_used_at, Some(start));
    assert_eq!(use_at(59).await, Some(start), "within the minute nothing is written");
    assert_eq!(use_at(60).await, Some(start + Duration::minutes(1)));
    assert_eq!(store.api_key(made.id).await.unwrap().last_used_at, Some(start + Duration::minutes(1)));
}

async fn keys_are_listed_of_one_user_or_all(f: Fixture) {
    let store = &*f.store;
    let alice = user(store, "alice", Role::User).await;
    let bob = user(store, "bob", Role::User).await;
    let first = key(store, alice.id, "1").await;
    let second = key(store, bob.id, "2").await;
    let third = key(store, alice.id, "3").await;
    let all = store.api_keys(None, PageRequest::first(2)).await.unwrap();
    assert_eq!(all.items, [first.clone(), second]);
    let rest = store.api_keys(None, PageRequest { after: all.next, limit: 2 }).await.unwrap();
    assert_eq!((rest.items, rest.next), (vec![third.clone()], None));
    assert_eq!(store.api_keys(Some(alice.id), PageRequest::first(9)).await.unwrap().items, [first, third]);
    assert!(store.api_keys(Some(UserId::new()), PageRequest::first(9)).await.unwrap().items.is_empty());
}

async fn a_refresh_token_serves_once(f: Fixture) {
    let store = &*f.store;
    let alice = user(store, "alice", Role::User).await;
    let login = login(store, alice.id, "t1").await;
    let other = self::login(store, alice.id, "o1").await;
    assert!(store.login_active(login).await.unwrap());
    assert_eq!(rotate(store, "t1", "t2").await, Rotation::Rotated(alice.clone()));
    assert_eq!(rotate(store, "t2", "t3").await, Rotation::Rotated(alice.clone()));
    assert!(store.login_active(login).await.unwrap());

    // Somebody has a copy of an older one: the whole login ends, the other does not.
    assert_eq!(rotate(store, "t1", "t4").await, Rotation::Reused(alice.id));
    assert!(!store.login_active(login).await.unwrap());
    assert_eq!(rotate(store, "t3", "t5").await, Rotation::Refused);
    assert!(store.login_active(other).await.unwrap());
    assert!(actions(store).await.contains(&"auth.refresh_reused".to_owned()));

    for unknown in ["nothing", "", "t\0", &"x".repeat(5000)] {
        assert_eq!(rotate(store, unknown, "n").await, Rotation::Refused);
    }
    assert_eq!(
        rotate(store, "o1", "o2").await,
        Rotation::Rotated(alice),
        "the new tokens of refused ones are not there"
    );
}

async fn a_refresh_token_expires(f: Fixture) {
    let store = &*f.store;
    let alice = user(store, "alice", Role::User).await;
    let now = OffsetDateTime::now_utc();
    let short = NewRefreshToken { expires_at: now + Duration::minutes(1), ..token(alice.id, LoginId::new(), "s") };
    store.start_login(&system(), short).await.unwrap();
    let next = || token(alice.id, LoginId::new(), "s2");
    let late = store.rotate_refresh_token(&system(), "s", next(), now + Duration::minutes(1)).await.unwrap();
    assert_eq!(late, Rotation::Refused);
    let early = store.rotate_refresh_token(&system(), "s", next(), now).await.unwrap();
    assert_eq!(early, Rotation::Rotated(alice));
}

async fn of_two_uses_at_once_one_rotates_and_one_ends_the_login(f: Fixture) {
    let alice = user(&*f.store, "alice", Role::User).await;
    for round in 0..10 {
        let login = login(&*f.store, alice.id, &format!("t{round}")).await;
        let using = |next: String| {
            let (store, old, id) = (Arc::clone(&f.store), format!("t{round}"), alice.id);
            tokio::spawn(async move {
                let next = token(id, LoginId::new(), &next);
                store.rotate_refresh_token(&Write::system(), &old, next, OffsetDateTime::now_utc()).await.unwrap()
            })
        };
        let (a, b) = (using(format!("a{round}")), using(format!("b{round}")));
        let results = [a.await.unwrap(), b.await.unwrap()];
        assert!(results.contains(&Rotation::Rotated(alice.clone())), "{results:?}");
        assert!(results.contains(&Rotation::Reused(alice.id)), "{results:?}");
        assert!(!f.store.login_active(login).await.unwrap());
        for next in ["a", "b"] {
            assert_eq!(
                rotate(&*f.store, &format!("{next}{round}"), &format!("{next}{round}x")).await,
                Rotation::Refused
            );
        }
    }
}

async fn a_login_that_ends_while_it_is_renewed_has_ended(f: Fixture) {
    let alice = user(&*f.store, "alice", Role::User).await;
    for round in 0..10 {
        let login = login(&*f.store, alice.id, &format!("t{round}")).await;
        let (store, id) = (Arc::clone(&f.store), alice.id);
        let renewing = tokio::spawn(async move {
            let next = token(id, LoginId::new(), &format!("n{round}"));
            store.rotate_refresh_token(&Write::system(), &format!("t{round}"), next, OffsetDateTime::now_utc()).await
        });
        let store = Arc::clone(&f.store);
        let ending = tokio::spawn(async move { store.end_logins(&Write::system(), id).await });
        renewing.await.unwrap().unwrap();
        assert_eq!(ending.await.unwrap().unwrap(), [login]);
        assert!(!f.store.login_active(login).await.unwrap());
        assert_eq!(rotate(&*f.store, &format!("n{round}"), &format!("m{round}")).await, Rotation::Refused);
    }
}

async fn logins_end_one_by_one_or_all(f: Fixture) {
    let store = &*f.store;
    let alice = user(store, "alice", Role::User).await;
    let bob = user(store, "bob", Role::User).await;
    let first = login(store, alice.id, "1").await;
    let second = login(store, alice.id, "2").await;
    let third = login(store, alice.id, "3").await;
    let theirs = login(store, bob.id, "4").await;
    store.end_login(&system(), first).await.unwrap();
    assert!(!store.login_active(first).await.unwrap());
    assert!(store.login_active(second).await.unwrap());
    store.end_login(&system(), first).await.unwrap();
    store.end_login(&system(), LoginId::new()).await.unwrap();
    let ended: BTreeSet<_> = store.end_logins(&system(), alice.id).await.unwrap().into_iter().collect();
    assert_eq!(ended, BTreeSet::from([second, third]));
    assert!(store.end_logins(&system(), alice.id).await.unwrap().is_empty());
    assert!(store.login_active(theirs).await.unwrap());
    assert!(!store.login_active(LoginId::new()).await.unwrap());

    is_not_found(store.start_login(&system(), token(UserId::new(), LoginId::new(), "5")).await, "user");
    is_taken(store.start_login(&system(), token(bob.id, theirs, "6")).await, "login");
    is_taken(store.start_login(&system(), token(bob.id, LoginId::new(), "4")).await, "refresh token of login");
    is_invalid(store.start_login(&system(), token(bob.id, LoginId::new(), "")).await);
}

async fn what_concerns_accounts_is_audited_without_secrets(f: Fixture) {
    let store = &*f.store;
    let admin = user(store, "admin", Role::Admin).await;
    let alice = user(store, "alice", Role::User).await;
    let write = Write {
        actor: Actor { kind: ActorKind::User, id: Some(admin.id.0), address: Some("192.0.2.7".to_owned()) },
        request_id: "req-1".to_owned(),
        idempotency: None,
    };
    let key = store.create_api_key(&write, new_key(alice.id, "secret-hash")).await.unwrap().value;
    store.revoke_api_key(&write, key.id).await.unwrap();
    store.start_login(&write, token(alice.id, LoginId::new(), "secret-token")).await.unwrap();
    let password = UserChange { password_hash: Some("$secret".to_owned()), ..UserChange::default() };
    store.update_user(&write, alice.id, password).await.unwrap();
    store.end_logins(&write, alice.id).await.unwrap();
    store.delete_user(&write, alice.id).await.unwrap();
    let trail = store.audit_trail(PageRequest::first(100)).await.unwrap().items;
    let mine: Vec<_> = trail.iter().filter(|entry| entry.request_id == "req-1").rev().collect();
    let actions: Vec<&str> = mine.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(
        actions,
        ["api_key.create", "api_key.revoke", "auth.login", "user.update", "auth.logout_all", "user.delete"]
    );
    for entry in mine {
        assert_eq!((entry.actor_kind.as_str(), entry.actor_id), ("user", Some(admin.id.0)));
        assert_eq!(entry.address.as_deref(), Some("192.0.2.7"));
        assert_eq!(entry.outcome, "ok");
        let written = serde_json::to_string(entry).unwrap();
        assert!(!written.contains("secret") && !written.contains("alice"), "{written}");
    }
}
