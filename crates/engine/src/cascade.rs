//! The MTCNN cascade: over a whole photo, or its last stages at boxes that another detector found. Photos differ in size, so
//! that each is run by itself.

use std::borrow::Cow;

use facesocial_models::{Mtcnn, Result, mtcnn::Config};
use facesocial_types::{BBox, Face};
use image::RgbImage;

use crate::{
    caller::Caller,
    detectors::grey,
    error,
    network::{Network, Task},
    wire::{Cursor, Wire, WireError},
};

/// The photo that the cascade is measured on.
const PHOTO: (u32, u32) = (640, 480);
/// The whole cascade.
const FIND: u8 = 0;
/// The last stages.
const REFINE: u8 = 1;

/// What the cascade is asked about a photo.
#[derive(Debug, Clone, PartialEq)]
pub struct Look<'a> {
    photo: Cow<'a, RgbImage>,
    at: At,
}

#[derive(Debug, Clone, PartialEq)]
enum At {
    /// Everywhere, for faces from so many pixels on.
    All { min_face_size: f32 },
    /// At these boxes.
    Boxes(Vec<BBox>),
}

impl Network<Mtcnn> {
    /// All faces of a photo from `min_face_size` pixels on, likeliest first. Blocks.
    ///
    /// # Errors
    /// [`error::EngineError::Absent`]; it cannot be loaded or asked; it fails; nobody waits any more when its turn comes.
    pub fn find(&self, caller: &Caller, photo: &RgbImage, min_face_size: f32) -> error::Result<Vec<Face>> {
        let look = Look { photo: Cow::Borrowed(photo), at: At::All { min_face_size } };
        Ok(self.alone(caller, &look, Mtcnn::look)?.into_iter().flatten().collect())
    }

    /// What the last stages make of faces at `boxes`, in their order; `None` where they see none. Blocks.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn refine(&self, caller: &Caller, photo: &RgbImage, boxes: &[BBox]) -> error::Result<Vec<Option<Face>>> {
        let look = Look { photo: Cow::Borrowed(photo), at: At::Boxes(boxes.to_vec()) };
        self.alone(caller, &look, Mtcnn::look)
    }
}

/// Answers what a [`Look`] asks.
trait Answers {
    fn look(&self, look: &Look<'_>) -> Result<Vec<Option<Face>>>;
}

impl Answers for Mtcnn {
    fn look(&self, look: &Look<'_>) -> Result<Vec<Option<Face>>> {
        match &look.at {
            At::All { min_face_size } => {
                let config = Config { min_face_size: *min_face_size, ..Config::default() };
                Ok(self.detect(&look.photo, &config)?.into_iter().map(Some).collect())
            }
            At::Boxes(boxes) => self.refine(&look.photo, boxes, &Config::default()),
        }
    }
}

impl Task for Mtcnn {
    type Item = Look<'static>;
    type Output = Vec<Option<Face>>;
    type Spec = ();
    const ALONE: bool = true;

    fn forward(&self, looks: &[Look<'static>]) -> Result<Vec<Vec<Option<Face>>>> {
        looks.iter().map(|look| self.look(look)).collect()
    }

    fn grey((): &()) -> Look<'static> {
        let min_face_size = Config::default().min_face_size;
        Look { photo: Cow::Owned(grey(PHOTO.0, PHOTO.1)), at: At::All { min_face_size } }
    }

    fn fits((): &(), _: &Look<'static>) -> bool {
        true
    }
}

impl Wire for Look<'_> {
    const LEAST: usize = 1 + 4 + RgbImage::LEAST;

    fn write(&self, to: &mut Vec<u8>) {
        match &self.at {
            At::All { min_face_size } => {
                to.push(FIND);
                min_face_size.write(to);
            }
            At::Boxes(boxes) => {
                to.push(REFINE);
                boxes.write(to);
            }
        }
        self.photo.write(to);
    }

    fn read(from: &mut Cursor<'_>) -> std::result::Result<Self, WireError> {
        let at = match from.byte()? {
            FIND => At::All { min_face_size: f32::read(from)? },
            REFINE => At::Boxes(Vec::read(from)?),
            _ => return Err(WireError::Unknown { what: "kind of look" }),
        };
        Ok(Self { at, photo: Cow::Owned(RgbImage::read(from)?) })
    }
}
