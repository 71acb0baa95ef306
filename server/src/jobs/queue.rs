//! What requests and the worker share: news of a job, and the folder of archives that wait for theirs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use facesocial_outbound::Client;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Lane, import::ArchiveLimits};
use crate::config::{Config, JobConfig};

/// Archives that may wait at a time.
const MAX_WAITING: usize = 16;

/// What requests and the worker share.
#[derive(Debug)]
pub struct JobQueue {
    news: [Notify; Lane::ALL.len()],
    ends: Notify,
    config: JobConfig,
    client: OnceLock<Client>,
    folder: PathBuf,
    archive_bytes: u64,
    limits: ArchiveLimits,
}

impl JobQueue {
    /// Archives are kept below the data folder until their job ends.
    pub fn new(config: &Config) -> Self {
        let photo_bytes = config.limits.image_bytes as u64;
        Self::of(&config.store.data_dir, config.upkeep.import_bytes, photo_bytes, config.jobs.clone())
    }

    fn of(data_dir: &Path, archive_bytes: u64, photo_bytes: u64, config: JobConfig) -> Self {
        Self {
            news: Default::default(),
            ends: Notify::new(),
            config,
            client: OnceLock::new(),
            folder: data_dir.join("imports"),
            archive_bytes,
            limits: ArchiveLimits::new(archive_bytes, photo_bytes),
        }
    }

    /// Tells the workers that there is a job.
    pub(super) fn announce(&self) {
        self.news.iter().for_each(Notify::notify_one);
    }

    /// Waits until somebody announces a job.
    pub(super) async fn announced(&self, lane: Lane) {
        self.news[lane as usize].notified().await;
    }

    /// Tells that a job has ended, and somebody may have to be told.
    pub(super) fn announce_end(&self) {
        self.ends.notify_one();
    }

    /// Waits until a job ends here.
    pub(super) async fn ended(&self) {
        self.ends.notified().await;
    }

    /// Where jobs may take photos from, and whom they may tell.
    pub(super) fn config(&self) -> &JobConfig {
        &self.config
    }

    /// Asks listed hosts. The first call reads the system's certificates: away from threads that answer.
    pub(super) fn client(&self) -> &Client {
        self.client.get_or_init(Client::new)
    }

    /// Most bytes of an archive.
    pub(super) fn archive_bytes(&self) -> u64 {
        self.archive_bytes
    }

    /// What an archive may hold.
    pub(super) fn limits(&self) -> ArchiveLimits {
        self.limits
    }

    /// Where an archive lies.
    pub(super) fn archive(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{}.zip", id.simple()))
    }

    /// Forgets an archive.
    pub(super) fn remove_archive(&self, id: Uuid) {
        match fs::remove_file(self.archive(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "an archive whose job has ended cannot be removed from the data folder");
            }
            _ => {}
        }
    }

    /// Makes the folder, readable for this user alone. Tells whether another archive may be put into it.
    pub(super) fn has_room(&self) -> io::Result<bool> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.folder)?;
        Ok(self.archives()?.len() < MAX_WAITING)
    }

    /// The archives, with the time of their last change.
    pub(super) fn archives(&self) -> io::Result<Vec<(Uuid, SystemTime)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            let id = path.file_stem().and_then(|s| s.to_str()?.parse::<Uuid>().ok());
            let zip = path.extension().is_some_and(|e| e == "zip");
            if let (Some(id), true) = (id, zip) {
                found.push((id, entry.metadata()?.modified()?));
            }
        }
        Ok(found)
    }

    /// Forgets archives that are older than `age` and none of `wanted`: their server ended while they arrived.
    pub(super) fn remove_orphans(&self, wanted: &[Uuid], age: Duration) -> io::Result<usize> {
        let now = SystemTime::now();
        let old = |time: &SystemTime| now.duration_since(*time).is_ok_and(|passed| passed > age);
        let orphans: Vec<Uuid> = self
            .archives()?
            .into_iter()
            .filter(|(id, time)| !wanted.contains(id) && old(time))
            .map(|(id, _)| id)
            .collect();
        orphans.iter().for_each(|id| self.remove_archive(*id));
        Ok(orphans.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_without_a_job_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let queue = JobQueue::of(folder.path(), 1000, 100, JobConfig::default());
        assert!(queue.archives().unwrap().is_empty());
        assert!(queue.has_room().unwrap());
        let [wanted, orphan] = [Uuid::now_v7(), Uuid::now_v7()];
        for id in [wanted, orphan] {
            fs::write(queue.archive(id), "x").unwrap();
        }
        fs::write(folder.path().join("imports/notes.txt"), "x").unwrap();
        assert_eq!(queue.remove_orphans(&[wanted], Duration::from_secs(3600)).unwrap(), 0);
        assert_eq!(queue.remove_orphans(&[wanted], Duration::ZERO).unwrap(), 1);
        assert!(queue.archive(wanted).exists() && !queue.archive(orphan).exists());
        assert!(folder.path().join("imports/notes.txt").exists());
        for _ in 0..MAX_WAITING {
            fs::write(queue.archive(Uuid::now_v7()), "x").unwrap();
        }
        assert!(!queue.has_room().unwrap());
    }
}
