//! Which instructions the kernels use.

use std::sync::OnceLock;

use crate::error::{KernelError, Result};
use crate::kernel::{self, Kernel};

/// A set of instructions that there are kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Instructions {
    /// Those every processor of the architecture has, as the compiler uses them.
    Portable,
    /// AVX2 and FMA, x86-64.
    Avx2,
    /// AVX-512F, x86-64.
    Avx512,
    /// AMX for products, in bfloat16 that keep sixteen bits of every factor, and AVX-512 for the rest; x86-64 on Linux.
    Amx,
    /// NEON, aarch64.
    Neon,
}

impl Instructions {
    /// All of them, the fastest first.
    pub const ALL: [Self; 5] = [Self::Amx, Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// Name as in `FACESOCIAL_KERNELS`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
            Self::Neon => "neon",
        }
    }

    /// Whether this processor has them.
    pub fn supported(self) -> bool {
        kernel::of(self).is_some()
    }

    /// Those that layers use unless told otherwise: the fastest that this processor has, or what the environment variable
    /// `FACESOCIAL_KERNELS` named when this was first asked.
    ///
    /// # Errors
    /// The variable names something unknown or something that this processor cannot run.
    pub fn chosen() -> Result<Self> {
        static CHOSEN: OnceLock<Result<Instructions>> = OnceLock::new();
        CHOSEN.get_or_init(|| choose(std::env::var("FACESOCIAL_KERNELS").ok().as_deref())).clone()
    }

    /// The kernels.
    pub(crate) fn kernel(self) -> Result<&'static Kernel> {
        kernel::of(self).ok_or(KernelError::Unsupported(self.name()))
    }
}

fn choose(named: Option<&str>) -> Result<Instructions> {
    let Some(name) = named.filter(|name| !name.is_empty()) else {
        return Ok(Instructions::ALL.into_iter().find(|one| one.supported()).unwrap_or(Instructions::Portable));
    };
    let known = Instructions::ALL.into_iter().find(|one| one.name() == name);
    let found = known.ok_or_else(|| KernelError::UnknownInstructions(name.to_owned()))?;
    if found.supported() { Ok(found) } else { Err(KernelError::Unsupported(found.name())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_overrides_what_is_found() {
        assert!(choose(None).unwrap().supported());
        assert_eq!(choose(Some("portable")), Ok(Instructions::Portable));
        assert_eq!(choose(Some("")), choose(None));
        assert_eq!(choose(Some("sse9")), Err(KernelError::UnknownInstructions("sse9".into())));
        let missing = Instructions::ALL.into_iter().find(|one| !one.supported()).unwrap();
        assert_eq!(choose(Some(missing.name())), Err(KernelError::Unsupported(missing.name())));
    }
}
