//! Points, boxes, landmarks and the face found in a photo.

use serde::{Deserialize, Serialize};

/// A position in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Point {
    /// Distance from the left edge.
    pub x: f32,
    /// Distance from the top edge.
    pub y: f32,
}

impl Point {
    /// A point at `(x, y)`.
    pub const fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    /// Euclidean distance to `other`.
    pub fn distance(self, other: Self) -> f32 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// The point half-way to `other`.
    pub fn midpoint(self, other: Self) -> Self {
        Self::new((self.x + other.x) / 2.0, (self.y + other.y) / 2.0)
    }
}

/// An axis-parallel box in pixels; it may reach over the image's edge.
///
/// Area and IoU use continuous coordinates: a box of width 10 covers 10 pixels, no `+1` rule.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct BBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Extent to the right, not negative.
    pub width: f32,
    /// Extent downwards, not negative.
    pub height: f32,
}

impl BBox {
    /// A box from its left, top, width and height.
    pub const fn new(x: f32, y: f32, width: f32, height: f32) -> Self {
        Self { x, y, width, height }
    }

    /// A box from two opposite corners.
    pub fn from_corners(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self::new(x1.min(x2), y1.min(y2), (x2 - x1).abs(), (y2 - y1).abs())
    }

    /// Right edge.
    pub fn right(&self) -> f32 {
        self.x + self.width
    }

    /// Bottom edge.
    pub fn bottom(&self) -> f32 {
        self.y + self.height
    }

    /// Centre of the box.
    pub fn center(&self) -> Point {
        Point::new(self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// Area in square pixels.
    pub fn area(&self) -> f32 {
        self.width * self.height
    }

    /// The part shared with `other`; zero area where they do not meet.
    pub fn intersection(&self, other: &Self) -> Self {
        let (x1, y1) = (self.x.max(other.x), self.y.max(other.y));
        let (x2, y2) = (self.right().min(other.right()), self.bottom().min(other.bottom()));
        Self::new(x1, y1, (x2 - x1).max(0.0), (y2 - y1).max(0.0))
    }

    /// Intersection over union, 0..=1.
    pub fn iou(&self, other: &Self) -> f32 {
        let shared = self.intersection(other).area();
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    /// The part inside an image of `width` x `height` pixels.
    pub fn clipped(&self, width: u32, height: u32) -> Self {
        self.intersection(&Self::new(0.0, 0.0, width as f32, height as f32))
    }

    /// The same centre, both sides multiplied by `factor`.
    pub fn scaled(&self, factor: f32) -> Self {
        let (c, width, height) = (self.center(), self.width * factor, self.height * factor);
        Self::new(c.x - width / 2.0, c.y - height / 2.0, width, height)
    }

    /// A square around the same centre whose side is `factor` times the longer side.
    pub fn square(&self, factor: f32) -> Self {
        let side = self.width.max(self.height) * factor;
        let c = self.center();
        Self::new(c.x - side / 2.0, c.y - side / 2.0, side, side)
    }
}

/// What a landmark marks. Left and right are as the viewer sees them: `LeftEye` has the smaller x in an upright photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LandmarkName {
    /// Centre of the eye on the image's left.
    LeftEye,
    /// Centre of the eye on the image's right.
    RightEye,
    /// Tip of the nose.
    Nose,
    /// Corner of the mouth on the image's left.
    MouthLeft,
    /// Corner of the mouth on the image's right.
    MouthRight,
    /// Centre of the mouth (BlazeFace has no corners).
    MouthCenter,
    /// Tragion on the image's left.
    LeftEar,
    /// Tragion on the image's right.
    RightEar,
}

impl LandmarkName {
    /// Stable snake_case name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeftEye => "left_eye",
            Self::RightEye => "right_eye",
            Self::Nose => "nose",
            Self::MouthLeft => "mouth_left",
            Self::MouthRight => "mouth_right",
            Self::MouthCenter => "mouth_center",
            Self::LeftEar => "left_ear",
            Self::RightEar => "right_ear",
        }
    }
}

/// A named point of a face.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Landmark {
    /// What it marks.
    pub name: LandmarkName,
    /// Where it is.
    #[serde(flatten)]
    pub point: Point,
}

/// The landmarks of one face, each name at most once; may be empty.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Landmarks(Vec<Landmark>);

impl Landmarks {
    /// Landmarks in the given order.
    pub fn new(points: impl IntoIterator<Item = (LandmarkName, Point)>) -> Self {
        Self(points.into_iter().map(|(name, point)| Landmark { name, point }).collect())
    }

    /// The point called `name`, if this detector gives it.
    pub fn get(&self, name: LandmarkName) -> Option<Point> {
        self.0.iter().find(|l| l.name == name).map(|l| l.point)
    }

    /// Centre of the mouth, computed from its corners where the detector gives those.
    pub fn mouth_center(&self) -> Option<Point> {
        self.get(LandmarkName::MouthCenter)
            .or_else(|| Some(self.get(LandmarkName::MouthLeft)?.midpoint(self.get(LandmarkName::MouthRight)?)))
    }

    /// All landmarks in the detector's order.
    pub fn iter(&self) -> impl Iterator<Item = &Landmark> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A face as a detector found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// Where it is.
    pub bbox: BBox,
    /// The detector's confidence, 0..=1.
    pub score: f32,
    /// Named points; empty where the detector has none.
    pub landmarks: Landmarks,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_half_overlapping_boxes_is_a_third() {
        let a = BBox::new(0.0, 0.0, 10.0, 10.0);
        assert!((a.iou(&BBox::new(5.0, 0.0, 10.0, 10.0)) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(a.iou(&BBox::new(20.0, 0.0, 10.0, 10.0)), 0.0);
        assert_eq!(BBox::default().iou(&BBox::default()), 0.0);
    }

    #[test]
    fn square_keeps_the_centre_and_clipping_stays_inside() {
        let b = BBox::new(10.0, 20.0, 30.0, 40.0);
        let s = b.square(1.5);
        assert_eq!((s.width, s.height, s.center()), (60.0, 60.0, b.center()));
        assert_eq!((b.scaled(2.0).width, b.scaled(2.0).height, b.scaled(2.0).center()), (60.0, 80.0, b.center()));
        let c = s.clipped(50, 50);
        assert!(c.x >= 0.0 && c.y >= 0.0 && c.right() <= 50.0 && c.bottom() <= 50.0);
    }

    #[test]
    fn mouth_center_is_computed_from_the_corners() {
        let marks = Landmarks::new([
            (LandmarkName::MouthLeft, Point::new(2.0, 4.0)),
            (LandmarkName::MouthRight, Point::new(4.0, 6.0)),
        ]);
        assert_eq!(marks.mouth_center(), Some(Point::new(3.0, 5.0)));
        assert_eq!(marks.get(LandmarkName::Nose), None);
    }
}
