/* The forward pass: rows first ... last - 1 of out, lse and edge_out.

   The scores of up to BLOCK edges are held at a time. A longer row is merged block by block: what was summed up so far shrinks
   when a larger score comes (the softmax of Milakov and Gimelshein 2018). */

#include "dropout.h"
#include "scores.h"
#include "scratch.h"

#define BLOCK 64

INLINE void scale_by(real *x, int64_t size, real factor) {
    EACH_EIGHT(c, count, size, store_part(x + c, load_part(x + c, count) * factor, count));
}

/* Turns the scores of a head in a block into weights and keeps the running maximum and total of softmax. Returns the factor by
   which sums over the blocks before shrink. */
INLINE real weights_of_block(int64_t normalizer, real *scores, int64_t count, real *top, real *total) {
    if (normalizer != SOFTMAX) {
        for (int64_t e = 0; e < count; e += LANES) {
            const lanes s = load(scores + e), one = spread(1);
            store(scores + e, only_first(normalizer == RELU ? where(s <= 0, (lanes){0}, s) : one / (exponentials(-s) + one), count - e));
        }
        return 1;
    }
    lanes most = spread(*top), sums = {0};
    for (int64_t e = 0; e < count; e += LANES) most = larger_of(load(scores + e), most); /* passes over NaN */
    const real new_top = largest_of(most), start = new_top == -INFINITY ? 0 : new_top;
    const real shrink = new_top == *top || *top == -INFINITY ? 1 : exponentials(spread(*top - new_top))[0];
    for (int64_t e = 0; e < count; e += LANES) {
        const lanes s = only_first(exponentials(load(scores + e) - start), count - e);
        sums += s;
        store(scores + e, s);
    }
    *total = *total * shrink + total_of(sums);
    *top = new_top;
    return shrink;
}

INLINE void forward(const Edges *w, int64_t first, int64_t last, const int score, const int64_t dim, const int64_t value_dim) {
    const int64_t heads = w->heads, group = heads / w->kv_heads, edge_dim = w->edge_dim;
    const int64_t key_width = w->kv_heads * dim, value_width = w->kv_heads * value_dim, padded = eights(heads) * LANES;
    const int64_t widest = larger(value_width, edge_dim);
    Scratch scratch = zeros_of(5, padded * (BLOCK + LANES) + 2 * heads + widest);
    real *scores = take(&scratch, padded * BLOCK), *factors = take(&scratch, padded * LANES);
    real *top = take(&scratch, heads), *total = take(&scratch, heads);
    const real *nothing = take(&scratch, widest); /* the row of lanes without an edge: 0 * infinity would be NaN */
    int64_t nodes[BLOCK + LANES], edges[BLOCK + LANES];
    Eight x = {0};
    Rows values;
    lanes weights[LANES];
    for (int64_t row = first; row < last; row++) {
        const int64_t query = w->row_of ? w->row_of[row] : row, begin = w->rowptr[row], end = w->rowptr[row + 1];
        real *out = w->out + row * heads * value_dim, *edge_out = edge_dim ? w->edge_out + row * heads * edge_dim : NULL;
        memset(out, 0, heads * value_dim * sizeof(real));
        if (edge_dim) memset(edge_out, 0, heads * edge_dim * sizeof(real));
        for (int64_t h = 0; h < heads; h++) top[h] = -INFINITY, total[h] = 0;
        x.query = w->query + query * heads * dim;
        x.edge_query = w->edge_query ? w->edge_query + query * heads * edge_dim : NULL;
        for (int64_t start = begin; start < end; start += BLOCK) {
            const int64_t count = smaller(BLOCK, end - start);
            find(nodes, w->col, w->index_is_64, start, count, w->entries);
            if (w->bias || edge_dim) find_edges(edges, w->edge_id, start, count, w->entries);
            for (int64_t e = 0; e < count; e += LANES) {
                rows_at(x.keys, w->key, key_width, nodes + e);
                x.coming = nodes + e + LANES, x.edges_coming = edges + e + LANES, x.n = smaller(LANES, count - e);
                if (w->bias) rows_at(x.biases, w->bias, w->bias_heads, edges + e);
                if (edge_dim) rows_at(x.features, w->edge_features, edge_dim, edges + e);
                score_eight(w, score, dim, scores + e, BLOCK, &x, NULL);
            }
            for (int64_t h = 0; h < heads; h++) {
                const real shrink = weights_of_block(w->normalizer, scores + h * BLOCK, count, top + h, total + h);
                if (shrink != 1 && start > begin) {
                    scale_by(out + h * value_dim, value_dim, shrink);
                    if (edge_dim) scale_by(edge_out + h * edge_dim, edge_dim, shrink);
                }
            }
            for (int64_t e = 0; e < count; e += LANES) {
                const int64_t n = smaller(LANES, count - e);
                if (w->threshold) {
                    keep_factors(w, factors, query, nodes + e, start + e, n);
                    for (int64_t h = 0; h < heads; h++) {
                        real *here = scores + h * BLOCK + e;
                        store(here, load(here) * load(factors + h * LANES));
                    }
                }
                rows_at(values, w->value, value_width, nodes + e);
                for (int64_t i = n; i < LANES; i++) values[i] = nothing;
                for (int64_t g = 0, h = 0; g < w->kv_heads; g++) {
                    ask_for(w->value, value_width, nodes + e + LANES, n, g, w->kv_heads);
                    for (const int64_t stop = h + group; h < stop; h++) {
                        spread_each(weights, scores + h * BLOCK + e);
                        add_rows(out + h * value_dim, weights, values, g * value_dim, value_dim);
                    }
                }
                if (edge_dim) rows_at(x.features, w->edge_features, edge_dim, edges + e);
                for (int64_t i = n; edge_dim && i < LANES; i++) x.features[i] = nothing;
                for (int64_t h = 0; edge_dim && h < heads; h++) {
                    spread_each(weights, scores + h * BLOCK + e);
                    add_rows(edge_out + h * edge_dim, weights, x.features, 0, edge_dim);
                }
            }
        }
        if (w->normalizer != SOFTMAX) {
            memset(w->lse + row * heads, 0, heads * sizeof(real));
            continue;
        }
        EACH_EIGHT(h, count, heads, {
            const lanes sum = load_part(total + h, count), lse = load_part(top + h, count) + logarithms(sum);
            store_part(w->lse + row * heads + h, where(sum == 0, spread(-INFINITY), lse), count);
            store_part(total + h, where(sum == 0, (lanes){0}, 1 / sum), count); /* NaN stays NaN */
        });
        for (int64_t h = 0; h < heads; h++) {
            scale_by(out + h * value_dim, value_dim, total[h]);
            if (edge_dim) scale_by(edge_out + h * edge_dim, edge_dim, total[h]);
        }
    }
    free(scratch.memory);
}

#define LOOP(name, score, size)                                                                          \
    __attribute__((noinline)) static void forward_##name(const Edges *w, int64_t first, int64_t last, int64_t piece) { \
        (void)piece;                                                                                     \
        forward(w, first, last, score_of(w, score), size ? size : w->dim, size ? size : w->value_dim);                \
    }
EACH_KIND(LOOP)

#define ENTRY(name, score, size) {score, size, forward_##name},
static const Kind KINDS[] = {EACH_KIND(ENTRY)};

void EXPORTED(edges_forward)(const void *work, int64_t first, int64_t last, int64_t piece) {
    run_kind(KINDS, work, first, last, piece);
}
