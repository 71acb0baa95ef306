// Pixels to a network's input.
#include "element.cuh"

// As facesocial_cuda::normalize::Params; `source` is where in a pixel the network's channel stands.
struct Normalization {
    float mean[3], std[3];
    uint32_t source[3], plane;
};

// Bytes [n, h, w, 3] -> [n, 3, h, w], (pixel - mean) / std
template <typename T>
__device__ void normalize(const uint8_t *pixels, T *out, uint32_t total, Normalization p) {
    GRID_STRIDE(i, total) {
        uint32_t at = i % p.plane, c = i / p.plane % 3, image = i / p.plane / 3;
        float value = pixels[((size_t)image * p.plane + at) * 3 + p.source[c]];
        out[i] = T((value - p.mean[c]) / p.std[c]);
    }
}

#define DEFINE(T, name)                                                                                          \
    extern "C" __global__ void normalize_##name(const uint8_t *pixels, T *out, uint32_t total, Normalization p) { \
        normalize(pixels, out, total, p);                                                                        \
    }
FOR_EACH_TYPE(DEFINE)
