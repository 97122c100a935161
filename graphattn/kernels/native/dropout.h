/* Dropout without a stored mask: the same words as graphattn/formulas/dropout.py, which says how they are drawn. */

#ifndef GRAPHATTN_DROPOUT_H
#define GRAPHATTN_DROPOUT_H

#include "edges.h"

typedef uint32_t words __attribute__((vector_size(LANES * 4)));
typedef int32_t words_mask __attribute__((vector_size(LANES * 4)));

INLINE words scramble(words x) {
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}

INLINE words words_of_query(uint32_t seed, uint32_t query) { return scramble((seed ^ query * 0x9E3779B1u) - (words){0}); }

INLINE words words_of_edges(words query, words key, words repeat) {
    return scramble(scramble(query ^ key * 0x85EBCA77u) ^ repeat * 0xC2B2AE3Du);
}

/* `keep` where an edge is kept in a head, 0 where it is dropped. */
INLINE lanes factors_of_head(words edge, uint32_t head, uint32_t threshold, lanes keep) {
    const words_mask kept = scramble(edge ^ head * 0x27D4EB2Fu) >= threshold;
    return where(__builtin_convertvector(kept, mask), keep, (lanes){0});
}

/* factors[h * 8 + e]: keep_scale where the edge from nodes[e] to `query` is kept, 0 where it is dropped. `at` is the first of
   n <= 8 entries; lanes behind them hold anything. */
OUT_OF_LINE void keep_factors(const Edges *w, real *factors, int64_t query, const int64_t *nodes, int64_t at, int64_t n) {
    words key = {0}, repeat = {0};
    for (int64_t e = 0; e < n; e++) key[e] = (uint32_t)(w->key_numbers ? w->key_numbers[nodes[e]] : nodes[e] + w->first_key);
    if (w->repeat)
        for (int64_t e = 0; e < n; e++) repeat[e] = (uint32_t)w->repeat[at + e];
    query = w->query_numbers ? w->query_numbers[query] : query + w->first_query;
    const words edges = words_of_edges(words_of_query((uint32_t)w->seed, (uint32_t)query), key, repeat);
    const lanes keep = spread((real)w->keep_scale);
    for (int64_t h = 0; h < w->heads; h++)
        store(factors + h * LANES, factors_of_head(edges, (uint32_t)(h + w->first_head), (uint32_t)w->threshold, keep));
}

#endif
