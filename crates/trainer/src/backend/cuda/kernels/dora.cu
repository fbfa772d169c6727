// DoRA: y = g v + b with v = W x + s B A x and g = m / |W + s B A|, output by output; the norm counts
// as a constant in the backward pass (Liu et al. 2024, arXiv:2402.09353, eq. 5 and 11).
#include "common.cuh"

// Where one slot's A [R,I], B [O,R] and magnitudes m [O] lie among its values.
struct Path {
    u64 a, b, magnitude;
    u32 rank;
    float scale;
    u32 first, rows;  // its rows
    u32 col, cols;    // the columns of y: the rows of W
    u32 width, inputs;
};

// norms[o] = |W[col + o] + s B[o] A|, factors[o] = m[o] / norms[o]; one block an output.
KERNEL dora_norms(Mat norms, Mat factors, Mat w, Mat params, Path p) {
    __shared__ float parts[32];
    u32 o = blockIdx.x;
    float squares = 0;
    for (u32 i = threadIdx.x; i < p.inputs; i += blockDim.x) {
        float sum = 0;
        for (u32 r = 0; r < p.rank; r++) {
            sum += get(params, p.b + (u64)o * p.rank + r) * get(params, p.a + (u64)r * p.inputs + i);
        }
        float row = get(w, (u64)(p.col + o) * p.inputs + i) + p.scale * sum;
        squares += row * row;
    }
    float norm = sqrtf(sum_of_block(squares, parts));
    if (threadIdx.x != 0) return;
    put(norms, o, norm);
    if (factors.len) put(factors, o, get(params, p.magnitude + o) / norm);
}
REGISTER(dora_norms)

// From v + b in the path's rows of y[:, cols] to g v + b; v is kept.
KERNEL dora_scale(Mat y, Mat v, Mat factors, Mat bias, Path p) {
    for (u64 i = first_element(); i < v.len; i += all_threads()) {
        u64 row = i / p.cols, o = i % p.cols, to = (p.first + row) * p.width + p.col + o;
        float b = bias.len ? get(bias, p.col + o) : 0.f;
        float direction = get(y, to) - b;
        put(v, i, direction);
        put(y, to, get(factors, o) * direction + b);
    }
}
REGISTER_WITHOUT_BARRIERS(dora_scale)

// dm += sum over rows of dy v / |W + s B A|, and from dy to the gradient of v, g dy; one thread an
// output.
KERNEL dora_backward(Mat dy, Mat grad, Mat v, Mat norms, Mat factors, Path p) {
    u64 o = first_element();
    if (o >= p.cols) return;
    float g = get(factors, o), norm = get(norms, o), sum = 0;
    for (u64 row = 0; row < p.rows; row++) {
        u64 at = (p.first + row) * p.width + p.col + o;
        float d = get(dy, at);
        sum += d * get(v, row * p.cols + o) / norm;
        put(dy, at, g * d);
    }
    put(grad, p.magnitude + o, get(grad, p.magnitude + o) + sum);
}
REGISTER_WITHOUT_BARRIERS(dora_backward)
