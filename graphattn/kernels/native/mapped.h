/* Dot products with keys k + W e and values v + W e, where an edge has features e (Shi et al. 2021, TransformerConv): W is `edge_weight`.

   q . (k + W e) = q . k + (Wᵀ q) . e, and the sum of weights * (v + W e) is that of v and W times the sum of weights * e. So a row
   maps its query once and its sum of features once, in numbers that stay in the first cache, and no edge is mapped. */

#ifndef GRAPHATTN_MAPPED_H
#define GRAPHATTN_MAPPED_H

#include "edges.h"
#include "tables.h"

/* W with the features of a channel side by side, [heads, dim, `turned_step`], where a vector of them is read at once. */
INLINE int64_t turned_step(const Edges *w) { return eights(w->edge_dim) * LANES; }
INLINE int64_t room_of_turned(const Edges *w) { return w->heads * w->dim * turned_step(w); }

OUT_OF_LINE void turn_weight(const Edges *w, real *turned) {
    const int64_t width = w->heads * w->dim;
    for (int64_t f = 0; f < w->edge_dim; f++)
        for (int64_t i = 0; i < width; i++) turned[i * turned_step(w) + f] = w->edge_weight[f * width + i];
}

INLINE void map_eight_of(const Edges *w, real *to, const real *turned, const Rows rows, const int64_t dim) {
    for (int64_t h = 0; h < w->heads; h++)
        for (int64_t f = 0; f < w->edge_dim; f += LANES) {
            lanes t[LANES] = {{0}};
            for (int64_t c = h * dim; c < (h + 1) * dim; c++) {
                const lanes weight = load(turned + c * turned_step(w) + f);
                EACH_LANE_LAID_OUT(r) t[r] += rows[r][c] * weight;
            }
            EACH_LANE_LAID_OUT(r) store_part(to + (r * w->heads + h) * w->edge_dim + f, t[r], w->edge_dim - f);
        }
}

/* to [8, heads, edge_dim] = Wᵀ x of each head of x [heads, dim], of the eight rows of the graph from one on; of fewer, where a
   piece of the work has no more. Eight at a time, as each is too short to be worth reading W for. */
OUT_OF_LINE void map_to_features(const Edges *w, real *to, const real *turned, const Table *table, int64_t row, int64_t last) {
    int64_t nodes[LANES];
    Rows rows;
    EACH_LANE(r) {
        const int64_t here = smaller(row + r, last - 1);
        nodes[r] = w->row_of ? w->row_of[here] : here;
    }
    rows_at(rows, table, nodes);
#define CALL(known) map_eight_of(w, to, turned, rows, known)
    WITH_SIZE(w->dim, CALL)
#undef CALL
}

/* Eight rows of the weight, from feature f on; behind the last that one again. */
INLINE void rows_of_weight(const Edges *w, Rows rows, int64_t f) {
    EACH_LANE_LAID_OUT(i) rows[i] = w->edge_weight + smaller(f + i, w->edge_dim - 1) * w->heads * w->dim;
}

INLINE void add_mapped_features_of(const Edges *w, real *to, const real *x, const int64_t dim) {
    for (int64_t f = 0; f < w->edge_dim; f += LANES) {
        Rows rows;
        rows_of_weight(w, rows, f);
        for (int64_t h = 0; h < w->heads; h++)
            add_rows(to + h * dim, x + h * w->edge_dim + f, 1, rows, smaller(LANES, w->edge_dim - f), h * dim, dim);
    }
}

/* to [heads, dim] += W x of each head of x [heads, edge_dim]. */
OUT_OF_LINE void add_mapped_features(const Edges *w, real *to, const real *x) {
#define CALL(known) add_mapped_features_of(w, to, x, known)
    WITH_SIZE(w->dim, CALL)
#undef CALL
}

INLINE void gradients_of_map_of(const Edges *w, real *grad_query, real *to_weight, const real *query, const real *grad_out,
                                const real *grad_edge_query, const real *edge_out, const int64_t dim) {
    add_mapped_features(w, grad_query, grad_edge_query);
    if (!to_weight) return;
    for (int64_t f = 0; f < w->edge_dim; f++)
        for (int64_t h = 0; h < w->heads; h++) {
            real *here = to_weight + (f * w->heads + h) * dim;
            const lanes by_query = spread(grad_edge_query[h * w->edge_dim + f]), by_out = spread(edge_out[h * w->edge_dim + f]);
            EACH_PART(c, count, dim, {
                const lanes of_query = load_part(query + h * dim + c, count), of_out = load_part(grad_out + h * dim + c, count);
                store_part(here + c, load_part(here + c, count) + by_query * of_query + by_out * of_out, count);
            });
        }
}

/* The end of the backward pass of a row: from the gradient of Wᵀ q and the sum of weighted features those of q and W, which is
   that of a result times the features that were mapped into it, head by head. */
OUT_OF_LINE void gradients_of_map(const Edges *w, real *grad_query, real *to_weight, const real *query, const real *grad_out,
                                  const real *grad_edge_query, const real *edge_out) {
#define CALL(known) gradients_of_map_of(w, grad_query, to_weight, query, grad_out, grad_edge_query, edge_out, known)
    WITH_SIZE(w->dim, CALL)
#undef CALL
}

#endif
