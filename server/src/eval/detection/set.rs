//! The tables of labelled boxes.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use facesocial_types::BBox;

use crate::eval::labels::{Column, LabelError, Labels};

const FILE: Column = &["file"];

/// A labelled box.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Labelled {
    pub bbox: BBox,
    pub group: Option<String>,
}

/// Images and the boxes on each.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub images: Vec<PathBuf>,
    pub names: Vec<String>,
    pub boxes: Vec<Vec<Labelled>>,
}

/// Reads `table`, and images.csv of `dir` where it is.
///
/// # Errors
/// See [`LabelError`].
pub(super) fn read_set(
    dir: &Path,
    table: &Path,
    limit: Option<NonZeroUsize>,
    group: Option<&str>,
) -> Result<Set, LabelError> {
    let boxes = Labels::read(table, &[FILE, &["x1"], &["y1"], &["x2"], &["y2"]], &[], group)?;
    let mut on: HashMap<PathBuf, Vec<Labelled>> = HashMap::new();
    let mut order: Vec<(PathBuf, String)> = Vec::new();
    for row in boxes.rows(None) {
        let mut corners = [0.0; 4];
        for (i, corner) in corners.iter_mut().enumerate() {
            *corner = row.number(i + 1)? as f32;
        }
        let [x1, y1, x2, y2] = corners;
        for (low, high, column) in [(x1, x2, 3), (y1, y2, 4)] {
            if high <= low {
                return Err(row.bad(column, "a number larger than the opposite corner's"));
            }
        }
        let path = row.image(0, dir)?;
        let known = on.entry(path.clone()).or_insert_with(|| {
            order.push((path, row.text(0).to_owned()));
            Vec::new()
        });
        known.push(Labelled { bbox: BBox::from_corners(x1, y1, x2, y2), group: row.group().map(str::to_owned) });
    }
    // Images without any box are told by images.csv only.
    let all = dir.join("images.csv");
    if all.is_file() {
        for row in Labels::read(&all, &[FILE], &[], None)?.rows(None) {
            let path = row.image(0, dir)?;
            on.entry(path.clone()).or_insert_with(|| {
                order.push((path, row.text(0).to_owned()));
                Vec::new()
            });
        }
    }
    let (total, count) = (order.len(), limit.map_or(order.len(), |l| l.get().min(order.len())));
    let mut set = Set::default();
    for i in 0..count {
        let (path, name) = &order[i * total / count];
        set.boxes.push(on.remove(path).unwrap_or_default());
        set.images.push(path.clone());
        set.names.push(name.clone());
    }
    Ok(set)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    pub fn written(boxes: &str, images: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        let photo = facesocial_imaging::encode_png(&image::RgbImage::new(120, 60));
        for name in ["a.png", "b.png", "c.png"] {
            fs::write(dir.path().join("images").join(name), &photo).unwrap();
        }
        fs::write(dir.path().join("boxes.csv"), boxes).unwrap();
        fs::write(dir.path().join("images.csv"), images).unwrap();
        dir
    }

    pub fn read(dir: &Path, limit: Option<NonZeroUsize>) -> Result<Set, LabelError> {
        read_set(dir, &dir.join("boxes.csv"), limit, None)
    }

    pub const BOXES: &str = "file,x1,y1,x2,y2,class,group\na.png,0,0,30,40,face,x\na.png,100,0,110,10,face,y\n\
                             b.png,5,5,45,45,face,y\n";

    #[test]
    fn images_without_boxes_belong_to_the_set() {
        let dir = written(BOXES, "file,width\na.png,200\nb.png,200\nc.png,200\n");
        let set = read(dir.path(), None).unwrap();
        assert_eq!(set.boxes.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(set.boxes[0][1].group.as_deref(), Some("y"));
    }

    #[test]
    fn a_limit_takes_whole_images() {
        let dir = written(BOXES, "file\nc.png\n");
        let set = read(dir.path(), NonZeroUsize::new(1)).unwrap();
        assert_eq!((set.images.len(), set.boxes[0].len()), (1, 2));
    }

    #[test]
    fn a_box_inside_out_is_named_by_its_line() {
        let dir = written("file,x1,y1,x2,y2\na.png,0,0,30,40\nb.png,9,0,3,40\n", "file\na.png\n");
        let message = read(dir.path(), None).unwrap_err().to_string();
        assert!(message.contains("boxes.csv line 3: x2 is \"3\""), "{message}");
    }
}
