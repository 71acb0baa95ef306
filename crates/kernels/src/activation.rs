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

impl Activation {
    /// Each of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 9] = [
        Self::None,
        Self::Relu,
        Self::Relu6,
        Self::PRelu,
        Self::Silu,
        Self::Gelu,
        Self::HardSwish,
        Self::HardSigmoid,
        Self::Sigmoid,
    ];

    /// The one of this number, its place in the list above: for code that is compiled for each.
    pub(crate) const fn of_number(number: u8) -> Self {
        Self::ALL[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places() {
        for number in 0..9 {
            assert_eq!(Activation::of_number(number) as u8, number);
        }
    }
}
