//! Frames as binary PPM, one after the other: each says its own size, and nothing is lost.

use std::io::{self, Read};

use image::RgbImage;

/// Longest header: magic, three numbers, the space around them.
const MAX_HEADER: usize = 64;

/// Reads the next frame of at most `max_pixels`; `None` at the end of the stream.
///
/// # Errors
/// The stream ends within a frame, or holds something else.
pub fn read_frame(stream: &mut impl Read, max_pixels: u64) -> io::Result<Option<RgbImage>> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let Some([width, height, depth]) = read_header(stream)? else { return Ok(None) };
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > max_pixels || depth != 255 {
        return Err(wrong(format!("a frame of {width} x {height} pixels and depth {depth} cannot be used")));
    }
    let mut pixels = vec![0; usize::try_from(pixels * 3).map_err(|e| wrong(e.to_string()))?];
    stream.read_exact(&mut pixels)?;
    RgbImage::from_raw(width, height, pixels).map(Some).ok_or_else(|| wrong("a frame of odd size".to_owned()))
}

/// Width, height and largest value: what stands between `P6` and a single white space before the pixels.
fn read_header(stream: &mut impl Read) -> io::Result<Option<[u32; 3]>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the stream holds no PPM");
    let mut header = Vec::with_capacity(MAX_HEADER);
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) if header.is_empty() => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => header.push(byte[0]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
        if header.len() > MAX_HEADER || (header.len() == 2 && header != b"P6") {
            return Err(wrong());
        }
        // The white space after the fourth word ends the header.
        let text = std::str::from_utf8(&header).map_err(|_| wrong())?;
        if text.split_ascii_whitespace().count() == 4 && text.ends_with(|c: char| c.is_ascii_whitespace()) {
            let mut numbers = text.split_ascii_whitespace().skip(1).map(str::parse);
            let mut next = || numbers.next().and_then(Result::ok).ok_or_else(wrong);
            return Ok(Some([next()?, next()?, next()?]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(mut bytes: &[u8]) -> io::Result<Vec<(u32, u32)>> {
        let mut sizes = Vec::new();
        while let Some(frame) = read_frame(&mut bytes, 1000)? {
            sizes.push(frame.dimensions());
        }
        Ok(sizes)
    }

    #[test]
    fn frames_are_read_one_after_the_other() {
        let mut stream = b"P6\n2 1\n255\n".to_vec();
        stream.extend([10; 6]);
        stream.extend(b"P6 1 2 255 ");
        stream.extend([b' '; 6]);
        assert_eq!(frames(&stream).unwrap(), [(2, 1), (1, 2)]);
        assert_eq!(frames(b"").unwrap(), []);
    }

    #[test]
    fn anything_else_is_an_error() {
        for wrong in [
            &b"P6\n2 1\n255\n12345"[..],
            b"P5\n2 1\n255\n12",
            b"P6\n2 1\n65535\n123456789012",
            b"P6\n0 1\n255\n",
            b"P6\n100000 100000\n255\n",
            b"P6\n99999999999 1\n255\n",
            b"P6\n2 1",
            b"P6\n-2 1\n255\n123456",
            b"GIF89a",
            &[b'P', b'6', b'\n', 0xFF],
            &[[b'P', b'6'].as_slice(), &[b'\n'; 100]].concat(),
        ] {
            assert!(frames(wrong).is_err(), "{:?}", String::from_utf8_lossy(wrong));
        }
    }
}
