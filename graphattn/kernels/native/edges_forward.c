/* The forward pass: rows first ... last - 1 of out, lse and edge_out.

   The scores of up to BLOCK edges are held at a time. A longer row is merged block by block: what was summed up so far shrinks
   when a larger score comes (the softmax of Milakov and Gimelshein 2018). */

#include "dropout.h"
#include "mapped.h"
#include "scores.h"
#include "scratch.h"

#define BLOCK 64

const int64_t EXPORTED(lanes) = LANES; /* so many channels have a byte of signs (Edges, Gine) */

INLINE void scale_by_of(real *x, int64_t size, real factor) {
    EACH_PART(c, count, size, store_part(x + c, load_part(x + c, count) * factor, count));
}

OUT_OF_LINE void scale_by_of_any(real *x, int64_t size, real factor) { scale_by_of(x, size, factor); }
#define scale_by(x, size, factor) KNOWN_OR_ANY(scale_by_of, size, x, size, factor)

/* The weights of relu and sigmoid. */
INLINE lanes weights_alone(int64_t normalizer, lanes scores) {
    return normalizer == RELU ? where(scores <= 0, (lanes){0}, scores) : 1 / (exponentials(-scores) + 1);
}

/* Turns the scores of a head in a block into weights and keeps the running maximum and total of softmax. Returns the factor by
   which sums over the blocks before shrink. */
OUT_OF_LINE real weights_of_block(int64_t normalizer, real *scores, int64_t count, real *top, real *total) {
    if (normalizer != SOFTMAX) {
        for (int64_t e = 0; e < count; e += LANES) store(scores + e, weights_alone(normalizer, load(scores + e)));
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

/* lse of eight heads from maximum and total; the second becomes the factor of what was summed up. */
INLINE lanes finish_softmax(lanes top, lanes *total) {
    const lanes sum = *total, lse = top + logarithms(sum);
    *total = where(sum == 0, (lanes){0}, 1 / sum); /* NaN stays NaN */
    return where(sum == 0, spread(-INFINITY), lse);
}

OUT_OF_LINE void finish_row(const Edges *w, real *lse, const real *top, real *total) {
    for (int64_t h = 0; h < w->heads; h += LANES) {
        lanes sum = load(total + h);
        store_part(lse + h, finish_softmax(load(top + h), &sum), w->heads - h);
        store(total + h, sum);
    }
}

/* The same at once for a row of n edges that has few: scores[e * heads + h] become weights[e * padded + h]. */
OUT_OF_LINE void weights_of_few(const Edges *w, real *lse, const real *scores, real *weights, int64_t n, int64_t padded) {
    for (int64_t h = 0; h < w->heads; h += LANES, scores += LANES, weights += LANES) {
        lanes top = spread(-INFINITY), total = {0};
        if (w->normalizer != SOFTMAX) {
            for (int64_t e = 0; e < n; e++) store(weights + e * padded, weights_alone(w->normalizer, load(scores + e * w->heads)));
            store_part(lse + h, total, w->heads - h);
            continue;
        }
        for (int64_t e = 0; e < n; e++) top = larger_of(load(scores + e * w->heads), top);
        const lanes start = where(top == -INFINITY, (lanes){0}, top);
        for (int64_t e = 0; e < n; e++) {
            const lanes x = exponentials(load(scores + e * w->heads) - start);
            total += x;
            store(weights + e * padded, x);
        }
        store_part(lse + h, finish_softmax(top, &total), w->heads - h);
        for (int64_t e = 0; e < n; e++) store(weights + e * padded, load(weights + e * padded) * total);
    }
}

OUT_OF_LINE void add_to_total(const Edges *w, int64_t row, const real *out, int64_t width) {
    real *total = w->total + row * width;
    EACH_PART(c, count, width, store_part(total + c, load_part(total + c, count) + load_part(out + c, count), count));
}

INLINE void forward(const Edges *w, int64_t first, int64_t last, const int score, const int64_t dim, const int64_t value_dim) {
    const int64_t heads = w->heads, group = heads / w->kv_heads, edge_dim = w->edge_dim;
    const int64_t width = heads * dim, key_width = w->kv_heads * dim, value_width = w->kv_heads * value_dim;
    const int64_t padded = eights(heads) * LANES, out_width = heads * value_dim;
    const int64_t key_room = room_of_row(key_width) * LANES, value_room = room_of_row(value_width) * LANES;
    const int64_t few = score == DOT && !w->bias && !w->threshold ? FEW : -1;
    const int is_mapped = score == DOT && w->edge_weight;
    Scratch scratch = zeros_of(12, padded * (BLOCK + LANES + 2) + padded * LANES + (is_half(w->storage) ? key_room + value_room + width : 0) +
                                   out_width + (LANES + 1) * heads * edge_dim + (is_mapped ? room_of_turned(w) : 0));
    real *scores = take(&scratch, padded * BLOCK), *factors = take(&scratch, padded * LANES);
    real *more = take(&scratch, padded * LANES);
    real *top = take(&scratch, padded), *total = take(&scratch, padded), *out_here = take(&scratch, out_width);
    real *query_here = is_half(w->storage) ? take(&scratch, width) : NULL;
    real *key_here = is_half(w->storage) ? take(&scratch, key_room) : NULL;
    real *value_here = is_half(w->storage) ? take(&scratch, value_room) : NULL;
    real *mapped = take(&scratch, LANES * heads * edge_dim), *edge_out_here = take(&scratch, heads * edge_dim);
    real *turned = is_mapped ? take(&scratch, room_of_turned(w)) : NULL;
    _Alignas(64) int64_t nodes[BLOCK + LANES] = {0}, coming[BLOCK + LANES] = {0}, edges[BLOCK + LANES];
    const Table query_table = queries_of(w), key_table = keys_of(w), value_table = values_of(w);
    const Table bias_table = biases_of(w), feature_table = features_of(w);
    Eight x = {0};
    Rows values;
    if (is_mapped) turn_weight(w, turned);
    for (int64_t row = first; row < last; row++) {
        const int64_t query = w->row_of ? w->row_of[row] : row, begin = w->rowptr[row], end = w->rowptr[row + 1];
        real *out = target_at(w->out, w->result_storage, row * out_width, out_here), *lse = w->lse + row * heads;
        real *edge_out = is_mapped ? edge_out_here : w->edge_out ? w->edge_out + row * heads * edge_dim : NULL;
        memset(out, 0, out_width * sizeof(real));
        x.query = row_at(&query_table, query, query_here);
        const int64_t of_eight = (row - first) % LANES * heads * edge_dim;
        if (is_mapped && !of_eight) map_to_features(w, mapped, turned, &query_table, row, last);
        x.edge_query = is_mapped ? mapped + of_eight : w->edge_query ? w->edge_query + query * w->edge_query_row : NULL;
        if (edge_out) memset(edge_out, 0, heads * edge_dim * sizeof(real));
        if (end - begin <= few) {
            const int64_t n = end - begin;
            find_few(nodes, w->col, w->index_is_64, begin, n, w->entries);
            read_rows(x.keys, &key_table, nodes, n, key_here);
            dots_by_pair(factors, x.query, x.keys, n, heads, group, dim, (real)w->scale);
            ask_for(&key_table, nodes + n, n, 0, 1);
            if (edge_dim) {
                few_features(w, x.features, edges, begin, n);
                if (x.edge_query) add_dots_by_pair(factors, more, x.edge_query, x.features, n, heads, feature_group(w), edge_dim, w->scale);
            }
            weights_of_few(w, lse, factors, scores, n, padded);
            read_rows(values, &value_table, nodes, n, value_here);
            add_heads(out, scores, padded, values, n, heads, group, value_dim);
            ask_for(&value_table, nodes + n, n, 0, 1);
            if (edge_out) add_heads(edge_out, scores, padded, x.features, n, heads, feature_group(w), edge_dim);
            if (is_mapped) add_mapped_features(w, out, edge_out);
            if (w->total) add_to_total(w, row, out, out_width);
            put_back(w->out, w->result_storage, row * out_width, out, out_width);
            continue;
        }
        for (int64_t h = 0; h < heads; h++) top[h] = -INFINITY, total[h] = 0;
        for (int64_t start = begin; start < end; start += BLOCK) {
            const int64_t count = smaller(BLOCK, end - start);
            find(nodes, w->col, w->index_is_64, start, count, w->entries);
            const int ahead = w->ahead && start + count < w->entries;
            if (ahead) find(coming, w->col, w->index_is_64, start + count, smaller(count, w->entries - start - count), w->entries);
            if (w->bias || edge_dim) find_edges(edges, w->edge_id, w->index_is_64, start, count, w->entries);
            for (int64_t e = 0; e < count; e += LANES) {
                x.coming = nodes + e, x.edges_coming = edges + e + LANES, x.n = smaller(LANES, count - e);
                read_rows(x.keys, &key_table, nodes + e, x.n, key_here);
                if (w->bias) rows_at(x.biases, &bias_table, edges + e);
                if (edge_dim) rows_at(x.features, &feature_table, edges + e);
                score_eight(w, score, dim, scores + e, BLOCK, &x, NULL, &value_table);
            }
            for (int64_t h = 0; h < heads; h++) {
                const real shrink = weights_of_block(w->normalizer, scores + h * BLOCK, count, top + h, total + h);
                if (shrink != 1 && start > begin) {
                    scale_by(out + h * value_dim, value_dim, shrink);
                    if (edge_out) scale_by(edge_out + h * edge_dim, edge_dim, shrink);
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
                read_rows(values, &value_table, nodes + e, n, value_here);
                for (int64_t g = 0, h = 0; g < w->kv_heads; g++) {
                    if (ahead) ask_for(&key_table, coming + e, n, g, w->kv_heads);
                    for (const int64_t stop = h + group; h < stop; h++)
                        add_rows(out + h * value_dim, scores + h * BLOCK + e, 1, values, n, g * value_dim, value_dim);
                }
                if (edge_out) rows_at(x.features, &feature_table, edges + e);
                for (int64_t h = 0; edge_out && h < heads; h++)
                    add_rows(edge_out + h * edge_dim, scores + h * BLOCK + e, 1, x.features, n, feature_at(w, h), edge_dim);
            }
        }
        if (w->normalizer == SOFTMAX) {
            finish_row(w, lse, top, total);
            for (int64_t h = 0; h < heads; h++) {
                scale_by(out + h * value_dim, value_dim, total[h]);
                if (edge_out) scale_by(edge_out + h * edge_dim, edge_dim, total[h]);
            }
        } else
            memset(lse, 0, heads * sizeof(real));
        if (is_mapped) add_mapped_features(w, out, edge_out);
        if (w->total) add_to_total(w, row, out, out_width);
        put_back(w->out, w->result_storage, row * out_width, out, out_width);
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
