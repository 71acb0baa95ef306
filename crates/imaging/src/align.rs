//! Faces turned upright and brought to the place a recognition network knows.

use facesocial_types::{BBox, LandmarkName, Landmarks, Point};
use image::RgbImage;

use crate::{Sampling, crop_resize};

/// Where ArcFace networks expect the eyes, the nose tip and the mouth corners in 112 x 112 pixels: `arcface_dst` of
/// insightface's `utils/face_align.py`.
const ARCFACE: Template = Template {
    left_eye: Point::new(38.2946, 51.6963),
    right_eye: Point::new(73.5318, 51.5014),
    nose: Point::new(56.0252, 71.7366),
    mouth_left: Point::new(41.5493, 92.3655),
    mouth_right: Point::new(70.7299, 92.2041),
};

/// The same points of dlib's mean face, in units of the face: `mean_face_shape_x/y` in
/// `dlib/image_transforms/interpolation.h` (`get_face_chip_details`), which holds points 17 to 67 of the 68. An eye is
/// the mean of its six points (36-41, 42-47), the nose is point 30, the mouth corners are points 48 and 54.
const DLIB_MEAN_FACE: Template = Template {
    left_eye: Point::new(0.225_491_8, 0.215_990_3),
    right_eye: Point::new(0.754_761_3, 0.215_990_3),
    nose: Point::new(0.490_127, 0.515_625),
    mouth_left: Point::new(0.254_149, 0.780_233),
    mouth_right: Point::new(0.726_104, 0.780_233),
};
/// dlib's margin around the mean face, in units of it, for its recognition network.
const DLIB_PADDING: f32 = 0.25;

struct Template {
    left_eye: Point,
    right_eye: Point,
    nose: Point,
    mouth_left: Point,
    mouth_right: Point,
}

impl Template {
    /// Points of the photo and those of the template they belong to: both mouth corners if there are both, else the
    /// mouth's centre.
    fn pairs(&self, marks: &Landmarks) -> Option<(Vec<Point>, Vec<Point>)> {
        use LandmarkName::{LeftEye, MouthLeft, MouthRight, Nose, RightEye};
        let mut from = vec![marks.get(LeftEye)?, marks.get(RightEye)?, marks.get(Nose)?];
        let mut to = vec![self.left_eye, self.right_eye, self.nose];
        if let (Some(left), Some(right)) = (marks.get(MouthLeft), marks.get(MouthRight)) {
            from.extend([left, right]);
            to.extend([self.mouth_left, self.mouth_right]);
        } else {
            from.push(marks.mouth_center()?);
            to.push(self.mouth_left.midpoint(self.mouth_right));
        }
        Some((from, to))
    }

    fn map(&self, f: impl Fn(Point) -> Point) -> Self {
        Self {
            left_eye: f(self.left_eye),
            right_eye: f(self.right_eye),
            nose: f(self.nose),
            mouth_left: f(self.mouth_left),
            mouth_right: f(self.mouth_right),
        }
    }
}

/// Rotation, uniform scale and shift, no reflection: `x' = a x - b y + tx`, `y' = b x + a y + ty`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity {
    /// Scale times the cosine of the angle.
    pub a: f64,
    /// Scale times the sine of the angle; positive turns clockwise, as y points down.
    pub b: f64,
    /// Shift to the right.
    pub tx: f64,
    /// Shift downwards.
    pub ty: f64,
}

impl Similarity {
    /// Leaves every point where it is.
    pub const IDENTITY: Self = Self { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };

    /// The transform that brings `src[i]` closest to `dst[i]`, by least squares.
    ///
    /// In the plane this closed form is Umeyama's solution (1991, "Least-squares estimation of transformation parameters
    /// between two point patterns") without reflection. `None` for fewer than two points, different counts, points that
    /// all coincide, or numbers that are not finite.
    pub fn estimate(src: &[Point], dst: &[Point]) -> Option<Self> {
        if src.len() != dst.len() || src.len() < 2 {
            return None;
        }
        let mean = |points: &[Point]| {
            let n = points.len() as f64;
            let sum = points.iter().fold((0.0, 0.0), |(x, y), p| (x + f64::from(p.x), y + f64::from(p.y)));
            (sum.0 / n, sum.1 / n)
        };
        let ((sx, sy), (dx, dy)) = (mean(src), mean(dst));
        let (mut dot, mut cross, mut spread) = (0.0, 0.0, 0.0);
        for (s, d) in src.iter().zip(dst) {
            let (px, py) = (f64::from(s.x) - sx, f64::from(s.y) - sy);
            let (qx, qy) = (f64::from(d.x) - dx, f64::from(d.y) - dy);
            dot += px * qx + py * qy;
            cross += px * qy - py * qx;
            spread += px * px + py * py;
        }
        let (a, b) = (dot / spread, cross / spread);
        let scale = a.hypot(b);
        // NaN fails these comparisons too.
        (spread > 1e-9 && scale > 1e-9 && scale.is_finite()).then_some(Self {
            a,
            b,
            tx: dx - a * sx + b * sy,
            ty: dy - b * sx - a * sy,
        })
    }

    /// Where `p` goes.
    pub fn apply(&self, p: Point) -> Point {
        let (x, y) = self.apply_f64(f64::from(p.x), f64::from(p.y));
        Point::new(x as f32, y as f32)
    }

    fn apply_f64(&self, x: f64, y: f64) -> (f64, f64) {
        (self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty)
    }

    /// The factor by which lengths grow.
    pub fn scale(&self) -> f64 {
        self.a.hypot(self.b)
    }

    /// The way back; not finite if the scale is zero, which [`Self::estimate`] never gives.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let norm = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / norm, -self.b / norm);
        Self { a, b, tx: -(a * self.tx - b * self.ty), ty: -(b * self.tx + a * self.ty) }
    }
}

/// `image` under `transform` (from `image` to the result), as `width` x `height` pixels, `fill` where it has nothing.
///
/// Integer coordinates are pixel *centres* here, as in `cv2.warpAffine`, which it equals (`INTER_LINEAR`,
/// `BORDER_CONSTANT`) while the scale is at least one half. Below that the source is first averaged down by a whole
/// factor, so that no detail turns into noise. A transform that is not finite gives nothing but `fill`.
pub fn warp(image: &RgbImage, transform: &Similarity, width: u32, height: u32, fill: [u8; 3]) -> RgbImage {
    let mut out = RgbImage::from_pixel(width, height, image::Rgb(fill));
    let back = transform.inverse();
    if ![back.a, back.b, back.tx, back.ty].iter().all(|v| v.is_finite()) || image.is_empty() {
        return out;
    }
    let shrink = (1.0 / transform.scale()).floor();
    if shrink >= 2.0 {
        return warp_shrunk(image, &back, shrink, out, fill);
    }
    sample(image, &back, &mut out, fill);
    out
}

/// The part of `image` that `out` shows, averaged down by `factor`, then sampled.
fn warp_shrunk(image: &RgbImage, back: &Similarity, factor: f64, mut out: RgbImage, fill: [u8; 3]) -> RgbImage {
    let (w, h) = (f64::from(out.width()), f64::from(out.height()));
    let corners = [(0.0, 0.0), (w, 0.0), (0.0, h), (w, h)].map(|(x, y)| back.apply_f64(x, y));
    // One pixel of the shrunk image more on each side: the neighbours of bilinear sampling.
    let range = |values: [f64; 4], len: u32| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min) - factor;
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max) + factor;
        let (low, high) = (low.max(-factor).floor(), high.min(f64::from(len) + factor));
        (low, ((high - low) / factor).ceil())
    };
    let (x, columns) = range(corners.map(|c| c.0), image.width());
    let (y, rows) = range(corners.map(|c| c.1), image.height());
    if columns < 1.0 || rows < 1.0 {
        return out;
    }
    let part = BBox::new(x as f32, y as f32, (columns * factor) as f32, (rows * factor) as f32);
    let small = crop_resize(image, &part, columns as u32, rows as u32, fill, Sampling::Area);
    // Centre of source pixel `p` is `(p + 0.5 - x) / factor - 0.5` in `small`.
    let shift = |t: f64, from: f64| (t + 0.5 - from) / factor - 0.5;
    let back = Similarity { a: back.a / factor, b: back.b / factor, tx: shift(back.tx, x), ty: shift(back.ty, y) };
    sample(&small, &back, &mut out, fill);
    out
}

/// Bilinear: every pixel of `out` from where `back` says; neighbours outside `image` have the colour `fill`.
fn sample(image: &RgbImage, back: &Similarity, out: &mut RgbImage, fill: [u8; 3]) {
    let (w, h) = (i64::from(image.width()), i64::from(image.height()));
    let at = |x: i64, y: i64| {
        let inside = (0..w).contains(&x) && (0..h).contains(&y);
        if inside { image.get_pixel(x as u32, y as u32).0 } else { fill }.map(f32::from)
    };
    for (i, j, pixel) in out.enumerate_pixels_mut() {
        let (x, y) = back.apply_f64(f64::from(i), f64::from(j));
        let (left, top) = (x.floor(), y.floor());
        let (fx, fy) = ((x - left) as f32, (y - top) as f32);
        let (left, top) = (left as i64, top as i64);
        if left < -1 || top < -1 || left >= w || top >= h {
            continue;
        }
        let corners = [at(left, top), at(left + 1, top), at(left, top + 1), at(left + 1, top + 1)];
        for (c, value) in pixel.0.iter_mut().enumerate() {
            let upper = corners[0][c] + (corners[1][c] - corners[0][c]) * fx;
            let lower = corners[2][c] + (corners[3][c] - corners[2][c]) * fx;
            *value = (upper + (lower - upper) * fy + 0.5) as u8;
        }
    }
}

/// The face in the pose of insightface's `norm_crop`: 112 x 112 pixels, black where the photo has nothing.
///
/// Needs both eyes, the nose, and the mouth's corners or its centre; `None` without them or if they coincide.
/// Landmarks go into the transform as they are, half-pixel shift and all: so did those of the networks' training.
pub fn arcface_112(image: &RgbImage, landmarks: &Landmarks) -> Option<RgbImage> {
    let (photo, template) = ARCFACE.pairs(landmarks)?;
    Some(warp(image, &Similarity::estimate(&photo, &template)?, 112, 112, [0; 3]))
}

/// The face in the pose of dlib's `get_face_chip_details(shape, 150, 0.25)`: 150 x 150 pixels, black where the photo
/// has nothing.
///
/// dlib fits 33 of 68 landmarks (no brows, no lower lip); here the means of its eye points, the nose tip and the mouth stand for them.
/// Needs both eyes, the nose, and the mouth's corners or its centre; `None` without them or if they coincide.
pub fn dlib_chip_150(image: &RgbImage, landmarks: &Landmarks) -> Option<RgbImage> {
    let chip = |v: f32| (DLIB_PADDING + v) / (2.0 * DLIB_PADDING + 1.0) * 150.0;
    let template = DLIB_MEAN_FACE.map(|p| Point::new(chip(p.x), chip(p.y)));
    let (photo, template) = template.pairs(landmarks)?;
    // dlib fits the template to the photo, not the photo to the template.
    Some(warp(image, &Similarity::estimate(&template, &photo)?.inverse(), 150, 150, [0; 3]))
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn points(list: &[(f32, f32)]) -> Vec<Point> {
        list.iter().map(|&(x, y)| Point::new(x, y)).collect()
    }

    fn marks(t: &Template, via: &Similarity) -> Landmarks {
        use LandmarkName::{LeftEye, MouthLeft, MouthRight, Nose, RightEye};
        Landmarks::new(
            [
                (LeftEye, t.left_eye),
                (RightEye, t.right_eye),
                (Nose, t.nose),
                (MouthLeft, t.mouth_left),
                (MouthRight, t.mouth_right),
            ]
            .map(|(name, p)| (name, via.apply(p))),
        )
    }

    #[test]
    fn a_known_transform_is_recovered_and_inverted() {
        let src = points(&[(0.0, 0.0), (10.0, 0.0), (3.0, 8.0), (-4.0, 5.5)]);
        for degrees in [0.0f64, 30.0, 90.0, 179.0, -120.0] {
            for scale in [0.05, 1.0, 13.0] {
                let (sin, cos) = degrees.to_radians().sin_cos();
                let truth = Similarity { a: scale * cos, b: scale * sin, tx: -17.0, ty: 400.0 };
                let dst: Vec<Point> = src.iter().map(|p| truth.apply(*p)).collect();
                let found = Similarity::estimate(&src, &dst).unwrap();
                assert!((found.scale() - scale).abs() < 1e-4 * scale.max(1.0), "{found:?}");
                for (s, d) in src.iter().zip(&dst) {
                    assert!(found.apply(*s).distance(*d) < 1e-3);
                    assert!(found.inverse().apply(*d).distance(*s) < 1e-2);
                }
            }
        }
        let two = Similarity::estimate(&src[..2], &points(&[(5.0, 5.0), (5.0, 25.0)])).unwrap();
        assert!((two.scale() - 2.0).abs() < 1e-9 && two.apply(src[1]).distance(Point::new(5.0, 25.0)) < 1e-5);
    }

    #[test]
    fn a_mirrored_face_is_not_reflected() {
        let src = points(&[(0.0, 0.0), (10.0, 0.0), (5.0, 9.0)]);
        let mirrored = points(&[(10.0, 0.0), (0.0, 0.0), (5.0, 9.0)]);
        let s = Similarity::estimate(&src, &mirrored).unwrap();
        // Orientation of the triangle is kept: the determinant of a similarity without reflection is positive.
        let [p, q, r] = [0, 1, 2].map(|i| s.apply(src[i]));
        assert!((q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x) > 0.0);
    }

    #[test]
    fn points_that_say_nothing_give_nothing() {
        let same = points(&[(3.0, 3.0); 4]);
        let some = points(&[(0.0, 0.0), (10.0, 0.0), (3.0, 8.0), (-4.0, 5.5)]);
        assert_eq!(Similarity::estimate(&same, &some), None);
        assert_eq!(Similarity::estimate(&some, &same), None);
        assert_eq!(Similarity::estimate(&some[..1], &some[..1]), None);
        assert_eq!(Similarity::estimate(&some, &some[..3]), None);
        assert_eq!(Similarity::estimate(&some, &points(&[(f32::NAN, 0.0); 4])), None);
        assert_eq!(Similarity::estimate(&points(&[(f32::INFINITY, 0.0); 4]), &some), None);
    }

    #[test]
    fn the_identity_copies_and_a_shift_shifts() {
        let image = RgbImage::from_fn(20, 20, |x, y| Rgb([x as u8, y as u8, 77]));
        assert_eq!(warp(&image, &Similarity::IDENTITY, 20, 20, [0; 3]), image);
        let shifted = warp(&image, &Similarity { tx: 5.0, ..Similarity::IDENTITY }, 20, 20, [1, 2, 3]);
        assert_eq!(shifted.get_pixel(4, 0).0, [1, 2, 3]);
        assert_eq!(shifted.get_pixel(5, 9).0, [0, 9, 77]);
        let broken = Similarity { a: 0.0, b: 0.0, tx: 0.0, ty: 0.0 };
        assert!(warp(&image, &broken, 4, 4, [1, 2, 3]).pixels().all(|p| p.0 == [1, 2, 3]));
    }

    #[test]
    fn a_strong_shrink_averages_and_keeps_the_place() {
        // Fine stripes become grey, and a large white square stays where the transform puts it.
        let image = RgbImage::from_fn(1200, 1200, |x, y| {
            let white = (600..800).contains(&x) && (400..600).contains(&y);
            Rgb([if white {
                255
            } else if x % 2 == 0 {
                0
            } else {
                60
            }; 3])
        });
        let t = Similarity { a: 0.1 * 0.3f64.cos(), b: 0.1 * 0.3f64.sin(), tx: 9.0, ty: -6.0 };
        let got = warp(&image, &t, 120, 120, [0; 3]);
        let (mut sum, mut x, mut y) = (0.0, 0.0, 0.0);
        for (i, j, p) in got.enumerate_pixels() {
            let v = (f32::from(p.0[0]) - 120.0).max(0.0);
            (sum, x, y) = (sum + v, x + v * i as f32, y + v * j as f32);
        }
        let want = t.apply(Point::new(699.5, 499.5));
        assert!(Point::new(x / sum, y / sum).distance(want) < 0.05, "{:?} is not {want:?}", (x / sum, y / sum));
        let plain = t.apply(Point::new(300.0, 900.0));
        assert!(got.get_pixel(plain.x as u32, plain.y as u32).0[0].abs_diff(30) <= 2);
    }

    #[test]
    fn faces_anywhere_land_on_the_template() {
        // Landmarks made from the template by a known transform: the eyes' pixels must come back to their place.
        for (template, side) in [
            (ARCFACE, 112.0f32),
            (DLIB_MEAN_FACE.map(|p| Point::new((0.25 + p.x) * 100.0, (0.25 + p.y) * 100.0)), 150.0),
        ] {
            let via = Similarity { a: 2.0, b: 0.6, tx: 70.0, ty: 30.0 };
            let landmarks = marks(&template, &via);
            let mut photo = RgbImage::new(500, 500);
            let eye = landmarks.get(LandmarkName::LeftEye).unwrap();
            for (x, y, p) in photo.enumerate_pixels_mut() {
                if eye.distance(Point::new(x as f32, y as f32)) < 6.0 {
                    p.0 = [255; 3];
                }
            }
            let got = if side == 112.0 { arcface_112(&photo, &landmarks) } else { dlib_chip_150(&photo, &landmarks) }
                .unwrap();
            assert_eq!(got.width() as f32, side);
            assert!(got.get_pixel(template.left_eye.x.round() as u32, template.left_eye.y.round() as u32).0[0] > 240);
            assert_eq!(got.get_pixel(template.right_eye.x.round() as u32, template.right_eye.y.round() as u32).0[0], 0);
        }
    }

    #[test]
    fn the_mouth_centre_stands_for_its_corners() {
        let all = marks(&ARCFACE, &Similarity::IDENTITY);
        use LandmarkName::{LeftEye, MouthCenter, Nose, RightEye};
        let four = Landmarks::new(
            [LeftEye, RightEye, Nose]
                .map(|n| (n, all.get(n).unwrap()))
                .into_iter()
                .chain([(MouthCenter, all.mouth_center().unwrap())]),
        );
        let photo = RgbImage::from_fn(112, 112, |x, y| Rgb([x as u8, y as u8, 0]));
        assert_eq!(arcface_112(&photo, &four), arcface_112(&photo, &all));
        let eyes = Landmarks::new([LeftEye, RightEye].map(|n| (n, all.get(n).unwrap())));
        assert_eq!(arcface_112(&photo, &eyes), None);
        assert_eq!(dlib_chip_150(&photo, &Landmarks::default()), None);
    }
}
