//! What requests and the worker share: news of a job, and the folder of archives that wait for theirs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::import::ArchiveLimits;

/// Archives that may wait at a time.
const MAX_WAITING: usize = 16;

/// What requests and the worker share.
#[derive(Debug)]
pub struct JobQueue {
    news: Notify,
    folder: PathBuf,
    archive_bytes: u64,
    limits: ArchiveLimits,
}

impl JobQueue {
    /// Archives of up to `archive_bytes` with photos of up to `photo_bytes`, kept below `data_dir` until their job ends.
    pub fn new(data_dir: &Path, archive_bytes: u64, photo_bytes: u64) -> Self {
        Self {
            news: Notify::new(),
            folder: data_dir.join("imports"),
            archive_bytes,
            limits: ArchiveLimits::new(archive_bytes, photo_bytes),
        }
    }

    /// Tells the worker that there is a job.
    pub(super) fn announce(&self) {
        self.news.notify_one();
    }

    /// Waits until somebody announces a job.
    pub(super) async fn announced(&self) {
        self.news.notified().await;
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
        let queue = JobQueue::new(folder.path(), 1000, 100);
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
