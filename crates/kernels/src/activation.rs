//! Rectifiers, fused into the layers before them.

/// What follows a layer's sum.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` where positive, `x * slope` elsewhere, one slope a channel: those the layer was given.
    PRelu,
    /// `x * sigmoid(x)`
    Silu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`
    Gelu,
    /// `x * hard_sigmoid(x)`
    HardSwish,
    /// `min(max(x / 6 + 1/2, 0), 1)`
    HardSigmoid,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
}
