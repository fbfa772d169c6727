// Cross-entropy of a few rows of logits, one block a row. M rows, V vocabulary.
#include "common.cuh"

// nll = log sum_v exp(z_v) - z_target; d_v = weight (softmax_v - [v = target]), where logits are
// capped (c > 0: z = c tanh(logit / c)) times 1 - (z_v / c)^2. `d` may be the logits' own memory.
KERNEL cross_entropy(Mat nll, Mat d, Mat logits, Ints tokens, Mat weights, u32 first, u32 V, float c) {
    __shared__ float parts[32];
    u64 row = (u64)blockIdx.x * V;
    u32 target = at(tokens, first + blockIdx.x);
    float largest = -3.402823466e38f;
    for (u32 v = threadIdx.x; v < V; v += blockDim.x) {
        float z = get(logits, row + v);
        if (c > 0) {
            z = c * tanhf(z / c);
            put(logits, row + v, z);
        }
        largest = fmaxf(largest, z);
    }
    largest = largest_of_block(largest, parts);
    float sum = 0;
    for (u32 v = threadIdx.x; v < V; v += blockDim.x) sum += exponential(get(logits, row + v) - largest);
    sum = sum_of_block(sum, parts);
    float of_target = get(logits, row + target);
    BARRIER();
    if (threadIdx.x == 0) put(nll, first + blockIdx.x, logf(sum) - (of_target - largest));
    float weight = get(weights, first + blockIdx.x);
    if (d.len == 0) return;
    for (u32 v = threadIdx.x; v < V; v += blockDim.x) {
        float z = get(logits, row + v);
        float slope = weight / sum * exponential(z - largest) - (v == target ? weight : 0.f);
        if (c > 0) slope *= 1.f - (z / c) * (z / c);
        put(d, row + v, slope);
    }
}
REGISTER(cross_entropy)
