// Rows of matrices: looked up, picked, put back, added, converted. N rows, D columns.
#include "common.cuh"

// y[n,d] = scale table[ids[n],d]
KERNEL embed(Mat y, Mat table, Ints ids, u32 cols, float scale) {
    for (u64 i = first_element(); i < y.len; i += all_threads()) {
        put(y, i, scale * get(table, (u64)at(ids, i / cols) * cols + i % cols));
    }
}
REGISTER_WITHOUT_BARRIERS(embed)

// y[n,d] = x[rows[n],d]
KERNEL pick_rows(Mat y, Mat x, Ints rows, u32 cols) {
    for (u64 i = first_element(); i < y.len; i += all_threads()) {
        put(y, i, get(x, (u64)at(rows, i / cols) * cols + i % cols));
    }
}
REGISTER_WITHOUT_BARRIERS(pick_rows)

// y[rows[n],d] = x[n,d]
KERNEL place_rows(Mat y, Mat x, Ints rows, u32 cols) {
    for (u64 i = first_element(); i < x.len; i += all_threads()) {
        put(y, (u64)at(rows, i / cols) * cols + i % cols, get(x, i));
    }
}
REGISTER_WITHOUT_BARRIERS(place_rows)

// x += y
KERNEL add_assign(Mat x, Mat y) {
    for (u64 i = first_element(); i < x.len; i += all_threads()) put(x, i, get(x, i) + get(y, i));
}
REGISTER_WITHOUT_BARRIERS(add_assign)

// y = x + offset, in y's format
KERNEL convert(Mat y, Mat x, float offset) {
    for (u64 i = first_element(); i < y.len; i += all_threads()) put(y, i, get(x, i) + offset);
}
REGISTER_WITHOUT_BARRIERS(convert)

// y[n,o] += b[o]
KERNEL add_bias(Mat y, Mat b) {
    for (u64 i = first_element(); i < y.len; i += all_threads()) {
        put(y, i, get(y, i) + get(b, i % b.len));
    }
}
REGISTER_WITHOUT_BARRIERS(add_bias)

// x = c tanh(x / c)
KERNEL soft_cap(Mat x, float c) {
    for (u64 i = first_element(); i < x.len; i += all_threads()) put(x, i, c * tanhf(get(x, i) / c));
}
REGISTER_WITHOUT_BARRIERS(soft_cap)
