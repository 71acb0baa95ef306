//! The detectors that see a photo in one look: BlazeFace and YOLOv10n.

use facesocial_engine::{EngineError, InputSide, Letterboxed, Network, Pending, Task, on_pool};
use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{Face, Landmarks};
use image::RgbImage;

use crate::batch::Call;

/// How a photo becomes a detector's input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Colour of the bars.
    pub fill: [u8; 3],
    pub sampling: Sampling,
}

/// A look that is in the line, with the way back from the input to the photo.
pub(crate) struct Searching {
    geometry: imaging::Letterboxed,
    pending: Pending<Vec<Face>>,
}

/// Letterboxes the photo and hands it to the network.
pub(crate) fn begin<M>(
    call: Call<'_>,
    network: &Network<M>,
    image: &RgbImage,
    look: Look,
    min_score: f32,
) -> Result<Searching, EngineError>
where
    M: Task<Item = Letterboxed, Output = Vec<Face>, Spec = InputSide>,
{
    let InputSide(side) = *network.spec()?;
    let mut geometry = on_pool(|| imaging::letterbox(image, side, side, look.fill, look.sampling));
    let item = Letterboxed { image: std::mem::take(&mut geometry.image), min_score };
    Ok(Searching { pending: network.submit(call.caller, vec![item])?, geometry })
}

impl Searching {
    /// Waits for the faces; in pixels of the photo.
    pub fn finish(self) -> Result<Vec<Face>, EngineError> {
        let geometry = &self.geometry;
        let in_photo = |face: Face| Face {
            bbox: geometry.bbox_to_source(&face.bbox),
            score: face.score,
            landmarks: Landmarks::new(face.landmarks.iter().map(|l| (l.name, geometry.to_source(l.point)))),
        };
        Ok(self.pending.wait_all()?.into_iter().flatten().map(in_photo).collect())
    }
}
