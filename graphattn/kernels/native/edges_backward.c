/* The backward passes, without atomics: one over queries (rows of the CSR), one over keys (rows of its transpose).

   The pass over queries leaves in `handed` what the pass over keys needs, so that no score is computed a third time: of each
   edge and head the weight, and scale * the gradient of the score (GAT: that of the hidden number). Behind LeakyReLU the sign
   of each hidden number comes with it, one bit. Where no key has two queries, gradients of keys and values are no sums: then
   `handed` is NULL and the pass over queries writes them. */

#include "dropout.h"
#include "mapped.h"
#include "scores.h"
#include "scratch.h"

/* ---- the pass over queries ---- */

/* The weights of eight edges after dropout, and the gradients of their scores from those of the weights, in their stead. */
INLINE_IF_WIDE lanes weights_and_gradients(int64_t normalizer, lanes score, lanes *grad, lanes factor, lanes lse, lanes delta) {
    lanes weight;
    *grad *= factor;
    if (normalizer == SOFTMAX) {
        weight = exponentials(score - where(lse == -INFINITY, (lanes){0}, lse));
        *grad = weight * (*grad - delta);
    } else if (normalizer == RELU) {
        weight = where(score <= 0, (lanes){0}, score);
        *grad = where(weight <= 0, (lanes){0}, *grad);
    } else {
        weight = 1 / (exponentials(-score) + 1);
        *grad *= weight * (1 - weight);
    }
    return weight * factor;
}

/* The hidden numbers of an additive score become their gradients, in their stead, from those of the scores, `grads` [heads, 8].
   Adds to the gradients of query and vector, and writes down the signs of n edges where `signs` is not NULL. */
INLINE_IF_FAST void hidden_gradients(
    const Edges *w, int score, int64_t dim, lanes *hidden, const real *grads, real *to_query, real *to_vector, uint8_t *signs, int64_t n
) {
    const int64_t parts = score == GAT ? 1 : w->heads, size = score == GAT ? w->heads : dim, signs_of_edge = parts * eights(size);
    for (int64_t part = 0; part < parts; part++)
        EACH_PART(c, count, size, {
            const int64_t at = part * size + c;
            const lanes vector = load_part(w->vector + at, count);
            lanes of_query = load_part(to_query + at, count);
            lanes of_vector = load_part(to_vector + at, count);
            lanes grad[LANES];
            if (score == GAT) {
                EACH_LANE(i) grad[i] = load(grads + (c + i) * LANES);
                transpose(grad);
            } else
                EACH_LANE(e) grad[e] = spread(grads[part * LANES + e]);
            if (score == LEAKY && signs) {
                EACH_LANE(e) if (e < n) signs[e * signs_of_edge] = bits_of(hidden[e] > 0);
                signs++;
            }
            lanes sum = {0};
            EACH_LANE(e) {
                of_vector += grad[e] * hidden[e];
                grad[e] = before_activation(grad[e], hidden[e], score);
                sum += grad[e];
            }
            if (score == GAT || w->edge_weight || w->adds_features) EACH_LANE(e) hidden[e] = vector * grad[e];
            of_query += vector * sum;
            store_part(to_query + at, of_query, count);
            store_part(to_vector + at, of_vector, count);
            hidden += LANES;
        });
}

/* From the gradients of the hidden numbers of eight edges: adds to those of the edge weight, if `to_weight` is not NULL, and to
   those of the features of n edges, if `to_features` holds any. */
OUT_OF_LINE void edge_gradients(
    const Edges *w, int score, int64_t dim, const lanes *hidden, const Rows features, real *to_weight, const Targets to_features, int64_t n
) {
    const int64_t parts = score == GAT ? 1 : w->heads, size = score == GAT ? w->heads : dim, width = parts * size;
    for (int64_t d = 0; d < w->edge_dim; d++) {
        const lanes *here = hidden;
        lanes feature[LANES], by_edge[LANES] = {{0}};
        EACH_LANE(e) feature[e] = spread(features[e][d]);
        for (int64_t part = 0; part < parts; part++)
            EACH_PART(c, count, size, {
                const int64_t at = d * width + part * size + c;
                if (to_weight) {
                    lanes t = load_part(to_weight + at, count);
                    EACH_LANE(e) t += feature[e] * here[e];
                    store_part(to_weight + at, t, count);
                }
                if (w->grad_edge_features) {
                    const lanes weight = load_part(w->edge_weight + at, count);
                    EACH_LANE(e) by_edge[e] += weight * here[e];
                }
                here += LANES;
            });
        const lanes sums = sums_of(by_edge);
        if (w->grad_edge_features)
            for (int64_t e = 0; e < n; e++) to_features[e][d] += sums[e];
    }
}

/* The same where features are hidden numbers themselves. */
OUT_OF_LINE void add_hidden(const Edges *w, int score, int64_t dim, const lanes *hidden, const Targets to_features, int64_t n) {
    const int64_t parts = score == GAT ? 1 : w->heads, size = score == GAT ? w->heads : dim;
    for (int64_t part = 0; part < parts; part++)
        EACH_PART(c, count, size, {
            for (int64_t e = 0; e < n; e++) {
                real *here = to_features[e] + part * size + c;
                store_part(here, load_part(here, count) + hidden[e], count);
            }
            hidden += LANES;
        });
}

/* delta of Dao et al. 2022 (FlashAttention, algorithm 4): the sum of grad * result over what a head gives out. */
OUT_OF_LINE void find_deltas(const Edges *w, real *delta, const real *grad_out, const real *grad_edge_out, int64_t query, int64_t value_dim) {
    const int64_t heads = w->heads, edge_width = heads * w->edge_dim;
    const real *result = (const real *)w->out + query * heads * value_dim;
    dots_by_pair(delta, grad_out, &result, 1, heads, 1, value_dim, 1);
    if (!grad_edge_out) return;
    const real *edge_result = w->edge_out + query * edge_width;
    dots_by_pair(delta + heads + LANES, grad_edge_out, &edge_result, 1, heads, 1, w->edge_dim, 1);
    for (int64_t h = 0; h < heads; h++) delta[h] += delta[heads + LANES + h];
}

/* Of a row of n edges that has few: from scores[e * heads + h] and the gradients of weights, those of scores, grads[e * padded + h],
   and what is handed to the pass over keys. */
OUT_OF_LINE void gradients_of_few(
    const Edges *w, const real *scores, const real *of_weights, const real *lse, const real *delta, real *grads, real *handed,
    int64_t n, int64_t padded
) {
    const int64_t heads = w->heads;
    for (int64_t h = 0; h < heads; h += LANES) {
        const lanes of_head = load_part(lse + h, heads - h), less = load(delta + h);
        for (int64_t e = 0; e < n; e++) {
            lanes grad = load(of_weights + e * heads + h);
            const lanes score = load(scores + e * heads + h);
            const lanes weight = weights_and_gradients(w->normalizer, score, &grad, spread(1), of_head, less);
            store(grads + e * padded + h, grad * (real)w->scale);
            store_part(handed + e * 2 * heads + h, weight, heads - h);
            store_part(handed + e * 2 * heads + heads + h, grad * (real)w->scale, heads - h);
        }
    }
}

/* The gradient of the bias of n edges from to_bias[h * 8 + e]. */
OUT_OF_LINE void put_bias(const Edges *w, const int64_t *edges, int64_t n, const real *to_bias) {
    Targets targets;
    for (int64_t e = 0; e < n; e++) targets[e] = w->grad_bias + edges[e] * w->bias_heads;
    if (w->bias_heads > 1) {
        put_by_edge(targets, n, to_bias, w->heads);
        return;
    }
    lanes t = {0};
    for (int64_t h = 0; h < w->heads; h++) t += load(to_bias + h * LANES);
    for (int64_t e = 0; e < n; e++) *targets[e] = t[e];
}

/* The gradient of the features of a row of n edges that has few, from its weights and gradients of scores. */
OUT_OF_LINE void features_of_few(
    const Edges *w, const int64_t *edges, int64_t n, const real *weights, const real *grad_edge_out, const real *grads, int64_t step,
    const real *edge_query
) {
    const int64_t heads = w->heads, feature_heads = w->feature_heads, width = feature_heads * w->edge_dim;
    Targets targets;
    for (int64_t e = 0; e < n; e++) targets[e] = w->grad_edge_features + edges[e] * width;
    if (grad_edge_out) put_few(targets, n, weights, 2 * heads, grad_edge_out, feature_heads, feature_group(w), w->edge_dim, 0);
    else for (int64_t e = 0; e < n; e++) memset(targets[e], 0, width * sizeof(real));
    if (edge_query) put_few(targets, n, grads, step, edge_query, feature_heads, feature_group(w), w->edge_dim, 1);
}

/* What n edges give to the gradient of their keys, or values, where no other edge gives to it: see put_rows. */
OUT_OF_LINE void put_far(
    const Edges *w, void *to, int64_t row, const int64_t *nodes, int64_t n, const real *factors, const real *x, int64_t size, real *room
) {
    const int64_t width = w->kv_heads * size;
    Targets targets;
    for (int64_t e = 0; e < n; e++)
        targets[e] = target_at(to, w->grad_storage, nodes[e] * row, room + e * room_of_row(width));
    put_rows(targets, n, factors, x, w->kv_heads, w->heads / w->kv_heads, size, 0);
    for (int64_t e = 0; e < n; e++) put_back(to, w->grad_storage, nodes[e] * row, targets[e], width);
}

INLINE void over_queries(
    const Edges *w, int64_t first, int64_t last, int64_t piece, const int score, const int64_t dim, const int64_t value_dim
) {
    const int64_t heads = w->heads, kv_heads = w->kv_heads, group = heads / kv_heads, edge_dim = w->edge_dim;
    const int64_t width = heads * dim, key_width = kv_heads * dim, value_width = kv_heads * value_dim, out_width = heads * value_dim;
    const int64_t padded = eights(heads) * LANES * LANES; /* numbers by head of eight edges */
    const int64_t num_hidden = score == DOT ? 0 : score == GAT ? padded : heads * eights(dim) * LANES * LANES;
    const int64_t few = score == DOT && !w->bias && !w->threshold && w->handed ? FEW : -1, edge_group = feature_group(w);
    const int64_t key_room = room_of_row(key_width) * LANES, value_room = room_of_row(value_width) * LANES;
    const real scale = w->scale;
    const int is_mapped = score == DOT && w->edge_weight;
    Scratch scratch = zeros_of(18, 5 * padded + num_hidden + 3 * width + 2 * (heads + LANES) + out_width + key_room + value_room +
                                   2 * (LANES + 1) * heads * edge_dim + (is_mapped ? room_of_turned(w) : 0));
    real *weights = take(&scratch, padded), *grads = take(&scratch, padded);
    real *factors = take(&scratch, padded), *to_bias = take(&scratch, padded), *more = take(&scratch, padded);
    lanes *hidden = score == DOT ? NULL : (lanes *)take(&scratch, num_hidden);
    real *to_vector = take(&scratch, width), *delta = take(&scratch, 2 * (heads + LANES));
    real *query_here = take(&scratch, width), *grad_here = take(&scratch, out_width), *grad_query_here = take(&scratch, width);
    real *key_here = take(&scratch, key_room), *value_here = take(&scratch, value_room);
    real *mapped = take(&scratch, LANES * heads * edge_dim), *mapped_grads = take(&scratch, LANES * heads * edge_dim);
    real *turned = is_mapped ? take(&scratch, room_of_turned(w)) : NULL;
    real *grad_edge_query_here = take(&scratch, heads * edge_dim), *edge_out_here = take(&scratch, heads * edge_dim);
    if (w->grad_vector) to_vector = w->grad_vector + piece * width;
    real *to_weight = w->grad_edge_weight ? w->grad_edge_weight + piece * edge_dim * width : NULL;
    _Alignas(64) int64_t nodes[2 * LANES] = {0}, edges[2 * LANES];
    const Table query_table = queries_of(w), key_table = keys_of(w), value_table = values_of(w), grad_table = grads_out_of(w);
    const Table bias_table = biases_of(w), feature_table = features_of(w);
    Eight x = {0};
    Rows values;
    Targets targets;
    if (is_mapped) turn_weight(w, turned);
    for (int64_t row = first; row < last; row++) {
        const int64_t query = w->row_of ? w->row_of[row] : row, begin = w->rowptr[row], end = w->rowptr[row + 1];
        const int64_t of_eight = (row - first) % LANES * heads * edge_dim;
        const real *grad_out = row_at(&grad_table, query, grad_here);
        const real *grad_edge_out = is_mapped ? mapped_grads + of_eight : w->grad_edge_out ? w->grad_edge_out + query * heads * edge_dim : NULL;
        real *grad_query = target_at(w->grad_query, w->grad_storage, row * w->grad_query_row, grad_query_here);
        real *grad_edge_query = is_mapped ? grad_edge_query_here : w->grad_edge_query ? w->grad_edge_query + row * w->grad_edge_query_row : NULL;
        const real *lse = w->lse + query * heads;
        x.query = row_at(&query_table, query, query_here);
        x.edge_query = is_mapped ? mapped + of_eight : w->edge_query ? w->edge_query + query * w->edge_query_row : NULL;
        if (is_mapped) {
            if (!of_eight) {
                map_to_features(w, mapped, turned, &query_table, row, last);
                map_to_features(w, mapped_grads, turned, &grad_table, row, last);
            }
            memset(edge_out_here, 0, heads * edge_dim * sizeof(real));
        }
        memset(grad_query, 0, width * sizeof(real));
        if (grad_edge_query) memset(grad_edge_query, 0, heads * edge_dim * sizeof(real));
        if (w->normalizer == SOFTMAX) find_deltas(w, delta, grad_out, is_mapped ? NULL : grad_edge_out, query, value_dim);
        if (end - begin <= few) {
            const int64_t n = end - begin, step = padded / LANES;
            find_few(nodes, w->col, w->index_is_64, begin, n, w->entries);
            read_rows(x.keys, &key_table, nodes, n, key_here);
            read_rows(values, &value_table, nodes, n, value_here);
            dots_by_pair(weights, x.query, x.keys, n, heads, group, dim, scale);
            ask_for(&key_table, nodes + n, n, 0, 1);
            dots_by_pair(factors, grad_out, values, n, heads, group, value_dim, 1);
            ask_for(&value_table, nodes + n, n, 0, 1);
            real *handed = w->handed + begin * 2 * heads;
            if (edge_dim) {
                few_features(w, x.features, edges, begin, n);
                if (x.edge_query) add_dots_by_pair(weights, more, x.edge_query, x.features, n, heads, edge_group, edge_dim, scale);
                if (grad_edge_out) add_dots_by_pair(factors, more, grad_edge_out, x.features, n, heads, edge_group, edge_dim, 1);
            }
            gradients_of_few(w, weights, factors, lse, delta, grads, handed, n, step);
            add_heads(grad_query, grads, step, x.keys, n, heads, group, dim);
            if (grad_edge_query) add_heads(grad_edge_query, grads, step, x.features, n, heads, edge_group, edge_dim);
            if (w->grad_edge_features) features_of_few(w, edges, n, handed, grad_edge_out, grads, step, x.edge_query);
            if (is_mapped) {
                add_heads(edge_out_here, handed, 2 * heads, x.features, n, heads, edge_group, edge_dim);
                gradients_of_map(w, grad_query, to_weight, x.query, grad_out, grad_edge_query, edge_out_here);
            }
            put_back(w->grad_query, w->grad_storage, row * w->grad_query_row, grad_query, width);
            continue;
        }
        for (int64_t at = begin; at < end; at += LANES) {
            const int64_t n = smaller(LANES, end - at);
            find(nodes, w->col, w->index_is_64, at, n, w->entries);
            read_rows(x.keys, &key_table, nodes, n, key_here);
            read_rows(values, &value_table, nodes, n, value_here);
            x.coming = nodes + LANES, x.edges_coming = edges + LANES, x.n = n;
            if (w->bias || edge_dim) find_edges(edges, w->edge_id, w->index_is_64, at, n, w->entries);
            if (w->bias) rows_at(x.biases, &bias_table, edges);
            if (edge_dim) rows_at(x.features, &feature_table, edges);
            score_eight(w, score, dim, weights, LANES, &x, hidden, &key_table);
            if (w->threshold) keep_factors(w, factors, query, nodes, at, n);
            for (int64_t g = 0, h = 0; g < kv_heads; g++) {
                ask_for(&value_table, nodes + LANES, n, g, kv_heads);
                for (const int64_t stop = h + group; h < stop; h++) {
                    lanes grad = dots(grad_out + h * value_dim, values, g * value_dim, value_dim);
                    if (grad_edge_out) grad += dots_of_any(grad_edge_out + h * edge_dim, x.features, feature_at(w, h), edge_dim);
                    const lanes factor = w->threshold ? load(factors + h * LANES) : spread(1);
                    const lanes weight = weights_and_gradients(
                        w->normalizer, load(weights + h * LANES), &grad, factor, spread(lse[h]), spread(delta[h]));
                    grad = only_first(grad, n);
                    store(weights + h * LANES, only_first(weight, n));
                    store(grads + h * LANES, grad * scale);
                    if (w->grad_bias) store(to_bias + h * LANES, grad);
                }
            }
            if (w->grad_bias) put_bias(w, edges, n, to_bias);
            if (score == DOT)
                for (int64_t g = 0, h = 0; g < kv_heads; g++)
                    for (const int64_t stop = h + group; h < stop; h++)
                        add_rows(grad_query + h * dim, grads + h * LANES, 1, x.keys, n, g * dim, dim);
            for (int64_t h = 0; grad_edge_query && h < heads; h++)
                add_few_of_any(grad_edge_query + h * edge_dim, grads + h * LANES, 1, x.features, n, feature_at(w, h), edge_dim);
            for (int64_t h = 0; is_mapped && h < heads; h++)
                add_few_of_any(edge_out_here + h * edge_dim, weights + h * LANES, 1, x.features, n, feature_at(w, h), edge_dim);
            if (w->grad_edge_features) {
                const int64_t feature_heads = w->feature_heads, feature_width = feature_heads * edge_dim;
                for (int64_t e = 0; e < n; e++) targets[e] = w->grad_edge_features + edges[e] * feature_width;
                if (grad_edge_out) put_rows(targets, n, weights, grad_edge_out, feature_heads, edge_group, edge_dim, 0);
                else for (int64_t e = 0; e < n; e++) memset(targets[e], 0, feature_width * sizeof(real));
                if (x.edge_query) put_rows(targets, n, grads, x.edge_query, feature_heads, edge_group, edge_dim, 1);
            }
            if (score != DOT) {
                uint8_t *signs = w->signs ? w->signs + at * heads * eights(dim) : NULL;
                hidden_gradients(w, score, dim, hidden, grads, grad_query, to_vector, signs, n);
                if (w->edge_weight) edge_gradients(w, score, dim, hidden, x.features, to_weight, targets, n);
                if (w->adds_features && w->grad_edge_features) add_hidden(w, score, dim, hidden, targets, n);
            }
            if (w->handed) {
                for (int64_t e = 0; e < n; e++) targets[e] = w->handed + (at + e) * 2 * heads;
                put_by_edge(targets, n, weights, heads);
                for (int64_t e = 0; e < n; e++) targets[e] += heads;
                if (score != GAT) put_by_edge(targets, n, grads, heads);
                else
                    EACH_PART(h, count, heads, for (int64_t e = 0; e < n; e++) store_part(targets[e] + h, hidden[h + e], count));
            } else {
                if (w->grad_key) put_far(w, w->grad_key, w->grad_key_row, nodes, n, grads, x.query, dim, key_here);
                if (w->grad_value) put_far(w, w->grad_value, w->grad_value_row, nodes, n, weights, grad_out, value_dim, value_here);
            }
        }
        if (is_mapped) gradients_of_map(w, grad_query, to_weight, x.query, grad_out, grad_edge_query, edge_out_here);
        put_back(w->grad_query, w->grad_storage, row * w->grad_query_row, grad_query, width);
    }
    free(scratch.memory);
}

/* ---- the pass over keys ---- */

/* to_key [dim] of one head += vector * the sum of the gradients grads[e][place], times SLOPE where the sign bit of the hidden
   number is 0. */
INLINE_IF_FAST void add_by_signs(
    real *to_key, const real *const *grads, int64_t place, const uint8_t *const signs[LANES], int64_t bits_at, const real *vector, int64_t dim
) {
    lanes grad[LANES], all = {0};
    EACH_LANE(e) all += grad[e] = spread(grads[e][place]);
    EACH_PART(c, count, dim, {
        lanes steep = {0};
        EACH_LANE(e) steep += (lanes)(mask_of(signs[e][bits_at]) & (mask)grad[e]);
        bits_at++;
        store_part(to_key + c, load_part(to_key + c, count) + load_part(vector + c, count) * (steep * (1 - SLOPE) + all * SLOPE), count);
    });
}

/* The same where there are no signs: the hidden numbers are computed again. */
INLINE_IF_FAST void add_again(
    const Edges *w, int score, real *to_key, const real *const *grads, int64_t place, int64_t head, const real *key, const Rows queries,
    const Rows features, int64_t dim
) {
    EACH_PART(c, count, dim, {
        const int64_t at = head * dim + c;
        lanes hidden[LANES];
        lanes t = {0};
        hidden_numbers(w, score, hidden, key + c, queries, at, features, at, count);
        EACH_LANE(e) t += before_activation(spread(grads[e][place]), hidden[e], score);
        store_part(to_key + c, load_part(to_key + c, count) + load_part(w->vector + at, count) * t, count);
    });
}

INLINE void over_keys(const Edges *w, int64_t first, int64_t last, const int score, const int64_t dim, const int64_t value_dim) {
    const int64_t heads = w->heads, kv_heads = w->kv_heads, group = heads / kv_heads, step = 2 * heads;
    const int64_t width = heads * dim, key_width = kv_heads * dim, out_width = heads * value_dim, value_width = kv_heads * value_dim;
    const int64_t query_room = room_of_row(width) * LANES, out_room = room_of_row(out_width) * LANES;
    _Alignas(64) int64_t nodes[2 * LANES], places[2 * LANES], edges[2 * LANES];
    Scratch scratch = zeros_of(6, step + 2 * key_width + value_width + query_room + out_room);
    const real *nothing = take(&scratch, step); /* what lanes without an edge are handed */
    real *key_here = take(&scratch, key_width), *to_key_here = take(&scratch, key_width), *to_value_here = take(&scratch, value_width);
    real *queries_here = take(&scratch, query_room), *grads_here = take(&scratch, out_room);
    const Table query_table = queries_of(w), key_table = keys_of(w), grad_table = grads_out_of(w);
    const Table handed_table = handed_of(w), feature_table = features_of(w);
    Rows queries, grads_out, handed, features = {0};
    const uint8_t *signs[LANES] = {0};
    for (int64_t row = first; row < last; row++) {
        const int64_t node = w->row_of ? w->row_of[row] : row, end = w->rowptr[row + 1];
        real *to_key = w->grad_key ? target_at(w->grad_key, w->grad_storage, row * w->grad_key_row, to_key_here) : NULL;
        real *to_value = w->grad_value ? target_at(w->grad_value, w->grad_storage, row * w->grad_value_row, to_value_here) : NULL;
        const real *key = score == DOT ? NULL : row_at(&key_table, node, key_here);
        if (to_key) memset(to_key, 0, key_width * sizeof(real));
        if (to_value) memset(to_value, 0, value_width * sizeof(real));
        for (int64_t at = w->rowptr[row]; at < end; at += LANES) {
            const int64_t n = smaller(LANES, end - at);
            find(nodes, w->col, w->index_is_64, at, n, w->entries);
            find(places, w->place, w->index_is_64, at, n, w->entries);
            EACH_LANE(e) handed[e] = e < n ? w->handed + places[e] * step : nothing;
            if (score != GAT && score != LEAKY) read_rows(queries, &query_table, nodes, n, queries_here);
            read_rows(grads_out, &grad_table, nodes, n, grads_here);
            ask_for(&handed_table, places + LANES, n, 0, 1);
            if (w->signs)
                EACH_LANE(e) {
                    signs[e] = w->signs + places[e] * heads * eights(dim);
                    __builtin_prefetch(w->signs + places[e + LANES] * heads * eights(dim));
                }
            if (score != DOT && (weight_dim(w) || w->adds_features)) {
                EACH_LANE(e) edges[e] = edge_of(w, places[e]);
                rows_at(features, &feature_table, edges);
            }
            if (to_key && score == GAT)
                EACH_PART(h, count, heads, {
                    lanes t = load_part(to_key + h, count);
                    EACH_LANE(e) t += load_part(handed[e] + heads + h, count);
                    store_part(to_key + h, t, count);
                });
            else if (to_key)
                for (int64_t h = 0; h < heads; h++) {
                    const int64_t g = group == 1 ? h : h / group;
                    if (score != LEAKY) ask_for(&query_table, nodes + LANES, n, h, heads);
                    if (score == DOT) add_by_row(to_key + g * dim, handed, heads + h, queries, n, h * dim, dim);
                    else if (score == LEAKY) add_by_signs(to_key + g * dim, handed, heads + h, signs, h * eights(dim), w->vector + h * dim, dim);
                    else add_again(w, score, to_key + g * dim, handed, heads + h, h, key + g * dim, queries, features, dim);
                }
            for (int64_t h = 0; to_value && h < heads; h++) {
                ask_for(&grad_table, nodes + LANES, n, h, heads);
                add_by_row(to_value + (group == 1 ? h : h / group) * value_dim, handed, h, grads_out, n, h * value_dim, value_dim);
            }
        }
        if (to_key) put_back(w->grad_key, w->grad_storage, row * w->grad_key_row, to_key, key_width);
        if (to_value) put_back(w->grad_value, w->grad_storage, row * w->grad_value_row, to_value, value_width);
    }
    free(scratch.memory);
}

/* Gradients of the parameters: those of pieces first + 1 ... last - 1 are added to those of the first, in order. */
void EXPORTED(edges_add_pieces)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Edges *w = work;
    (void)piece;
    for (int64_t p = first + 1; p < last; p++) {
        for (int64_t i = 0, size = w->heads * w->dim; w->grad_vector && i < size; i++) w->grad_vector[i] += w->grad_vector[p * size + i];
        for (int64_t i = 0, size = weight_dim(w) * w->heads * w->dim; i < size; i++)
            w->grad_edge_weight[i] += w->grad_edge_weight[p * size + i];
    }
}

#define LOOPS(name, score, size)                                                                         \
    __attribute__((noinline)) static void over_queries_##name(const Edges *w, int64_t first, int64_t last, int64_t piece) { \
        over_queries(w, first, last, piece, score_of(w, score), size ? size : w->dim, size ? size : w->value_dim);    \
    }                                                                                                    \
    __attribute__((noinline)) static void over_keys_##name(const Edges *w, int64_t first, int64_t last, int64_t piece) { \
        (void)piece;                                                                                     \
        over_keys(w, first, last, score_of(w, score), size ? size : w->dim, size ? size : w->value_dim);              \
    }
EACH_KIND(LOOPS)

#define OF_QUERIES(name, score, size) {score, size, over_queries_##name},
#define OF_KEYS(name, score, size) {score, size, over_keys_##name},
static const Kind QUERIES[] = {EACH_KIND(OF_QUERIES)}, KEYS[] = {EACH_KIND(OF_KEYS)};

void EXPORTED(edges_backward_queries)(const void *work, int64_t first, int64_t last, int64_t piece) {
    run_kind(QUERIES, work, first, last, piece);
}

void EXPORTED(edges_backward_keys)(const void *work, int64_t first, int64_t last, int64_t piece) {
    run_kind(KEYS, work, first, last, piece);
}
