//! Sealing of vectors and images at rest: AES-256-GCM, a random nonce for each value, and the value's place as
//! associated data, so that a value moved to another row does not open.

use std::{fmt, str::FromStr};

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, Generate, KeyInit, Payload},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{Result, StoreError};

const NONCE: usize = 12;

/// A key of 32 bytes, written as 64 hex digits or as base64. Its memory is cleared when it is dropped.
#[derive(Clone)]
pub struct EncryptionKey(Zeroizing<[u8; 32]>);

/// A written key is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an encryption key is 32 bytes, written as 64 hex digits or as base64, such as `openssl rand -base64 32` gives"
)]
pub struct EncryptionKeyError;

impl EncryptionKey {
    /// A key from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Names the key without giving it away: the first 16 hex digits of a hash over it.
    pub fn id(&self) -> String {
        let digest = Sha256::new().chain_update(b"facesocial key id\0").chain_update(*self.0).finalize();
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for EncryptionKey {
    type Err = EncryptionKeyError;

    fn from_str(written: &str) -> std::result::Result<Self, Self::Err> {
        let written = written.trim();
        let bytes = if written.len() == 64 { from_hex(written) } else { from_base64(written) };
        let bytes = Zeroizing::new(bytes.ok_or(EncryptionKeyError)?);
        bytes.as_slice().try_into().map(Self::new).map_err(|_| EncryptionKeyError)
    }
}

/// The key itself is never shown.
impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", self.id())
    }
}

fn from_hex(written: &str) -> Option<Vec<u8>> {
    let digits = written.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<_>>>()?;
    Some(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// Both alphabets, with or without padding.
fn from_base64(written: &str) -> Option<Vec<u8>> {
    use base64::{
        Engine,
        alphabet::STANDARD,
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let standard = written.replace('-', "+").replace('_', "/");
    GeneralPurpose::new(&STANDARD, config).decode(standard).ok()
}

/// Seals and opens.
#[derive(Clone)]
pub(crate) struct Cipher {
    key_id: String,
    cipher: Aes256Gcm,
}

impl Cipher {
    pub(crate) fn new(key: &EncryptionKey) -> Self {
        let bytes: &[u8; 32] = &key.0;
        Self { key_id: key.id(), cipher: Aes256Gcm::new(bytes.into()) }
    }

    /// Names the key.
    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The nonce, then ciphertext and tag.
    pub(crate) fn seal(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>> {
        let nonce = Nonce::try_generate().map_err(|e| StoreError::Unavailable {
            reason: format!("the system gives no random bytes: {e}"),
            source: None,
        })?;
        let sealed = self
            .cipher
            .encrypt(&nonce, Payload { msg: plain, aad: place })
            .map_err(|_| StoreError::Invalid("the value is too large to be sealed".to_owned()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What [`seal`](Self::seal) sealed at the same place.
    pub(crate) fn open(&self, sealed: &[u8], place: &[u8]) -> Result<Vec<u8>> {
        let damaged = || StoreError::Damaged("a sealed value does not open".to_owned());
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or_else(damaged)?;
        let nonce = Nonce::try_from(nonce).map_err(|_| damaged())?;
        self.cipher.decrypt(&nonce, Payload { msg: sealed, aad: place }).map_err(|_| damaged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(byte: u8) -> Cipher {
        Cipher::new(&EncryptionKey::new([byte; 32]))
    }

    #[test]
    fn opens_what_was_sealed_at_the_same_place_by_the_same_key() {
        let sealed = cipher(1).seal(b"vector", b"face 1").unwrap();
        assert_eq!(cipher(1).open(&sealed, b"face 1").unwrap(), b"vector");
        assert!(matches!(cipher(1).open(&sealed, b"face 2"), Err(StoreError::Damaged(_))));
        assert!(matches!(cipher(2).open(&sealed, b"face 1"), Err(StoreError::Damaged(_))));
        assert!(matches!(cipher(1).open(&sealed[..5], b"face 1"), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn seals_the_same_value_differently_each_time() {
        assert_ne!(cipher(1).seal(b"vector", b"a").unwrap(), cipher(1).seal(b"vector", b"a").unwrap());
    }

    #[test]
    fn reads_keys_in_hex_and_base64() {
        let id = EncryptionKey::new([0xab; 32]).id();
        for written in ["ab".repeat(32), "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=".to_owned()] {
            assert_eq!(written.parse::<EncryptionKey>().unwrap().id(), id);
            assert_eq!(format!(" {written}\n").parse::<EncryptionKey>().unwrap().id(), id);
        }
        for bad in ["", "ab", "zz", &"zz".repeat(32), &"ab".repeat(31), &"é".repeat(32)] {
            assert_eq!(bad.parse::<EncryptionKey>().unwrap_err(), EncryptionKeyError, "{bad}");
        }
    }

    #[test]
    fn shows_no_key() {
        let shown = format!("{:?}", EncryptionKey::new([7; 32]));
        assert!(!shown.contains("07070707") && shown.starts_with("EncryptionKey("));
    }
}
