// What follows a convolution's sum, in place, on [n, c, h, w].
#include "element.cuh"

template <typename T>
__device__ void epilogue(T *xs, const T *bias, const T *slopes, const T *shortcut, const T *then_slopes, uint32_t total,
                         Epilogue e) {
    GRID_STRIDE(i, total) {
        uint32_t c = i / e.plane % e.channels;
        float x = (float)xs[i];
        if (e.bias) x += (float)bias[c];
        x = activate(e.activation, x, e.slopes ? (float)slopes[c] : 0.f);
        if (e.shortcut) x += (float)shortcut[i];
        x = activate(e.then, x, e.then_slopes ? (float)then_slopes[c] : 0.f);
        xs[i] = T(x);
    }
}

#define DEFINE(T, name)                                                                                             \
    extern "C" __global__ void epilogue_##name(T *xs, const T *bias, const T *slopes, const T *shortcut,             \
                                               const T *then_slopes, uint32_t total, Epilogue e) {                  \
        epilogue(xs, bias, slopes, shortcut, then_slopes, total, e);                                                \
    }
FOR_EACH_TYPE(DEFINE)
