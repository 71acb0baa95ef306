//! Face embeddings: unit-norm vectors that name the model they come from.

use crate::ModelId;

/// Why an embedding could not be made or compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddingError {
    /// The vector has no direction: zero length, NaN or infinite.
    #[error("the vector of {0} values has no direction (its norm is {1})")]
    NoDirection(usize, f32),
    /// Similarity between different models or dimensions says nothing.
    #[error("embeddings of {0} and {1} cannot be compared")]
    DifferentModels(ModelId, ModelId),
}

/// A unit-norm vector, with the model that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    model: ModelId,
    vector: Vec<f32>,
}

impl Embedding {
    /// Scales `vector` to unit norm.
    ///
    /// # Errors
    /// [`EmbeddingError::NoDirection`] if the norm is zero or not finite.
    pub fn new(model: ModelId, mut vector: Vec<f32>) -> Result<Self, EmbeddingError> {
        // f64: a sum of a thousand squares in f32 loses the last digits of the norm.
        let norm = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if !norm.is_finite() || norm < 1e-12 {
            return Err(EmbeddingError::NoDirection(vector.len(), norm as f32));
        }
        for v in &mut vector {
            *v = (f64::from(*v) / norm) as f32;
        }
        Ok(Self { model, vector })
    }

    /// The model that made it.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// The unit-norm vector.
    pub fn as_slice(&self) -> &[f32] {
        &self.vector
    }

    /// Cosine similarity, -1..=1.
    ///
    /// # Errors
    /// [`EmbeddingError::DifferentModels`] if the models or dimensions differ.
    pub fn cosine(&self, other: &Self) -> Result<f32, EmbeddingError> {
        if self.model != other.model || self.vector.len() != other.vector.len() {
            return Err(EmbeddingError::DifferentModels(self.model.clone(), other.model.clone()));
        }
        let dot: f64 = self.vector.iter().zip(&other.vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        Ok(dot.clamp(-1.0, 1.0) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ModelId {
        ModelId::new(name, "1")
    }

    #[test]
    fn vectors_become_unit_norm() {
        let e = Embedding::new(id("a"), vec![3.0, 4.0]).unwrap();
        assert_eq!(e.as_slice(), [0.6, 0.8]);
        assert_eq!(e.cosine(&e), Ok(1.0));
    }

    #[test]
    fn vectors_without_direction_are_refused() {
        assert!(Embedding::new(id("a"), vec![0.0; 4]).is_err());
        assert!(Embedding::new(id("a"), vec![f32::NAN, 1.0]).is_err());
        assert!(Embedding::new(id("a"), vec![]).is_err());
    }

    #[test]
    fn different_models_are_never_compared() {
        let a = Embedding::new(id("a"), vec![1.0, 0.0]).unwrap();
        let b = Embedding::new(id("b"), vec![1.0, 0.0]).unwrap();
        assert!(matches!(a.cosine(&b), Err(EmbeddingError::DifferentModels(..))));
    }
}
