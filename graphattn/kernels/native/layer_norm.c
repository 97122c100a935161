/* Layer norm of each example of a batch, forward and backward: an example is read from the first cache after its first pass. */

#include "layer_norm.h"

#include "lanes.h"

/* A sum over the rows of an example, in double from row to row, of what `term` makes of eight numbers at `at` in channel `i`. */
#define SUM_OVER_ROWS(total, term)                                                            \
    for (int64_t row = start; row < end; row++) {                                             \
        lanes sum = {0};                                                                      \
        for (int64_t i = 0, at = row * channels; i < channels; i += LANES, at += LANES) {     \
            const int64_t left = channels - i;                                                \
            sum += only_first(term, left);                                                    \
        }                                                                                     \
        total += total_of(sum);                                                               \
    }

INLINE lanes weight_at(const real *weight, int64_t i, int64_t left) { return weight ? load_part(weight + i, left) : spread(1); }

/* x of the rows of an example, plus `other` if there is one: then in `sum`, or in y until that is written. */
INLINE const real *summed(const LayerNorm *w, int64_t start, int64_t end) {
    if (!w->other) return w->x;
    const real *x = w->x, *other = w->other;
    real *sum = w->sum ? w->sum : w->y;
    for (int64_t at = start * w->channels; at < end * w->channels; at += LANES) {
        const int64_t left = end * w->channels - at;
        store_part(sum + at, load_part(x + at, left) + load_part(other + at, left), left);
    }
    return sum;
}

/* Items are examples. */
void EXPORTED(layer_norm_forward)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const LayerNorm *w = work;
    const int64_t channels = w->channels;
    const real *weight = w->weight, *bias = w->bias, *added = w->added;
    real *y = w->y, *means = w->mean, *scales = w->scale;
    for (int64_t example = first; example < last; example++) {
        const int64_t start = w->starts[example], end = w->starts[example + 1], count = larger((end - start) * channels, 1);
        const real *x = summed(w, start, end);
        double total = 0, squares = 0;
        SUM_OVER_ROWS(total, load_part(x + at, left))
        const real mean = (real)(total / count);
        SUM_OVER_ROWS(squares, (load_part(x + at, left) - mean) * (load_part(x + at, left) - mean))
        const real scale = (real)(1 / sqrt(squares / count + w->eps));
        means[example] = mean;
        scales[example] = scale;
        for (int64_t row = start; row < end; row++)
            for (int64_t i = 0, at = row * channels; i < channels; i += LANES, at += LANES) {
                const int64_t left = channels - i;
                lanes offset = bias ? load_part(bias + i, left) : (lanes){0};
                if (added) offset += load_part(added + at, left);
                store_part(y + at, (load_part(x + at, left) - mean) * scale * weight_at(weight, i, left) + offset, left);
            }
    }
}

/* With n = (x - mean) scale and g = grad_y weight, grad_x = scale (g - the mean of g - n times the mean of g n). */
void EXPORTED(layer_norm_backward)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const LayerNorm *w = work;
    const int64_t channels = w->channels;
    const real *x = w->x, *weight = w->weight, *grad_y = w->grad_y, *means = w->mean, *scales = w->scale;
    real *grad_x = w->grad_x;
    real *grad_weight = w->grad_weight ? (real *)w->grad_weight + piece * channels : NULL;
    real *grad_bias = w->grad_bias ? (real *)w->grad_bias + piece * channels : NULL;
    if (grad_weight) memset(grad_weight, 0, channels * sizeof(real));
    if (grad_bias) memset(grad_bias, 0, channels * sizeof(real));
    for (int64_t example = first; example < last; example++) {
        const int64_t start = w->starts[example], end = w->starts[example + 1], count = larger((end - start) * channels, 1);
        const real mean = means[example], scale = scales[example];
        double of_g = 0, of_gn = 0;
        SUM_OVER_ROWS(of_g, load_part(grad_y + at, left) * weight_at(weight, i, left))
        SUM_OVER_ROWS(of_gn, load_part(grad_y + at, left) * weight_at(weight, i, left) * (load_part(x + at, left) - mean))
        const real mean_g = (real)(of_g / count), mean_gn = (real)(of_gn * scale / count);
        for (int64_t row = start; row < end; row++)
            for (int64_t i = 0, at = row * channels; i < channels; i += LANES, at += LANES) {
                const int64_t left = channels - i;
                const lanes grad = load_part(grad_y + at, left), n = (load_part(x + at, left) - mean) * scale;
                if (grad_x) store_part(grad_x + at, scale * (grad * weight_at(weight, i, left) - mean_g - n * mean_gn), left);
                if (grad_weight) store_part(grad_weight + i, load_part(grad_weight + i, left) + grad * n, left);
                if (grad_bias) store_part(grad_bias + i, load_part(grad_bias + i, left) + grad, left);
            }
    }
}
