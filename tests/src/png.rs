//! PNG files that are not what they seem.

use std::io::Write as _;

use flate2::{Compression, Crc, write::ZlibEncoder};

/// A grey PNG, one bit per pixel, all black. `rows` as declared, `written` as really compressed into it.
pub fn black_png(width: u32, rows: u32, written: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [width.to_be_bytes(), rows.to_be_bytes()].concat();
    header.extend([1, 0, 0, 0, 0]);
    chunk(&mut png, b"IHDR", &header);
    let mut data = ZlibEncoder::new(Vec::new(), Compression::fast());
    let row = vec![0; width.div_ceil(8) as usize + 1];
    for _ in 0..written {
        data.write_all(&row).unwrap();
    }
    chunk(&mut png, b"IDAT", &data.finish().unwrap());
    chunk(&mut png, b"IEND", &[]);
    png
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(data);
    png.extend((data.len() as u32).to_be_bytes());
    png.extend(kind);
    png.extend(data);
    png.extend(crc.sum().to_be_bytes());
}
