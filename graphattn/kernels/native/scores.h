/* The scores of eight edges and every head, one function for each score. */

#ifndef GRAPHATTN_SCORES_H
#define GRAPHATTN_SCORES_H

#include "edges.h"
#include "tables.h"

#define SLOPE ((real)0.2) /* of LeakyReLU below 0 and at 0, as in scores.KERNEL_SLOPE */

/* What eight edges are read from. */
typedef struct {
    Rows keys, features, biases; /* the last two only where there are any */
    const real *query, *edge_query;
    const int64_t *coming, *edges_coming; /* nodes and edges that will be wanted */
    int64_t n;                            /* how many of the eight there are */
} Eight;

/* The features of the n edges of a row that has few, from entry `at` on. */
INLINE void few_features(const Edges *w, Rows features, int64_t *edges, int64_t at, int64_t n) {
    for (int64_t e = 0; e < n; e++) {
        edges[e] = edge_of(w, at + e);
        features[e] = w->edge_features + edges[e] * w->feature_heads * w->edge_dim;
    }
}

/* ---- vector . f(q + k + edge_weight @ features) ---- */

INLINE void activate(lanes x[LANES], int score) {
    if (score != TANH) EACH_LANE(e) x[e] = larger_of(x[e] * SLOPE, x[e]);
    else _Pragma("GCC unroll 1") for (int e = 0; e < LANES; e++) x[e] = tanhs(x[e]); /* too long to be there eight times */
}

/* A gradient before the activation from that of the activated number y. */
INLINE lanes before_activation(lanes grad, lanes y, int score) {
    return score == TANH ? grad * (1 - y * y) : where(y > 0, grad, grad * SLOPE);
}

OUT_OF_LINE void add_weighted_features(const Edges *w, lanes hidden[LANES], const real *const *features, int64_t at, int64_t count) {
    for (int64_t d = 0; d < w->edge_dim; d++) {
        const lanes weight = load_part(w->edge_weight + d * w->heads * w->dim + at, count);
        EACH_LANE(e) hidden[e] += spread(features[e][d]) * weight;
    }
}

/* Activated hidden numbers at ... at + count - 1 of eight edges: those of the node that they share, `near`, and of the eight at
   the other end, whose rows begin at `far_at`. */
INLINE_IF_FAST void hidden_numbers(
    const Edges *w, int score, lanes hidden[LANES], const real *near, const Rows far, int64_t far_at, const Rows features,
    int64_t at, int64_t count
) {
    const lanes a = load_part(near, count);
    EACH_LANE(e) hidden[e] = a + load_part(far[e] + far_at, count);
    if (w->edge_weight) {
        lanes more[LANES]; /* which lie in memory for the function, as the others need not */
        EACH_LANE(e) more[e] = hidden[e];
        add_weighted_features(w, more, features, at, count);
        EACH_LANE(e) hidden[e] = more[e];
    }
    if (w->adds_features) EACH_LANE(e) hidden[e] += load_part(features[e] + at, count);
    activate(hidden, score);
}

/* The sums of vector * hidden over a head's numbers; `kept` [eights(dim), 8 edges], if not NULL, is filled with `hidden`. */
INLINE_IF_FAST lanes additive_score(
    const Edges *w, int score, const Eight *x, int64_t head, int64_t group_at, int64_t dim, lanes *kept
) {
    lanes t[LANES] = {{0}};
    EACH_PART(c, count, dim, {
        const int64_t at = head * dim + c;
        lanes hidden[LANES];
        hidden_numbers(w, score, hidden, x->query + at, x->keys, group_at + c, x->features, at, count);
        const lanes vector = load_part(w->vector + at, count);
        EACH_LANE(e) t[e] += vector * hidden[e];
        if (kept) EACH_LANE(e) kept[c + e] = hidden[e];
    });
    return sums_of(t);
}

/* ---- the same where every head has a query and a key of one number (GAT): eight heads at a time ---- */

INLINE_IF_FAST void gat_scores(const Edges *w, real *scores, int64_t step, const Eight *x, real scale, lanes *kept) {
    const Table keys = keys_of(w);
    ask_for(&keys, x->coming, x->n, 0, 1);
    EACH_PART(h, count, w->heads, {
        lanes hidden[LANES];
        hidden_numbers(w, GAT, hidden, x->query + h, x->keys, h, x->features, h, count);
        if (kept) EACH_LANE(e) kept[h + e] = hidden[e];
        const lanes vector = load_part(w->vector + h, count) * scale;
        EACH_LANE(e) hidden[e] *= vector;
        transpose(hidden);
        for (int i = 0; i < count; i++) store(scores + (h + i) * step, hidden[i]);
    });
}

/* ---- all of them ---- */

/* Adds what features and bias have to do with it. */
OUT_OF_LINE void add_options(const Edges *w, real *scores, int64_t step, const Eight *x) {
    const real scale = w->scale;
    const Table features = features_of(w), biases = biases_of(w);
    if (w->edge_dim) ask_for(&features, x->edges_coming, x->n, 0, 1);
    if (w->bias) ask_for(&biases, x->edges_coming, x->n, 0, 1);
    if (x->edge_query)
        for (int64_t h = 0; h < w->heads; h++) {
            const lanes s = dots(x->edge_query + h * w->edge_dim, x->features, feature_at(w, h), w->edge_dim);
            store(scores + h * step, load(scores + h * step) + s * scale);
        }
    if (w->bias && w->bias_heads > 1) add_by_head(scores, step, x->biases, w->heads);
    else if (w->bias) {
        lanes bias;
        EACH_LANE(e) bias[e] = *x->biases[e];
        for (int64_t h = 0; h < w->heads; h++) store(scores + h * step, load(scores + h * step) + bias);
    }
}

/* scores[h * step + e] = scale * score + bias; `hidden` [heads, eights(dim), 8 edges] keeps what an additive score was made of. */
INLINE void score_eight(const Edges *w, int score, int64_t dim, real *scores, int64_t step, const Eight *x, lanes *hidden, const Table *ahead) {
    const real scale = w->scale;
    const int64_t group = w->heads / w->kv_heads;
    if (score == GAT) gat_scores(w, scores, step, x, scale, hidden);
    else
        for (int64_t g = 0, h = 0; g < w->kv_heads; g++) {
            if (ahead) ask_for(ahead, x->coming, x->n, g, w->kv_heads);
            for (const int64_t end = h + group; h < end; h++) {
                const lanes s = score == DOT ? dots(x->query + h * dim, x->keys, g * dim, dim)
                    : additive_score(w, score, x, h, g * dim, dim, hidden ? hidden + h * eights(dim) * LANES : NULL);
                store(scores + h * step, s * scale);
            }
        }
    if (w->edge_dim || w->bias) add_options(w, scores, step, x);
}

#endif
