//! The clients of the soak: accounts, the gallery as they know it, and each kind of request.

use std::{
    collections::VecDeque,
    process::Stdio,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, bail};
use serde_json::json;

use super::plan::Kind;
use crate::{
    client::{Account, Answer, Asker, How, key_of},
    photos::Photos,
    server::Start,
};

const COLLECTION: &str = "/api/v1/collections/default";
/// Ten attempts at one account, and sixty from one address, are allowed in a quarter of an hour.
const ACCOUNTS: usize = 60;
const ADDRESSES: u8 = 40;
/// Persons in the gallery before and, on average, throughout.
const GALLERY: usize = 200;
/// Everything that the load asks for.
const SCOPES: [&str; 4] = ["gallery:read", "gallery:write", "search", "analyze"];
const ADMIN: &str = "soak-admin";
const PASSWORD: &str = "a password for the soak";

/// What clients share.
pub struct World {
    asker: Asker,
    stranger: Asker,
    /// Who logs in, from addresses of their own.
    visitors: Vec<Asker>,
    accounts: Vec<Account>,
    photos: Photos,
    /// Identifiers of enrolled persons, oldest first.
    gallery: Mutex<VecDeque<String>>,
    numbers: AtomicUsize,
}

/// Makes the first account, before the server runs.
///
/// # Errors
/// The program refuses.
pub fn make_admin(start: &Start) -> anyhow::Result<()> {
    std::fs::create_dir_all(&start.folder)?;
    let password = start.folder.join("password");
    std::fs::write(&password, PASSWORD)?;
    let (data, password) = (start.data(), password.display().to_string());
    let data = data.display().to_string();
    let arguments = ["admin", "create", ADMIN, "--password-file", &password, "--data-dir", &data];
    let output = start.command(&arguments).stdin(Stdio::null()).output().context("the program cannot be started")?;
    if !output.status.success() {
        bail!("no account can be made: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

impl World {
    /// Makes accounts and fills the gallery of a running server.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn new(base: &str) -> anyhow::Result<Self> {
        let stranger = Asker::new(base)?;
        let admin = Account { username: ADMIN.to_owned(), password: PASSWORD.to_owned() };
        let login = stranger.post("/api/v1/auth/login", &admin.login(), None).await;
        let token = login.body["access_token"].as_str().with_context(|| format!("login: {}", login.label()))?;
        let by_admin = stranger.with_key(token);
        let accounts: Vec<Account> = (0..ACCOUNTS)
            .map(|n| Account { username: format!("soak-{n}"), password: format!("{PASSWORD} {n}") })
            .collect();
        for account in &accounts {
            let new = json!({ "username": account.username, "password": account.password, "role": "user" });
            let made = by_admin.post("/api/v1/users", &new, None).await;
            if !made.is(201) {
                bail!("account {}: {} {}", account.username, made.label(), made.body);
            }
        }
        let asker = stranger.with_key(key_of(&stranger, &admin, &SCOPES).await?);
        let visitors = (1..=ADDRESSES).map(|n| stranger.at_address(n)).collect::<anyhow::Result<_>>()?;
        let world = Self {
            asker,
            stranger,
            visitors,
            accounts,
            photos: Photos::new(true)?,
            gallery: Mutex::default(),
            numbers: AtomicUsize::new(0),
        };
        for _ in 0..GALLERY {
            let answer = world.ask(Kind::Enrol).await;
            if !answer.is(201) {
                bail!("the gallery cannot be filled: {} {}", answer.label(), answer.body);
            }
        }
        Ok(world)
    }

    /// Persons in the gallery, as far as answers tell.
    pub fn persons(&self) -> usize {
        self.gallery().len()
    }

    fn gallery(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.gallery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of those that are not deleted soon.
    fn somebody(&self, n: usize) -> String {
        let gallery = self.gallery();
        let newer = gallery.len().div_ceil(2).max(1);
        let at = gallery.len().saturating_sub(1 + n % newer);
        gallery.get(at).cloned().unwrap_or_default()
    }

    /// Makes one request.
    pub async fn ask(&self, kind: Kind) -> Answer {
        let n = self.numbers.fetch_add(1, Ordering::Relaxed);
        let Self { asker, photos, .. } = self;
        let in_gallery = |path: &str| format!("{COLLECTION}{path}");
        let (computed, kept) = (How::default(), How { cached: true, key: None });
        let face = || photos.faces[n % photos.faces.len()].clone();
        match kind {
            Kind::ListFaces => asker.get(&in_gallery("/faces?limit=50")).await,
            Kind::ListPersons => asker.get(&in_gallery("/persons?limit=50")).await,
            Kind::ReadPerson => asker.get(&in_gallery(&format!("/persons/{}", self.somebody(n)))).await,
            Kind::Identify => asker.photo(&in_gallery("/identify"), face(), &[("top_k", "10")], computed).await,
            Kind::Verify => {
                let person = self.somebody(n);
                asker.photo(&in_gallery("/verify"), face(), &[("person", &person)], computed).await
            }
            Kind::Enrol => {
                let (name, key) = (format!("person-{n}"), format!("enrol-{n}"));
                let how = How { key: Some(&key), cached: false };
                let fields = [("external_id", name.as_str())];
                let answer = asker.photo(&in_gallery("/faces"), photos.variant(n), &fields, how).await;
                if let (true, Some(id)) = (answer.is(201), answer.body["person"]["id"].as_str()) {
                    self.gallery().push_back(id.to_owned());
                }
                answer
            }
            Kind::Delete => {
                let oldest = self.gallery().pop_front().unwrap_or_default();
                asker.delete(&in_gallery(&format!("/persons/{oldest}"))).await
            }
            Kind::Analyze => asker.photo("/analyze/comprehensive", face(), &[], computed).await,
            Kind::AnalyzeKept => asker.photo("/analyze/comprehensive", face(), &[], kept).await,
            Kind::Detect => {
                let photo = if n.is_multiple_of(4) { &photos.no_face } else { &photos.group };
                asker.photo("/detect/faces", photo.clone(), &[], computed).await
            }
            Kind::BadImage => {
                let (_, bytes) = &photos.bad[n % photos.bad.len()];
                asker.photo("/analyze/comprehensive", bytes.clone(), &[], computed).await
            }
            Kind::TooLarge => {
                let bytes = photos.too_large[n % photos.too_large.len()].clone();
                asker.photo("/analyze/comprehensive", bytes, &[], computed).await
            }
            Kind::Huge => {
                let bytes = photos.huge[n % photos.huge.len()].clone();
                asker.photo("/detect/faces", bytes, &[], computed).await
            }
            Kind::Login => {
                let visitor = &self.visitors[n % self.visitors.len()];
                let account = &self.accounts[n % self.accounts.len()];
                visitor.post("/api/v1/auth/login", &account.login(), None).await
            }
            Kind::WrongPassword => {
                let visitor = &self.visitors[n % self.visitors.len()];
                let nobody = json!({ "username": format!("nobody-{n}"), "password": "a wrong password" });
                visitor.post("/api/v1/auth/login", &nobody, None).await
            }
            Kind::WrongToken => {
                let path = in_gallery("/faces?limit=50");
                match n % 3 {
                    0 => self.stranger.get(&path).await,
                    1 => self.stranger.with_key("fsk_00000000_this-is-no-key").get(&path).await,
                    _ => self.stranger.with_key("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.").get(&path).await,
                }
            }
        }
    }
}

/// Whether a server that works answers so.
pub fn is_expected(kind: Kind, answer: &Answer) -> bool {
    let Ok(status) = answer.status else { return false };
    match kind {
        Kind::Enrol => status == 201,
        Kind::Delete => matches!(status, 200 | 204),
        Kind::BadImage => matches!(status, 400 | 415 | 422),
        Kind::TooLarge => status == 413,
        Kind::WrongPassword | Kind::WrongToken => status == 401,
        _ => status == 200,
    }
}
