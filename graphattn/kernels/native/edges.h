/* Attention over any edges: what Python hands to edges_forward.c and edges_backward.c (native/edges.py declares it again).

   Entries are the edges in the order of their queries (rows of a CSR), or of their keys in the pass over keys. A row is a query,
   a key, or a piece of one that has very many edges. Arrays are contiguous, but for those of nodes, whose rows may be columns of
   a wider table; NULL stands for an option that is not used. */

#ifndef GRAPHATTN_EDGES_H
#define GRAPHATTN_EDGES_H

#include "indices.h"
#include "storage.h"

/* The score of an edge, before it is scaled: q . k, or vector . f(q + k + edge_weight @ features), or + features, with LeakyReLU or tanh as f;
   GAT is the second where every head is a single number. */
enum Score { DOT, LEAKY, TANH, GAT, ANY /* of these, as it comes */ };
enum Normalizer { SOFTMAX, RELU, SIGMOID };

typedef struct {
    int64_t entries, heads, kv_heads, dim, value_dim, edge_dim, bias_heads /* heads, or 1 for all */;
    int64_t score, normalizer, index_is_64 /* of col, place and edge_id, else 32 bits */;
    int64_t storage; /* of query, key and value (an enum Storage); all other numbers are reals, except: */
    int64_t result_storage, grad_storage; /* of out (forward) and grad_out (backward), and of the gradients of the three */
    int64_t feature_heads, adds_features; /* features are of each head (heads, or 1 for all); whether hidden numbers have them on top */
    int64_t query_row, key_row, value_row, edge_query_row; /* numbers from one row to the next */
    int64_t grad_query_row, grad_key_row, grad_value_row, grad_edge_query_row;
    int64_t seed, threshold; /* of dropout: an edge is kept if its word is at least `threshold`, which is 0 without dropout */
    int64_t first_query, first_key, first_head; /* for dropout: what nodes and heads are numbered from in a larger graph */
    int64_t ahead;          /* whether keys are so many that their rows are asked for a block ahead */
    double scale, keep_scale;
    const int64_t *rowptr;  /* [rows + 1] */
    const int64_t *row_of;  /* [rows] the node of a row; NULL if it has the same number */
    const void *col;        /* [entries] the node at the other end */
    const void *edge_id;    /* [entries by query] the edge, as bias and features count; NULL if it has the same number */
    const int64_t *repeat;  /* [entries by query] its number among equal edges; NULL if there are none */
    const void *place;      /* [entries by key] its number by query */
    const void *query;      /* [queries, heads, dim] */
    const void *key;        /* [keys, kv_heads, dim] */
    const void *value;      /* [keys, kv_heads, value_dim] */
    const real *bias;       /* [edges, bias_heads] */
    const real *edge_features; /* [edges, feature_heads, edge_dim] */
    const real *edge_query; /* [queries, heads, edge_dim]: the score has edge_query . features on top */
    const real *vector;     /* [heads, dim] */
    const real *edge_weight; /* [edge_dim, heads, dim]; beside dot products it maps features into keys and values (mapped.h) */
    void *out;              /* [rows, heads, value_dim]; backward is given the results of all rows, by query, as reals */
    real *lse;              /* [rows, heads] */
    real *edge_out;         /* [rows, heads, edge_dim]; NULL if nobody wants it */
    real *total;            /* [rows, heads, value_dim], to which results are added; NULL if nobody wants it */
    const void *grad_out;
    const real *grad_edge_out;
    void *grad_query, *grad_key, *grad_value;
    real *grad_bias, *grad_edge_features, *grad_edge_query;
    real *grad_vector, *grad_edge_weight; /* [pieces, ...]: each piece of the work adds up its own */
    real *handed;           /* [entries by query, 2, heads] for the pass over keys: weight and gradient (see there) */
    uint8_t *signs;         /* [entries by query, heads, eights(dim)]: a bit for each hidden number, set above 0 */
    const int64_t *query_numbers, *key_numbers; /* [queries], [keys] for dropout, where they do not go on one by one, else NULL */
} Edges;

/* Loops are compiled once for each of these: a score, and the length of a head's vectors, 0 for any. Of those that fit, the
   first is taken. Lengths that are known to the compiler pay up to 32. Where speed matters less, loops ask for the score as they
   run. */
#if defined(__x86_64__) && !defined(__AVX2__)
#define EACH_KIND(KIND) KIND(any, ANY, 0)
#elif defined(REAL_IS_DOUBLE)
#define EACH_KIND(KIND) KIND(dot, DOT, 0) KIND(any, ANY, 0)
#else
#define EACH_KIND(KIND)                                                                                             \
    KIND(dot_8, DOT, 8) KIND(dot_16, DOT, 16) KIND(dot_32, DOT, 32) KIND(dot, DOT, 0)                               \
    KIND(leaky_8, LEAKY, 8) KIND(leaky_16, LEAKY, 16) KIND(leaky, LEAKY, 0) KIND(tanh, TANH, 0) KIND(gat, GAT, 0)
#endif

typedef struct {
    int score;
    int64_t size;
    void (*loop)(const Edges *, int64_t first, int64_t last, int64_t piece);
} Kind;

/* Runs `loops`, a list of Kinds, on a piece of the work. */
INLINE void run_kind(const Kind *kind, const Edges *edges, int64_t first, int64_t last, int64_t piece) {
    while ((kind->score != ANY && kind->score != edges->score) ||
           (kind->size && (kind->size != edges->dim || kind->size != edges->value_dim)))
        kind++;
    kind->loop(edges, first, last, piece);
}

/* The score of a kind. */
INLINE int score_of(const Edges *edges, int kind) { return kind == ANY ? (int)edges->score : kind; }

/* The rows of nodes that loops read. */
INLINE Table queries_of(const Edges *w) { return (Table){w->query, w->storage, w->query_row, w->heads * w->dim}; }
INLINE Table keys_of(const Edges *w) { return (Table){w->key, w->storage, w->key_row, w->kv_heads * w->dim}; }
INLINE Table values_of(const Edges *w) { return (Table){w->value, w->storage, w->value_row, w->kv_heads * w->value_dim}; }
INLINE Table grads_out_of(const Edges *w) {
    return (Table){w->grad_out, w->result_storage, w->heads * w->value_dim, w->heads * w->value_dim};
}

/* Those of edges. */
INLINE Table biases_of(const Edges *w) { return (Table){w->bias, REALS, w->bias_heads, w->bias_heads}; }
INLINE Table features_of(const Edges *w) {
    return (Table){w->edge_features, REALS, w->feature_heads * w->edge_dim, w->feature_heads * w->edge_dim};
}
INLINE Table handed_of(const Edges *w) { return (Table){w->handed, REALS, 2 * w->heads, 2 * w->heads}; }

/* Dimension of the edge weight, 0 without one: then features are no part of the hidden numbers. */
INLINE int64_t weight_dim(const Edges *w) { return w->edge_weight ? w->edge_dim : 0; }

/* The edge of an entry by query, as bias and features count. */
INLINE int64_t edge_of(const Edges *w, int64_t entry) {
    return w->edge_id ? index_at(w->edge_id, entry, w->index_is_64) : entry;
}

/* Where the features of a head start among those of an edge. */
INLINE int64_t feature_at(const Edges *w, int64_t head) { return w->feature_heads > 1 ? head * w->edge_dim : 0; }

/* How many heads share the features of an edge. */
INLINE int64_t feature_group(const Edges *w) { return w->feature_heads > 1 ? 1 : w->heads; }

#endif
