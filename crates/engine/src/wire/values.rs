//! The values that the items and answers of several networks are made of.

use facesocial_types::{BBox, Face, LandmarkName, Landmarks, Point};
use image::RgbImage;

use super::{Cursor, Wire, WireError};

/// Bytes of a pixel.
const PIXEL: usize = 3;
/// Every landmark at the place of its number.
const LANDMARKS: [LandmarkName; 8] = [
    LandmarkName::LeftEye,
    LandmarkName::RightEye,
    LandmarkName::Nose,
    LandmarkName::MouthLeft,
    LandmarkName::MouthRight,
    LandmarkName::MouthCenter,
    LandmarkName::LeftEar,
    LandmarkName::RightEar,
];

/// A finite number.
impl Wire for f32 {
    const LEAST: usize = 4;

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.to_le_bytes());
    }

    fn read(from: &mut Cursor<'_>) -> Result<Self, WireError> {
        let number = Self::from_bits(from.number()?);
        if number.is_finite() { Ok(number) } else { Err(WireError::NotFinite) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    const LEAST: usize = 4;

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(u32::try_from(self.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.iter().for_each(|value| value.write(to));
    }

    fn read(from: &mut Cursor<'_>) -> Result<Self, WireError> {
        let length = from.length(T::LEAST)?;
        (0..length).map(|_| T::read(from)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    const LEAST: usize = 1;

    fn write(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut Cursor<'_>) -> Result<Self, WireError> {
        match from.byte()? {
            0 => Ok(None),
            1 => T::read(from).map(Some),
            _ => Err(WireError::Unknown { what: "option" }),
        }
    }
}

impl Wire for RgbImage {
    const LEAST: usize = 8 + PIXEL;

    fn write(&self, to: &mut Vec<u8>) {
        to.reserve(Self::LEAST + self.as_raw().len());
        to.extend(self.width().to_le_bytes());
        to.extend(self.height().to_le_bytes());
        to.extend(self.as_raw());
    }

    fn read(from: &mut Cursor<'_>) -> Result<Self, WireError> {
        let (width, height) = (from.number()?, from.number()?);
        let bytes = (width as usize).checked_mul(height as usize).and_then(|n| n.checked_mul(PIXEL));
        let bytes = match bytes {
            Some(0) => return Err(WireError::Empty),
            Some(bytes) => from.bytes(bytes)?,
            None => return Err(WireError::Truncated),
        };
        Self::from_raw(width, height, bytes.to_vec()).ok_or(WireError::Truncated)
    }
}

impl Wire for BBox {
    const LEAST: usize = 16;

    fn write(&self, to: &mut Vec<u8>) {
        [self.x, self.y, self.width, self.height].iter().for_each(|number| number.write(to));
    }

    fn read(from: &mut Cursor<'_>) -> Result<Self, WireError> {
        Ok(Self { x: f32::read(from)?, y: f32::read(from)?, width: f32::read(from)?, height: f32::read(from)? })
    }
}

impl Wire for Face {
    const LEAST: usize = BBox::LEAST + 4 + 1;

    fn write(&self, to: &mut Vec<u8>) {
        self.bbox.write(to);
        self.score.write(to);
        // Each name stands there once at most.
        to.push(u8::try_from(self.landmarks.len()).unwrap_or(u8::MAX));
        for landmark in self.landmarks.iter() {
            to.push(LANDMARKS.iter().position(|name| *name == landmark.name).map_or(u8::MAX, |at| at as u8));
            landmark.point.x.write(to);
            landmark.point.y.write(to);
        }
    }

    fn read(from: &mut Cursor<'_>) -> Result<Self, WireError> {
        let (bbox, score, count) = (BBox::read(from)?, f32::read(from)?, usize::from(from.byte()?));
        if count > LANDMARKS.len() {
            return Err(WireError::Count { found: count, allowed: LANDMARKS.len() });
        }
        let mut landmarks = Vec::with_capacity(count);
        for _ in 0..count {
            let name = LANDMARKS.get(usize::from(from.byte()?)).ok_or(WireError::Unknown { what: "landmark" })?;
            landmarks.push((*name, Point::new(f32::read(from)?, f32::read(from)?)));
        }
        Ok(Self { bbox, score, landmarks: Landmarks::new(landmarks) })
    }
}
