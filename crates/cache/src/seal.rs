//! How values stand in Redis: with a mark and a digest over what they belong to, so that bytes of somebody else, or an answer
//! meant for another question, are told from a value and count as not found. Against errors, not against attackers: who can
//! write into Redis can seal too.

/// Mark of this program and of the layout's version.
const MARK: [u8; 4] = *b"fsc1";
const HEADER: usize = MARK.len() + size_of::<u64>();

/// The value with its header.
pub(crate) fn seal(place: [&str; 2], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER + value.len());
    sealed.extend_from_slice(&MARK);
    sealed.extend_from_slice(&digest(place, value).to_be_bytes());
    sealed.extend_from_slice(value);
    sealed
}

/// The value, if the bytes are one that was sealed for this place.
pub(crate) fn open(place: [&str; 2], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
    let (header, value) = sealed.split_at_checked(HEADER)?;
    let (mark, digest_bytes) = header.split_at(MARK.len());
    if mark != MARK || digest_bytes != digest(place, value).to_be_bytes() {
        return None;
    }
    Some(sealed.split_off(HEADER))
}

/// FNV-1a, 64 bits. The standard library's hashes may differ between versions of the program that share a Redis.
fn digest(place: [&str; 2], value: &[u8]) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    // 0xff stands in no UTF-8, so that no two places run together.
    let place = place.into_iter().flat_map(|part| part.bytes().chain([0xff]));
    place.chain(value.iter().copied()).fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_was_sealed_for_the_same_place_only() {
        let sealed = seal(["a", "bc"], b"value");
        assert_eq!(open(["a", "bc"], sealed.clone()), Some(b"value".to_vec()));
        assert_eq!(open(["ab", "c"], sealed.clone()), None);
        assert_eq!(open(["a", "bd"], sealed.clone()), None);
        for i in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[i] ^= 1;
            assert_eq!(open(["a", "bc"], damaged), None, "byte {i}");
            assert_eq!(open(["a", "bc"], sealed[..i].to_vec()), None, "{i} bytes");
        }
        assert_eq!(open(["a", ""], seal(["a", ""], b"")), Some(Vec::new()));
    }
}
