//! Signatures of tokens: HMAC with SHA-256 (HS256, RFC 7518) and nothing else. The library's own choice brings RSA and elliptic
//! curves along, which no token here is signed with, and one of which has a known weakness without a remedy (RUSTSEC-2023-0071).

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Signer, Verifier},
};
use sha2::Sha256;

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: NO_KEYS };

/// Keys that are no secrets are not read: no answer here names any.
const NO_KEYS: KeyUtils = KeyUtils {
    rsa_pub_components_from_private_key: |_| Err(other()),
    rsa_pub_components_from_public_key: |_| Err(other()),
    ec_pub_components_from_private_key: |_, _| Err(other()),
    ed_pub_components_from_private_key: |_, _| Err(other()),
    compute_digest: |_, _| Err(other()),
};

/// Makes it what tokens of this process are signed and checked with.
pub fn install() {
    // Of several calls the first counts; all of them bring the same.
    let _ = PROVIDER.install_default();
}

struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, Error> {
        if algorithm != Algorithm::HS256 {
            return Err(other());
        }
        Hmac::new_from_slice(key).map(Self).map_err(|_| ErrorKind::InvalidKeyFormat.into())
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Ok(Box::new(Hs256::new(*algorithm, key.as_bytes())?))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    Ok(Box::new(Hs256::new(*algorithm, key.try_get_as_bytes()?)?))
}

fn other() -> Error {
    ErrorKind::InvalidAlgorithm.into()
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        // In constant time.
        self.0.clone().chain_update(message).verify_slice(signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

/// A token that somebody else signed, with whatever algorithm of the family.
#[cfg(test)]
pub fn forged(claims: &serde_json::Value, algorithm: Algorithm, secret: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
    use sha2::{Sha384, Sha512};

    let header = serde_json::json!({ "typ": "JWT", "alg": algorithm });
    let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    fn mac<M: Mac + KeyInit>(secret: &[u8], message: &str) -> Vec<u8> {
        let mac = <M as KeyInit>::new_from_slice(secret).unwrap();
        mac.chain_update(message).finalize().into_bytes().to_vec()
    }
    let signature = match algorithm {
        Algorithm::HS256 => mac::<Hmac<Sha256>>(secret, &signed),
        Algorithm::HS384 => mac::<Hmac<Sha384>>(secret, &signed),
        Algorithm::HS512 => mac::<Hmac<Sha512>>(secret, &signed),
        other => panic!("{other:?}"),
    };
    format!("{signed}.{}", BASE64.encode(signature))
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use jsonwebtoken::crypto::{sign, verify};

    use super::*;

    /// Appendix A.1 of RFC 7515.
    #[test]
    fn signs_as_the_standard_says_and_knows_nothing_else() {
        install();
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = BASE64_URL_SAFE_NO_PAD.decode(key).unwrap();
        let (signing, checking) = (EncodingKey::from_secret(&key), DecodingKey::from_secret(&key));
        let message =
            b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6\
                        Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(sign(message, &signing, Algorithm::HS256).unwrap(), signature);
        assert!(verify(signature, message, &checking, Algorithm::HS256).unwrap());
        assert!(!verify(signature, b"another message", &checking, Algorithm::HS256).unwrap());
        for other in [Algorithm::HS384, Algorithm::HS512, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
            assert!(sign(message, &signing, other).is_err() && verify(signature, message, &checking, other).is_err());
        }
    }
}
