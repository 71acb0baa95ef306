//! AMX: tiles of sixteen rows of 64 bytes, multiplied as bfloat16; AVX-512 splits values and finishes the sums.
//!
//! The compiler has no stable functions for tiles, so the loop over a block is written in its instructions.

#![expect(unsafe_code, reason = "instructions that only some processors have")]

use std::arch::asm;
use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, _mm512_castsi512_si256, _mm512_cvtne2ps_pbh, _mm512_cvtpbh_ps,
    _mm512_extracti64x4_epi64, _mm512_loadu_ps, _mm512_mask_storeu_epi16, _mm512_maskz_loadu_ps, _mm512_storeu_si512,
    _mm512_sub_ps,
};
use std::sync::OnceLock;

use super::avx512::Avx512;
use super::epilogue::{Epilogue, complete};
use super::matrix::MatrixMut;
use super::simd::Simd;
use super::split::{Ahead, BLOCK, Block, Blocks, DEPTH, SplitProduct, Sums, product};

/// Proof that the processor has AMX with bfloat16 and AVX-512 for it, and that the process may use them.
#[derive(Clone, Copy)]
struct Amx(Avx512);

impl Amx {
    fn detect() -> Option<Self> {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        let allowed = *ALLOWED.get_or_init(|| {
            let vectors = is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw");
            vectors && has_tiles() && permitted()
        });
        let vectors = Avx512::detect()?;
        allowed.then_some(Self(vectors))
    }
}

/// Whether the processor tells of tiles and of products of bfloat16 on them.
fn has_tiles() -> bool {
    let (leaf, amx_bf16, amx_tile) = (7, 1 << 22, 1 << 24);
    let [most, ..] = cpuid(0);
    let [_, _, _, edx] = if most >= leaf { cpuid(leaf) } else { [0; 4] };
    edx & amx_bf16 != 0 && edx & amx_tile != 0
}

/// EAX, EBX, ECX, EDX of a leaf.
fn cpuid(leaf: u32) -> [u32; 4] {
    let r = std::arch::x86_64::__cpuid_count(leaf, 0);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// Asks the system for the room that it needs to keep tiles of a thread that it interrupts; all threads have it then.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes nothing but what the system keeps of the process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
const fn permitted() -> bool {
    false
}

/// The function, where the processor has the instructions and the process may use them.
pub(super) fn function() -> Option<fn(&SplitProduct<'_>, MatrixMut<'_>)> {
    Amx::detect().map(|_| run as fn(&SplitProduct<'_>, MatrixMut<'_>))
}

#[expect(clippy::unreachable, reason = "the function is given to nobody before the instructions were found")]
fn run(job: &SplitProduct<'_>, out: MatrixMut<'_>) {
    let Some(amx) = Amx::detect() else { unreachable!("tiles without their instructions") };
    let _shapes = Shapes::set(amx);
    // SAFETY: `amx` is proof that the processor has the instructions.
    unsafe { run_with(amx, job, out) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn run_with(amx: Amx, job: &SplitProduct<'_>, out: MatrixMut<'_>) {
    product(amx, job, out);
}

/// The eight tiles have sixteen rows of 64 bytes while this lives.
struct Shapes;

impl Shapes {
    fn set(_: Amx) -> Self {
        /// As the instruction reads it.
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            bytes: [u16; 16],
            rows: [u8; 16],
        }
        const FULL: Config = {
            let (mut bytes, mut rows) = ([0; 16], [0; 16]);
            let mut i = 0;
            while i < 8 {
                (bytes[i], rows[i]) = (64, 16);
                i += 1;
            }
            Config { palette: 1, start_row: 0, reserved: [0; 14], bytes, rows }
        };
        static CONFIG: Config = FULL;
        // SAFETY: the processor has the instruction and the process may use it, which the argument is proof of; it reads 64
        // bytes, and clears the tiles, which nobody else uses.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, preserves_flags, readonly)) }
        Self
    }
}

impl Drop for Shapes {
    fn drop(&mut self) {
        // SAFETY: as for `set`, without which there is no value. A thread without tiles is cheaper to interrupt.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) }
    }
}

/// The same bits.
#[inline]
fn bits(parts: __m512bh) -> __m512i {
    // SAFETY: both are 64 bytes of any content.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(parts) }
}

/// The high parts of two vectors, and what they leave.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn parts(a: __m512, b: __m512) -> (__m512bh, __m512bh) {
    let high = _mm512_cvtne2ps_pbh(b, a);
    let (first, second) = (_mm512_castsi512_si256(bits(high)), _mm512_extracti64x4_epi64::<1>(bits(high)));
    // SAFETY: both are 32 bytes of any content.
    let widened = |half: __m256i| _mm512_cvtpbh_ps(unsafe { std::mem::transmute::<__m256i, __m256bh>(half) });
    let (first, second) = (widened(first), widened(second));
    (high, _mm512_cvtne2ps_pbh(_mm512_sub_ps(b, second), _mm512_sub_ps(a, first)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn split(from: &[f32], high: &mut [u16], low: &mut [u16]) {
    let len = from.len();
    assert!(high.len() == len && low.len() == len, "parts of another length");
    let mut i = 0;
    while i + DEPTH <= len {
        // SAFETY: as many values are left of each.
        unsafe {
            let (a, b) = (_mm512_loadu_ps(from.as_ptr().add(i)), _mm512_loadu_ps(from.as_ptr().add(i + 16)));
            let (h, l) = parts(a, b);
            _mm512_storeu_si512(high.as_mut_ptr().add(i).cast(), bits(h));
            _mm512_storeu_si512(low.as_mut_ptr().add(i).cast(), bits(l));
        }
        i += DEPTH;
    }
    if i < len {
        let mask = (1_u32 << (len - i)) - 1;
        // SAFETY: lanes behind the last value are neither read nor written.
        unsafe {
            let a = _mm512_maskz_loadu_ps(mask as u16, from.as_ptr().add(i));
            let b = _mm512_maskz_loadu_ps((mask >> 16) as u16, from.as_ptr().wrapping_add(i + 16));
            let (h, l) = parts(a, b);
            _mm512_mask_storeu_epi16(high.as_mut_ptr().add(i).cast(), mask, bits(h));
            _mm512_mask_storeu_epi16(low.as_mut_ptr().add(i).cast(), mask, bits(l));
        }
    }
}

#[target_feature(enable = "avx512f")]
fn complete_with(s: Avx512, epilogue: &Epilogue<'_>, sums: &[f32], out: MatrixMut<'_>) {
    complete(s, epilogue, sums, BLOCK, out);
}

/// A block in the processor's instructions. In tiles 0 to 3 are the sums, row by row; 4 and 5 hold rows, 6 and 7 columns, those
/// of weights first the low parts, then the high ones, and those of rows first the high parts, then the low ones.
macro_rules! block {
    ($block:ident, $sums:ident, bytes: $bytes:literal,
     low: [$($low:literal),*], high: [$($high:literal),*], last: [$($last:literal),*], store: [$($store:literal),*]) => {
        match $block.ahead {
            Ahead::Some(ahead) => block!(
                $block, $sums, ahead, $bytes, "512", [$($low),*], [$($high),*], [$($last),*], [$($store),*],
                [0 64 128 192], [256 320 384 448]
            ),
            Ahead::All(ahead) => block!(
                $block, $sums, ahead, $bytes, $bytes, [$($low),*], [$($high),*], [$($last),*], [$($store),*],
                [0 64 128 192 256 320 384 448 512 576 640 704 768 832 896 960
                 1024 1088 1152 1216 1280 1344 1408 1472 1536 1600 1664 1728 1792 1856 1920 1984],
                [2048 2112 2176 2240 2304 2368 2432 2496 2560 2624 2688 2752 2816 2880 2944 3008
                 3072 3136 3200 3264 3328 3392 3456 3520 3584 3648 3712 3776 3840 3904 3968 4032]
            ),
        }
    };
    ($block:ident, $sums:ident, $ahead:ident, $bytes:literal, $ahead_bytes:literal,
     [$($low:literal),*], [$($high:literal),*], [$($last:literal),*], [$($store:literal),*],
     [$($first:literal)*], [$($then:literal)*]) => {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "mov {at}, [{steps}]",
            "add {at}, {high}",
            "lea {second}, [{row} + {row}]",
            "lea {second}, [{at} + 8*{second}]",
            $($low,)*
            $(concat!("prefetcht1 [{ahead} + ", $first, "]"),)*
            $($high,)*
            $(concat!("prefetcht1 [{ahead} + ", $then, "]"),)*
            "add {at}, {low}",
            "add {second}, {low}",
            $($last,)*
            concat!("add {weights}, ", $bytes),
            concat!("add {ahead}, ", $ahead_bytes),
            "add {steps}, 8",
            "dec {count}",
            "jnz 2b",
            "mov {at:e}, 128",
            $($store,)*
            at = out(reg) _,
            second = out(reg) _,
            high = in(reg) $block.high,
            low = in(reg) $block.low,
            row = in(reg) $block.row,
            line = in(reg) 64_usize,
            steps = inout(reg) $block.steps.as_ptr() => _,
            count = inout(reg) $block.steps.len() => _,
            weights = inout(reg) $block.weights => _,
            sums = in(reg) $sums.0.as_mut_ptr(),
            ahead = inout(reg) $ahead => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        )
    };
}

impl Blocks for Amx {
    #[inline(always)]
    fn split(self, from: &[f32], high: &mut [u16], low: &mut [u16]) {
        // SAFETY: `self` is proof that the processor has the instructions.
        unsafe { split(from, high, low) }
    }

    unsafe fn block(self, block: Block<'_>, sums: &mut Sums) {
        if block.steps.is_empty() {
            return sums.0.fill(0.0);
        }
        // SAFETY: reads what the caller promises, writes the sums; `Shapes` is set wherever blocks are computed.
        unsafe {
            match block.tiles {
                (2, 2) => block!(block, sums, bytes: "4096",
                low: [
                    "tileloadd tmm4, [{at} + {row}]",
                    "tileloadd tmm6, [{weights} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{weights} + {line} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{second} + {row}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7"
                ],
                high: [
                    "tileloadd tmm6, [{weights} + {line} + 2048]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{weights} + {line} + 3072]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7"
                ],
                last: [
                    "tileloadd tmm4, [{at} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{second} + {row}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7"
                ],
                store: [
                    "tilestored [{sums} + {at}], tmm0",
                    "tilestored [{sums} + {at} + 64], tmm1",
                    "tilestored [{sums} + {at} + 2048], tmm2",
                    "tilestored [{sums} + {at} + 2112], tmm3"
                ]),
                (1, 2) => block!(block, sums, bytes: "4096",
                low: [
                    "tileloadd tmm4, [{at} + {row}]",
                    "tileloadd tmm6, [{weights} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{weights} + {line} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7"
                ],
                high: [
                    "tileloadd tmm6, [{weights} + {line} + 2048]",
                    "tdpbf16ps tmm2, tmm4, tmm6",
                    "tileloadd tmm7, [{weights} + {line} + 3072]",
                    "tdpbf16ps tmm3, tmm4, tmm7"
                ],
                last: [
                    "tileloadd tmm4, [{at} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7"
                ],
                store: [
                    "tilestored [{sums} + {at}], tmm0",
                    "tilestored [{sums} + {at} + 64], tmm1",
                    "tilestored [{sums} + {at} + 2048], tmm2",
                    "tilestored [{sums} + {at} + 2112], tmm3"
                ]),
                (2, 1) => block!(block, sums, bytes: "2048",
                low: [
                    "tileloadd tmm4, [{at} + {row}]",
                    "tileloadd tmm6, [{weights} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{second} + {row}]",
                    "tdpbf16ps tmm2, tmm5, tmm6"
                ],
                high: [
                    "tileloadd tmm7, [{weights} + {line} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm5, tmm7"
                ],
                last: [
                    "tileloadd tmm4, [{at} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm7",
                    "tileloadd tmm5, [{second} + {row}]",
                    "tdpbf16ps tmm2, tmm5, tmm7"
                ],
                store: [
                    "tilestored [{sums} + {at}], tmm0",
                    "tilestored [{sums} + {at} + 64], tmm1",
                    "tilestored [{sums} + {at} + 2048], tmm2",
                    "tilestored [{sums} + {at} + 2112], tmm3"
                ]),
                _ => block!(block, sums, bytes: "2048",
                low: [
                    "tileloadd tmm4, [{at} + {row}]",
                    "tileloadd tmm6, [{weights} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6"
                ],
                high: [
                    "tileloadd tmm7, [{weights} + {line} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7"
                ],
                last: [
                    "tileloadd tmm5, [{at} + {row}]",
                    "tdpbf16ps tmm2, tmm5, tmm7"
                ],
                store: [
                    "tilestored [{sums} + {at}], tmm0",
                    "tilestored [{sums} + {at} + 64], tmm1",
                    "tilestored [{sums} + {at} + 2048], tmm2"
                ]),
            }
        }
        if block.tiles != (2, 2) {
            // SAFETY: `self` is proof that the processor has the instructions.
            unsafe { join(self.0, block.tiles, sums) }
        }
    }

    fn complete(self, epilogue: &Epilogue<'_>, sums: &Sums, row: usize, out: MatrixMut<'_>) {
        // SAFETY: `self` is proof that the processor has the instructions.
        unsafe { complete_with(self.0, epilogue, &sums.0[row * BLOCK..], out) }
    }
}

/// Where a block has one tile of rows or of columns, the other tiles hold parts of its sums, that fewer products may wait for
/// each other.
#[target_feature(enable = "avx512f")]
fn join(s: Avx512, (tall, wide): (usize, usize), sums: &mut Sums) {
    let (half, stride) = (BLOCK / 2, BLOCK);
    for row in 0..half * tall {
        let at = sums.0[row * stride..].as_mut_ptr();
        for col in (0..half * wide).step_by(Avx512::WIDTH) {
            // SAFETY: vectors inside of the block: of a row, of its right half, of the row half a block below.
            unsafe {
                let mut sum = s.load(at.add(col));
                if wide == 1 {
                    sum = s.add(sum, s.load(at.add(half)));
                }
                if tall == 1 {
                    sum = s.add(sum, s.load(at.add(half * stride + col)));
                }
                s.store(at.add(col), sum);
            }
        }
    }
}
