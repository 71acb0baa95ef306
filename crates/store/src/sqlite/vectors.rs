//! Vectors as blobs: little-endian f32, sealed where the store has a key.

use crate::{
    encryption::Cipher,
    error::{Result, StoreError},
    types::FaceId,
};

/// The blob of a vector.
pub(super) fn write(cipher: Option<&Cipher>, face: FaceId, model: &str, vector: &[f32]) -> Result<Vec<u8>> {
    let plain: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    match cipher {
        Some(cipher) => cipher.seal(&plain, &place(face, model)),
        None => Ok(plain),
    }
}

/// The vector of a blob.
pub(super) fn read(
    cipher: Option<&Cipher>,
    face: FaceId,
    model: &str,
    dimension: i64,
    blob: Vec<u8>,
) -> Result<Vec<f32>> {
    let plain = match cipher {
        Some(cipher) => cipher.open(&blob, &place(face, model))?,
        None => blob,
    };
    let (values, rest) = plain.as_chunks::<4>();
    if !rest.is_empty() || i64::try_from(values.len()) != Ok(dimension) {
        return Err(StoreError::Damaged(format!(
            "the vector of face {face} by {model} has {} bytes, and {dimension} numbers are 4 each",
            plain.len()
        )));
    }
    Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Where a sealed vector belongs.
fn place(face: FaceId, model: &str) -> Vec<u8> {
    [b"embedding\0", face.0.as_bytes().as_slice(), model.as_bytes()].concat()
}
