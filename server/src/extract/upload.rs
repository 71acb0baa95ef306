//! A file as a client sent it, held in memory.

use facesocial_imaging::{self as imaging, Photo};
use sha2::{Digest, Sha256};

use crate::{
    config::Limits,
    error::{ApiError, ApiResult},
    extract::hex,
    state::Reservation,
};

/// Longest file name repeated to the client.
const MAX_NAME: usize = 255;

/// A file as a client sent it. Its memory counts against the server's upload memory until it is decoded.
#[derive(Debug)]
pub struct Upload {
    filename: Option<String>,
    content: ApiResult<Vec<u8>>,
    _memory: Option<Reservation>,
}

impl Upload {
    /// A file, or why it could not be taken.
    pub fn new(filename: Option<&str>, content: ApiResult<Vec<u8>>, memory: Option<Reservation>) -> Self {
        // Only what follows the last separator: some clients send the whole path on their disk.
        let name = filename.and_then(|n| n.rsplit(['/', '\\']).next());
        let filename = name.map(|n| n.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect());
        Self { filename, content, _memory: memory }
    }

    /// The name the client gave it.
    pub fn filename(&self) -> Option<&str> {
        self.filename.as_deref()
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// The file was refused while it was read.
    pub fn bytes(&self) -> ApiResult<&[u8]> {
        self.content.as_deref().map_err(Clone::clone)
    }

    /// The file with the sha256 of its bytes, hex.
    ///
    /// # Errors
    /// The file was refused while it was read.
    pub async fn digested(self) -> ApiResult<(Self, String)> {
        // A large file takes longer than a thread that answers may be held.
        let work = move || {
            let digest = hex(&Sha256::digest(self.bytes()?));
            Ok((self, digest))
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| ApiError::internal(&e))?
    }

    /// Decodes the file by its content; neither its name nor its declared type counts. Blocks: compute pool only.
    ///
    /// # Errors
    /// The file was refused while it was read, or is no image within the limits.
    pub fn decode(self, limits: &Limits) -> ApiResult<Photo> {
        let bytes = self.content?;
        let allowed = imaging::Limits::default().with_max_bytes(limits.image_bytes).with_max_pixels(limits.pixels);
        imaging::decode(&bytes, &allowed).map_err(ApiError::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_part_of_a_path_is_kept() {
        let name = |n| Upload::new(Some(n), Ok(Vec::new()), None).filename().unwrap().to_owned();
        assert_eq!(name("C:\\Users\\me\\face.jpg"), "face.jpg");
        assert_eq!(name("../../etc/passwd"), "passwd");
        assert_eq!(name("a\nb.png"), "ab.png");
    }
}
