/* The messages of GINE and their gradients: a message is made where it is added up, and is in no memory. */

#include "gine.h"

#include "indices.h"
#include "lanes.h"

enum { EIGHTS = 4, BLOCK = EIGHTS * LANES }; /* channels of which sums stay in registers */

#define EACH_OF_BLOCK(k) _Pragma("GCC unroll 4") for (int k = 0; k < EIGHTS; k++)

/* Eight numbers of a block of which `left` are there. */
INLINE lanes part_of(const real *x, int k, int64_t left) { return load_part(x + k * LANES, larger(left - k * LANES, 0)); }
INLINE void put_part(real *x, int k, lanes y, int64_t left) { store_part(x + k * LANES, y, larger(left - k * LANES, 0)); }

INLINE int64_t edge_at(const Gine *w, int64_t entry) {
    return w->edge_id ? index_at(w->edge_id, entry, w->index_is_64) : entry;
}

INLINE uint8_t *signs_at(const Gine *w, int64_t edge, int64_t c) { return w->signs + edge * eights(w->channels) + c / LANES; }

/* Calls a function for the channels from c on: for a whole block, or for what is left. */
#define EACH_BLOCK(c, channels, call)                          \
    for (int64_t c = 0; c < (channels); c += BLOCK)            \
        if (c + BLOCK <= (channels)) call(c, BLOCK);           \
        else call(c, (channels) - c)

INLINE void sum_of_row(const Gine *w, int64_t row, int64_t c, const int64_t left) {
    const int64_t channels = w->channels, edge_dim = w->edge_dim;
    const real *x = (const real *)w->x + c, *weight = w->weight, *bias = w->bias;
    const real factor = 1 + *(const real *)w->eps;
    lanes sum[EIGHTS], offset[EIGHTS];
    EACH_OF_BLOCK(k) {
        sum[k] = factor * part_of(x + row * channels, k, left);
        offset[k] = bias ? part_of(bias + c, k, left) : (lanes){0};
    }
    for (int64_t at = w->rowptr[row]; at < w->rowptr[row + 1]; at++) {
        const int64_t edge = edge_at(w, at), source = index_at(w->col, at, w->index_is_64);
        const real *features = (const real *)w->edge_features + edge * (weight ? edge_dim : channels);
        lanes message[EIGHTS];
        EACH_OF_BLOCK(k) message[k] = offset[k] + part_of(x + source * channels, k, left);
        if (weight)
            for (int64_t f = 0; f < edge_dim; f++)
                EACH_OF_BLOCK(k) message[k] += features[f] * part_of(weight + f * channels + c, k, left);
        else
            EACH_OF_BLOCK(k) message[k] += part_of(features + c, k, left);
        EACH_OF_BLOCK(k) sum[k] += larger_of((lanes){0}, message[k]); /* NaN stays NaN */
        if (w->signs)
            EACH_OF_BLOCK(k) if (k * LANES < left) signs_at(w, edge, c)[k] = bits_of(~(message[k] <= 0));
    }
    EACH_OF_BLOCK(k) put_part((real *)w->out + row * channels + c, k, sum[k], left);
}

/* Items are targets. */
void EXPORTED(gine_forward)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Gine *w = work;
    for (int64_t row = first; row < last; row++) {
#define CALL(c, left) sum_of_row(w, row, c, left)
        EACH_BLOCK(c, w->channels, CALL);
#undef CALL
    }
}

INLINE void gradients_of_row(const Gine *w, int64_t row, int64_t c, const int64_t left) {
    const int64_t channels = w->channels;
    const real *grad_out = (const real *)w->grad_out + c;
    const real factor = w->eps ? 1 + *(const real *)w->eps : 0; /* which only the gradient of x needs */
    lanes sum[EIGHTS];
    EACH_OF_BLOCK(k) sum[k] = factor * part_of(grad_out + row * channels, k, left);
    for (int64_t at = w->rowptr[row]; at < w->rowptr[row + 1]; at++) {
        const int64_t edge = edge_at(w, index_at(w->place, at, w->index_is_64)), target = index_at(w->col, at, w->index_is_64);
        EACH_OF_BLOCK(k) if (k * LANES < left) {
            const mask passed = mask_of(signs_at(w, edge, c)[k]);
            const lanes grad = (lanes)(passed & (mask)part_of(grad_out + target * channels, k, left));
            sum[k] += grad;
            if (w->grad_messages) put_part((real *)w->grad_messages + edge * channels + c, k, grad, left);
        }
    }
    if (w->grad_x) EACH_OF_BLOCK(k) put_part((real *)w->grad_x + row * channels + c, k, sum[k], left);
}

/* Items are sources. */
void EXPORTED(gine_backward)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Gine *w = work;
    const int64_t channels = w->channels;
    const real *x = w->x, *grad_out = w->grad_out;
    double of_eps = 0;
    for (int64_t row = first; row < last; row++) {
#define CALL(c, left) gradients_of_row(w, row, c, left)
        EACH_BLOCK(c, channels, CALL);
#undef CALL
        for (int64_t c = 0, at = row * channels; w->grad_eps && c < channels; c += LANES, at += LANES)
            of_eps += total_of(load_part(grad_out + at, channels - c) * load_part(x + at, channels - c));
    }
    if (w->grad_eps) ((real *)w->grad_eps)[piece] = (real)of_eps;
}
