// Causal attention of variable-length sequences without a T x T matrix (Dao et al. 2022,
// arXiv:2205.14135). H query heads, K key/value heads, E head size; a row of qkv is [q | k | v].
//
// A tile is 16 rows of a sequence; `tiles` has three values of each: the sequence's first row, the
// row behind its last, and the tile's first row. 256 threads: thread (r, c) has the score of query r
// with key c, and the columns c, c + 16, ... of row r.
#include "common.cuh"

#define SIDE 16
#define MOST_PER_THREAD 16

struct Shape {
    u32 heads, kv_heads, E, window;  // window 0: none
    float scale, cap;                // cap 0: none
};

struct Place {
    u32 begin, end, first;
};

__device__ __forceinline__ Place place(const Ints& tiles, u32 tile) {
    Place p = {at(tiles, 3 * (u64)tile), at(tiles, 3 * (u64)tile + 1), at(tiles, 3 * (u64)tile + 2)};
    return p;
}

// Copies the columns col .. col + E of SIDE rows from `first` on; zeros behind `end`.
__device__ __forceinline__ void load(
    float* to, const Mat& from, u32 first, u32 end, u32 width, u32 col, u32 E) {
    for (u32 i = threadIdx.x; i < SIDE * E; i += blockDim.x) {
        u32 row = i / E, e = i % E;
        to[row * (E + 1) + e] =
            first + row < end ? get(from, (u64)(first + row) * width + col + e) : 0.f;
    }
}

__device__ __forceinline__ float dot(const float* a, const float* b, u32 E) {
    float sum = 0;
    for (u32 e = 0; e < E; e++) sum += a[e] * b[e];
    return sum;
}

__device__ __forceinline__ float capped(float score, const Shape& s) {
    return s.cap > 0 ? s.cap * tanhf(score / s.cap) : score;
}

__device__ __forceinline__ bool sees(u32 query, u32 key, u32 end, const Shape& s) {
    return query < end && key <= query && (s.window == 0 || query - key < s.window);
}

// The first tile of keys that some query from `query` on sees.
__device__ __forceinline__ u32 first_tile(u32 query, u32 begin, const Shape& s) {
    u32 seen = s.window && query - begin + 1 > s.window ? query + 1 - s.window - begin : 0;
    return begin + seen / SIDE * SIDE;
}

// s_j = scale q_i k_j (capped), p = softmax(s), out_i = sum_j p_j v_j, lse_i = log sum_j exp(s_j).
// The sums are those of the keys so far, and are scaled where a larger score comes.
KERNEL attention(Mat out, Mat lse, Mat qkv, Ints tiles, Shape s) {
    DYNAMIC_SHARED(shared);
    u32 E = s.E, row = E + 1, width = (s.heads + 2 * s.kv_heads) * E;
    float *q = shared, *k = q + SIDE * row, *v = k + SIDE * row, *p = v + SIDE * row;
    u32 head = blockIdx.y, kv = head / (s.heads / s.kv_heads);
    u32 r = threadIdx.x / SIDE, c = threadIdx.x % SIDE;
    Place t = place(tiles, blockIdx.x);
    u32 query = t.first + r;
    load(q, qkv, t.first, t.end, width, head * E, E);
    float largest = -3.402823466e38f, sum = 0, o[MOST_PER_THREAD] = {};
    for (u32 key0 = first_tile(t.first, t.begin, s); key0 < t.first + SIDE; key0 += SIDE) {
        BARRIER();
        load(k, qkv, key0, t.end, width, (s.heads + kv) * E, E);
        load(v, qkv, key0, t.end, width, (s.heads + s.kv_heads + kv) * E, E);
        BARRIER();
        bool seen = sees(query, key0 + c, t.end, s);
        float score = capped(s.scale * dot(q + r * row, k + c * row, E), s);
        float more = largest_of_lanes(seen ? score : largest, SIDE);
        float shrink = expf(largest - more);
        float e = seen ? exponential(score - more) : 0.f;
        largest = more;
        sum = sum * shrink + sum_of_lanes(e, SIDE);
        p[r * (SIDE + 1) + c] = e;
        BARRIER();
        for (u32 i = 0; i < MOST_PER_THREAD && c + SIDE * i < E; i++) {
            float add = 0;
            for (u32 j = 0; j < SIDE; j++) add += p[r * (SIDE + 1) + j] * v[j * row + c + SIDE * i];
            o[i] = o[i] * shrink + add;
        }
    }
    if (query >= t.end) return;
    for (u32 i = 0; i < MOST_PER_THREAD && c + SIDE * i < E; i++) {
        put(out, ((u64)query * s.heads + head) * E + c + SIDE * i, o[i] / sum);
    }
    if (c == 0) put(lse, (u64)query * s.heads + head, largest + logf(sum));
}
REGISTER(attention)

// p_ij = exp(s_ij - lse_i); ds_ij = p_ij (do_i v_j - do_i o_i), where scores are capped times
// 1 - (s_ij / c)^2.
struct Scores {
    float p, ds;
};

__device__ __forceinline__ Scores scores(
    const float* q, const float* k, const float* d, const float* v, float lse, float along,
    bool seen, const Shape& s) {
    float score = capped(s.scale * dot(q, k, s.E), s);
    float p = seen ? exponential(score - lse) : 0.f;
    float ds = p * (dot(d, v, s.E) - along);
    if (s.cap > 0) ds *= 1.f - (score / s.cap) * (score / s.cap);
    Scores of = {p, seen ? ds : 0.f};
    return of;
}

// dq_i = scale sum_j ds_ij k_j, and along_i = do_i o_i for the gradients of k and v.
KERNEL attention_backward_q(
    Mat dqkv, Mat along, Mat dout, Mat qkv, Mat out, Mat lse, Ints tiles, Shape s) {
    DYNAMIC_SHARED(shared);
    u32 E = s.E, row = E + 1, width = (s.heads + 2 * s.kv_heads) * E, outs = s.heads * E;
    float *q = shared, *k = q + SIDE * row, *v = k + SIDE * row, *d = v + SIDE * row;
    float* ds = d + SIDE * row;
    u32 head = blockIdx.y, kv = head / (s.heads / s.kv_heads);
    u32 r = threadIdx.x / SIDE, c = threadIdx.x % SIDE;
    Place t = place(tiles, blockIdx.x);
    u32 query = t.first + r;
    bool inside = query < t.end;
    load(q, qkv, t.first, t.end, width, head * E, E);
    load(d, dout, t.first, t.end, outs, head * E, E);
    BARRIER();
    float mine = 0;
    for (u32 e = c; e < E && inside; e += SIDE) {
        mine += d[r * row + e] * get(out, (u64)query * outs + head * E + e);
    }
    mine = sum_of_lanes(mine, SIDE);
    float denominator = inside ? get(lse, (u64)query * s.heads + head) : 0.f;
    if (inside && c == 0) put(along, (u64)query * s.heads + head, mine);
    float dq[MOST_PER_THREAD] = {};
    for (u32 key0 = first_tile(t.first, t.begin, s); key0 < t.first + SIDE; key0 += SIDE) {
        BARRIER();
        load(k, qkv, key0, t.end, width, (s.heads + kv) * E, E);
        load(v, qkv, key0, t.end, width, (s.heads + s.kv_heads + kv) * E, E);
        BARRIER();
        bool seen = sees(query, key0 + c, t.end, s);
        Scores of = scores(
            q + r * row, k + c * row, d + r * row, v + c * row, denominator, mine, seen, s);
        ds[r * (SIDE + 1) + c] = of.ds;
        BARRIER();
        for (u32 i = 0; i < MOST_PER_THREAD && c + SIDE * i < E; i++) {
            for (u32 j = 0; j < SIDE; j++) dq[i] += ds[r * (SIDE + 1) + j] * k[j * row + c + SIDE * i];
        }
    }
    for (u32 i = 0; i < MOST_PER_THREAD && c + SIDE * i < E && inside; i++) {
        put(dqkv, (u64)query * width + head * E + c + SIDE * i, s.scale * dq[i]);
    }
}
REGISTER(attention_backward_q)

// dk_j = scale sum_i ds_ij q_i, dv_j = sum_i p_ij do_i, over the query heads of a key/value head and
// the tiles of queries in their order.
KERNEL attention_backward_kv(
    Mat dqkv, Mat along, Mat dout, Mat qkv, Mat lse, Ints tiles, Shape s) {
    DYNAMIC_SHARED(shared);
    u32 E = s.E, row = E + 1, width = (s.heads + 2 * s.kv_heads) * E, outs = s.heads * E;
    float *q = shared, *k = q + SIDE * row, *v = k + SIDE * row, *d = v + SIDE * row;
    float *ds = d + SIDE * row, *p = ds + SIDE * (SIDE + 1);
    u32 kv = blockIdx.y, group = s.heads / s.kv_heads;
    u32 r = threadIdx.x / SIDE, c = threadIdx.x % SIDE;
    Place t = place(tiles, blockIdx.x);
    load(k, qkv, t.first, t.end, width, (s.heads + kv) * E, E);
    load(v, qkv, t.first, t.end, width, (s.heads + s.kv_heads + kv) * E, E);
    float dk[MOST_PER_THREAD] = {}, dv[MOST_PER_THREAD] = {};
    u32 last = t.first + SIDE < t.end ? t.first + SIDE : t.end;
    u32 end = s.window && last - 1 + s.window < t.end ? last - 1 + s.window : t.end;
    for (u32 head = kv * group; head < (kv + 1) * group; head++) {
        for (u32 query0 = t.first; query0 < end; query0 += SIDE) {
            BARRIER();
            load(q, qkv, query0, t.end, width, head * E, E);
            load(d, dout, query0, t.end, outs, head * E, E);
            BARRIER();
            u32 query = query0 + r;
            bool seen = sees(query, t.first + c, t.end, s);
            u64 of_query = (u64)query * s.heads + head;
            float denominator = seen ? get(lse, of_query) : 0.f;
            float mine = seen ? get(along, of_query) : 0.f;
            Scores of = scores(
                q + r * row, k + c * row, d + r * row, v + c * row, denominator, mine, seen, s);
            ds[r * (SIDE + 1) + c] = of.ds;
            p[r * (SIDE + 1) + c] = of.p;
            BARRIER();
            // Here r is the key's row.
            for (u32 i = 0; i < MOST_PER_THREAD && c + SIDE * i < E; i++) {
                for (u32 j = 0; j < SIDE; j++) {
                    dk[i] += ds[j * (SIDE + 1) + r] * q[j * row + c + SIDE * i];
                    dv[i] += p[j * (SIDE + 1) + r] * d[j * row + c + SIDE * i];
                }
            }
        }
    }
    u32 key = t.first + r;
    for (u32 i = 0; i < MOST_PER_THREAD && c + SIDE * i < E && key < t.end; i++) {
        u64 to = (u64)key * width + (s.heads + kv) * E + c + SIDE * i;
        put(dqkv, to, s.scale * dk[i]);
        put(dqkv, to + (u64)s.kv_heads * E, dv[i]);
    }
}
REGISTER(attention_backward_kv)
