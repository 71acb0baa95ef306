//! Pixels to tensors.

use candle::{DType, Device, Tensor};
use facesocial_kernels::{Map, Pool};
use image::RgbImage;

use super::features::Features;
use crate::error::{ModelError, Result};

/// Order of the three channels a network was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first, as OpenCV loads images.
    Bgr,
}

/// A network's preprocessing: `(pixel - mean) / std` per channel, in the network's channel order.
#[derive(Debug, Clone, Copy)]
pub struct Normalize {
    /// Channel order of the network; `mean` and `std` are given in it.
    pub order: ChannelOrder,
    /// Subtracted from pixels of 0..=255.
    pub mean: [f32; 3],
    /// Divides the difference.
    pub std: [f32; 3],
}

impl Normalize {
    /// `n` images of `size` x `size` to `[n, 3, size, size]`.
    ///
    /// # Errors
    /// [`ModelError::InputSize`] if an image has another size.
    pub fn batch(&self, images: &[RgbImage], size: u32, dtype: DType, device: &Device) -> Result<Tensor> {
        sized(images, size)?;
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            let pixels = images.iter().flat_map(|image| image.as_raw()).copied().collect();
            return self.on_card(pixels, [images.len(), size as usize, size as usize], dtype, device);
        }
        let plane = (size * size) as usize;
        let mut data = vec![0f32; images.len() * 3 * plane];
        for (image, chunk) in images.iter().zip(data.chunks_exact_mut(3 * plane)) {
            self.fill(image, chunk);
        }
        Ok(Tensor::from_vec(data, (images.len(), 3, size as usize, size as usize), device)?.to_dtype(dtype)?)
    }

    /// `n` images of `size` x `size` to features of `[n, 3, size, size]`, in memory of `pool`.
    ///
    /// # Errors
    /// [`ModelError::InputSize`] if an image has another size.
    pub fn features(
        &self,
        images: &[RgbImage],
        size: u32,
        dtype: DType,
        device: &Device,
        pool: &Pool,
    ) -> Result<Features> {
        if !(device.is_cpu() && dtype == DType::F32) {
            return Ok(Features::Tensor(self.batch(images, size, dtype, device)?));
        }
        sized(images, size)?;
        let tables: [[f32; 256]; 3] = std::array::from_fn(|c| self.table(c));
        let fill = |i: usize, pixels: &mut [f32]| {
            for (out, px) in pixels.chunks_exact_mut(3).zip(images[i].as_raw().chunks_exact(3)) {
                for (c, o) in out.iter_mut().enumerate() {
                    *o = tables[c][usize::from(px[self.source(c)])];
                }
            }
        };
        let side = size as usize;
        let map = Map::from_images(pool, [images.len(), side, side, 3], fill);
        Ok(Features::Map(map))
    }

    /// One image of any size to `[1, 3, height, width]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the device has no memory for it.
    pub fn image(&self, image: &RgbImage, dtype: DType, device: &Device) -> Result<Tensor> {
        let (w, h) = (image.width() as usize, image.height() as usize);
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            return self.on_card(image.as_raw().clone(), [1, h, w], dtype, device);
        }
        let mut data = vec![0f32; 3 * w * h];
        self.fill(image, &mut data);
        Ok(Tensor::from_vec(data, (1, 3, h, w), device)?.to_dtype(dtype)?)
    }

    /// Pixels of `n` images of `h` x `w`, normalised on the card: a quarter of the bytes travel there.
    #[cfg(feature = "cuda")]
    fn on_card(&self, pixels: Vec<u8>, shape: [usize; 3], dtype: DType, device: &Device) -> Result<Tensor> {
        let source = std::array::from_fn(|c| self.source(c) as u32);
        let how = facesocial_cuda::Normalization { mean: self.mean, std: self.std, source };
        Ok(facesocial_cuda::normalize(pixels, shape, how, dtype, device)?)
    }

    /// Where in an RGB pixel the network's channel `c` stands.
    const fn source(&self, c: usize) -> usize {
        match self.order {
            ChannelOrder::Rgb => c,
            ChannelOrder::Bgr => 2 - c,
        }
    }

    /// The normalised value of each of the 256 of a pixel: one division each instead of one per pixel.
    fn table(&self, c: usize) -> [f32; 256] {
        std::array::from_fn(|v| (v as f32 - self.mean[c]) / self.std[c])
    }

    fn fill(&self, image: &RgbImage, planes: &mut [f32]) {
        let plane = (image.width() * image.height()) as usize;
        for (c, out) in planes.chunks_exact_mut(plane).enumerate() {
            let (source, table) = (self.source(c), self.table(c));
            for (o, px) in out.iter_mut().zip(image.as_raw().chunks_exact(3)) {
                *o = table[usize::from(px[source])];
            }
        }
    }
}

/// Checks that every image is a square of `size`.
fn sized(images: &[RgbImage], size: u32) -> Result<()> {
    match images.iter().map(RgbImage::dimensions).enumerate().find(|(_, dimensions)| *dimensions != (size, size)) {
        Some((index, (width, height))) => Err(ModelError::InputSize { index, width, height, expected: size }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_ordered_and_normalised() {
        let mut img = RgbImage::new(2, 2);
        img.put_pixel(1, 0, image::Rgb([10, 20, 30]));
        let norm = Normalize { order: ChannelOrder::Bgr, mean: [1.0, 2.0, 3.0], std: [2.0; 3] };
        let t = norm.batch(&[img], 2, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(t.dims(), [1, 3, 2, 2]);
        let v = t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!([v[1], v[5], v[9]], [14.5, 9.0, 3.5]);
    }

    #[test]
    fn features_are_those_of_the_batch() {
        let images: Vec<RgbImage> =
            (0..2u8).map(|i| RgbImage::from_fn(4, 4, |x, y| image::Rgb([i, x as u8 * 9, y as u8 * 30]))).collect();
        let pool = Pool::default();
        for order in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
            let norm = Normalize { order, mean: [1.0, 2.0, 3.0], std: [2.0, 3.0, 4.0] };
            let got = norm.features(&images, 4, DType::F32, &Device::Cpu, &pool).unwrap().tensor().unwrap();
            let want = norm.batch(&images, 4, DType::F32, &Device::Cpu).unwrap();
            let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!((got.dims(), values(&got)), (want.dims(), values(&want)));
            assert!(norm.features(&images, 5, DType::F32, &Device::Cpu, &pool).is_err());
        }
    }

    #[test]
    fn another_size_is_refused() {
        let norm = Normalize { order: ChannelOrder::Rgb, mean: [0.0; 3], std: [1.0; 3] };
        let err = norm.batch(&[RgbImage::new(2, 3)], 2, DType::F32, &Device::Cpu).unwrap_err();
        assert_eq!(err.to_string(), "input image 0 is 2 x 3, the network takes 2 x 2");
    }
}
