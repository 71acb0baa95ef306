// Convolutions of [n, c, h, w].
#include "element.cuh"

// As facesocial_cuda::conv::Params.
struct Window {
    uint32_t channels, height, width, kernel_h, kernel_w, stride, top, left, out_h, out_w;
};

// [n, c, h, w] -> [n, c * kh * kw, oh * ow]: the windows as columns, for a matrix product from the left.
template <typename T>
__device__ void im2col(const T *xs, T *out, uint32_t total, Window w) {
    GRID_STRIDE(i, total) {
        uint32_t ox = i % w.out_w, rest = i / w.out_w;
        uint32_t oy = rest % w.out_h;
        rest /= w.out_h;
        uint32_t kx = rest % w.kernel_w;
        rest /= w.kernel_w;
        uint32_t ky = rest % w.kernel_h;
        uint32_t plane = rest / w.kernel_h;  // image and channel
        // Above or left of the image the difference wraps round to a large number.
        uint32_t y = oy * w.stride + ky - w.top, x = ox * w.stride + kx - w.left;
        bool inside = y < w.height && x < w.width;
        out[i] = inside ? xs[((size_t)plane * w.height + y) * w.width + x] : T(0.f);
    }
}

// [n, c, h, w] and [c, 1, kh, kw] -> [n, c, oh, ow]
template <typename T>
__device__ void depthwise(const T *xs, const T *weight, const T *bias, const T *slopes, T *out, uint32_t total, Window w,
                          Epilogue e) {
    GRID_STRIDE(i, total) {
        uint32_t ox = i % w.out_w, rest = i / w.out_w;
        uint32_t oy = rest % w.out_h, plane = rest / w.out_h;
        uint32_t c = plane % w.channels;
        const T *image = xs + (size_t)plane * w.height * w.width;
        const T *taps = weight + (size_t)c * w.kernel_h * w.kernel_w;
        float sum = e.bias ? (float)bias[c] : 0.f;
        for (uint32_t ky = 0; ky < w.kernel_h; ky++) {
            uint32_t y = oy * w.stride + ky - w.top;
            if (y >= w.height) continue;
            for (uint32_t kx = 0; kx < w.kernel_w; kx++) {
                uint32_t x = ox * w.stride + kx - w.left;
                if (x < w.width) sum += (float)taps[ky * w.kernel_w + kx] * (float)image[(size_t)y * w.width + x];
            }
        }
        out[i] = T(activate(e.activation, sum, e.slopes ? (float)slopes[c] : 0.f));
    }
}

#define DEFINE(T, name)                                                                                                  \
    extern "C" __global__ void im2col_##name(const T *xs, T *out, uint32_t total, Window w) { im2col(xs, out, total, w); } \
    extern "C" __global__ void depthwise_##name(const T *xs, const T *weight, const T *bias, const T *slopes, T *out,     \
                                                uint32_t total, Window w, Epilogue e) {                                  \
        depthwise(xs, weight, bias, slopes, out, total, w, e);                                                           \
    }
FOR_EACH_TYPE(DEFINE)
