/* Sums over eight rows of a table at once: the vectors of all heads at the nodes of eight edges.

   Where fewer than eight edges are left, the last one stands in the lanes that remain, so that nothing beyond a table is read;
   their weights are 0: that is faster than to count. A vector of `size` numbers is done in eights and a rest: `count` says how many numbers one step has. */

#ifndef GRAPHATTN_TABLES_H
#define GRAPHATTN_TABLES_H

#include "indices.h"
#include "lanes.h"

typedef const real *Rows[LANES];
typedef real *Targets[LANES];

/* Runs the step (the rest of the arguments) with c = 0, 8, ... and count = 8, then with what is left. */
#define EACH_EIGHT(c, count, size, ...)                                                  \
    do {                                                                                 \
        int64_t c = 0;                                                                   \
        for (; c + LANES <= (size); c += LANES) { enum { count = LANES }; __VA_ARGS__; } \
        if (c < (size)) { const int64_t count = (size) - c; __VA_ARGS__; }               \
    } while (0)

/* ---- places ---- */

/* found: index[at ... at + count - 1], the last of them again up to a multiple of eight, and then eight that will be wanted:
   those behind this multiple. Each step asks for as many as it has edges, so that short rows ask for none twice. */
INLINE void find(int64_t *found, const void *index, int64_t is_64, int64_t at, int64_t count, int64_t entries) {
    const int64_t padded = (count + LANES - 1) / LANES * LANES;
    for (int64_t i = 0; i < count; i++) found[i] = index_at(index, at + i, is_64);
    for (int64_t i = count; i < padded; i++) found[i] = found[count - 1];
    at += padded;
    if (at + LANES <= entries)
        EACH_LANE(i) found[padded + i] = index_at(index, at + i, is_64);
    else
        for (int i = 0; i < LANES; i++) found[padded + i] = index_at(index, smaller(at + i, entries - 1), is_64);
}

/* The same for an index of 64 bits that may be NULL: then an entry's number is its own. */
INLINE void find_edges(int64_t *found, const int64_t *index, int64_t at, int64_t count, int64_t entries) {
    if (index) {
        find(found, index, 1, at, count, entries);
        return;
    }
    const int64_t padded = (count + LANES - 1) / LANES * LANES;
    for (int64_t i = 0; i < padded; i++) found[i] = at + smaller(i, count - 1);
    for (int64_t i = 0; i < LANES; i++) found[padded + i] = smaller(at + padded + i, entries - 1);
}

INLINE void rows_at(Rows rows, const real *table, int64_t width, const int64_t *nodes) {
    EACH_LANE(e) rows[e] = table + width * nodes[e];
}

/* Prefetches one part of the rows of n nodes: all of them come when `part` has been 0 ... parts - 1. */
INLINE void ask_for(const real *table, int64_t width, const int64_t *nodes, int64_t n, int64_t part, int64_t parts) {
    for (int64_t e = part; e < n; e += parts)
        for (int64_t c = 0; c < width; c += 64 / (int64_t)sizeof(real)) __builtin_prefetch(table + width * nodes[e] + c);
}

/* ---- sums ---- */

/* a . row, from row[at] on, for each of eight rows. */
INLINE lanes dots(const real *a, const Rows rows, int64_t at, int64_t size) {
    lanes t[LANES] = {{0}};
    EACH_EIGHT(c, count, size, {
        const lanes x = load_part(a + c, count);
        EACH_LANE(e) t[e] += x * load_part(rows[e] + at + c, count);
    });
    return sums_of(t);
}

/* y += the sum of factors[e] * row, from row[at] on, over eight rows. AVX-512 takes sixteen numbers of a row at once. */
INLINE void add_rows(real *y, const lanes factors[LANES], const Rows rows, int64_t at, int64_t size) {
#if defined(__AVX512F__) && !defined(REAL_IS_DOUBLE)
    typedef real wide __attribute__((vector_size(64), aligned(4), may_alias));
    for (; size >= 16; size -= 16, at += 16, y += 16) {
        wide t[2] = {*(wide *)y}; /* two sums: each addition waits for the one before */
        EACH_LANE(e) t[e % 2] += factors[e][0] * *(const wide *)(rows[e] + at);
        *(wide *)y = t[0] + t[1];
    }
#endif
    EACH_EIGHT(c, count, size, {
        lanes t = load_part(y + c, count);
        EACH_LANE(e) t += factors[e] * load_part(rows[e] + at + c, count);
        store_part(y + c, t, count);
    });
}

/* Eight numbers, each spread over a vector. */
INLINE void spread_each(lanes y[LANES], const real *x) { EACH_LANE(e) y[e] = spread(x[e]); }

/* Number `at` of each of eight rows, spread over a vector. */
INLINE void spread_of_rows(lanes y[LANES], const Rows rows, int64_t at) { EACH_LANE(e) y[e] = spread(rows[e][at]); }

/* Of n edges: to[e] [groups, size] = the sum over the heads of a group of factors[head][e] * x[head] [size], or += `is_added`. */
INLINE void put_rows(
    const Targets to, int64_t n, const real *factors, const real *x, int64_t groups, int64_t group, int64_t size, int is_added
) {
    for (int64_t g = 0; g < groups; g++, factors += group * LANES, x += group * size)
        EACH_EIGHT(c, count, size, {
            lanes t[LANES] = {{0}};
            for (int64_t j = 0; j < group; j++) {
                const lanes y = load_part(x + j * size + c, count);
                EACH_LANE(e) t[e] += spread(factors[j * LANES + e]) * y;
            }
            for (int64_t e = 0; e < n; e++) {
                real *here = to[e] + g * size + c;
                store_part(here, is_added ? load_part(here, count) + t[e] : t[e], count);
            }
        });
}

/* ---- numbers by head [heads][8 edges] and by edge [edges][heads]: blocks of eight by eight are transposed in registers ----

   What is by head has room for a multiple of eight heads. */

/* by_head[h * step + e] += rows[e][h] */
INLINE void add_by_head(real *by_head, int64_t step, const Rows rows, int64_t heads) {
    EACH_EIGHT(h, count, heads, {
        lanes t[LANES];
        EACH_LANE(e) t[e] = load_part(rows[e] + h, count);
        transpose(t);
        for (int i = 0; i < count; i++) store(by_head + (h + i) * step, load(by_head + (h + i) * step) + t[i]);
    });
}

/* to[e][h] = by_head[h * 8 + e] for n edges. */
INLINE void put_by_edge(const Targets to, int64_t n, const real *by_head, int64_t heads) {
    EACH_EIGHT(h, count, heads, {
        lanes t[LANES];
        EACH_LANE(i) t[i] = load(by_head + (h + i) * LANES);
        transpose(t);
        for (int64_t e = 0; e < n; e++) store_part(to[e] + h, t[e], count);
    });
}

#endif
