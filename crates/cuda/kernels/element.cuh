// What the kernels share: types of elements, and what follows a convolution. The sums are single precision whatever the type.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

// Every kernel is written for T and instantiated for these.
#define FOR_EACH_TYPE(DEFINE) DEFINE(float, f32) DEFINE(__half, f16) DEFINE(__nv_bfloat16, bf16)

// The elements that one thread of a grid takes.
#define GRID_STRIDE(i, total) \
    for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < (total); i += gridDim.x * blockDim.x)

// In the order of facesocial_kernels::Activation.
enum Activation : uint32_t { NONE, RELU, RELU6, PRELU, SILU, GELU, HARD_SWISH, HARD_SIGMOID, SIGMOID };

// NaN stays NaN, so that a broken activation is seen: comparisons with it are false.
__device__ __forceinline__ float activate(uint32_t activation, float x, float slope) {
    switch (activation) {
        case RELU: return x < 0.f ? 0.f : x;
        case RELU6: return x < 0.f ? 0.f : (x > 6.f ? 6.f : x);
        case PRELU: return x < 0.f ? x * slope : x;
        case SILU: return x / (1.f + expf(-x));
        case GELU: return 0.5f * x * (1.f + erff(x * 0.70710678118654752f));
        case HARD_SIGMOID: {
            float y = x / 6.f + 0.5f;
            return y < 0.f ? 0.f : (y > 1.f ? 1.f : y);
        }
        case HARD_SWISH: {
            float y = x / 6.f + 0.5f;
            return x * (y < 0.f ? 0.f : (y > 1.f ? 1.f : y));
        }
        case SIGMOID: return 1.f / (1.f + expf(-x));
        default: return x;
    }
}

// As facesocial_cuda::epilogue::Params.
struct Epilogue {
    uint32_t plane, channels, activation, then;
    // Which of the pointers are real.
    uint32_t bias, slopes, shortcut, then_slopes;
};
