/* Sums over eight rows of a table at once: the vectors of all heads at the nodes of eight edges.

   Where fewer than eight edges are left, the last one stands in the lanes that remain, so that nothing beyond a table is read;
   sums over rows take only those that there are. A vector of `size` numbers is done in eights and a rest: `count` says how many
   numbers one step has. What a kind of loop knows the size of is in line; the same for any size is a function of its own. */

#ifndef GRAPHATTN_TABLES_H
#define GRAPHATTN_TABLES_H

#include "indices.h"
#include "storage.h"

typedef const real *Rows[LANES];
typedef real *Targets[LANES];

/* Calls a function with the size of a head's vectors, of which it knows the usual ones. */
#ifdef IS_FAST
#define WITH_SIZE(size, call)    \
    switch (size) {              \
        case 8: call(8); break;  \
        case 16: call(16); break; \
        case 32: call(32); break; \
        default: call(size);     \
    }
#else
#define WITH_SIZE(size, call) call(size);
#endif

/* Runs the step (the rest of the arguments) with c = 0, 8, ... and count = 8, then with what is left. */
#define EACH_EIGHT(c, count, size, ...)                                                  \
    do {                                                                                 \
        int64_t c = 0;                                                                   \
        for (; c + LANES <= (size); c += LANES) { enum { count = LANES }; __VA_ARGS__; } \
        if (c < (size)) { const int64_t count = (size) - c; __VA_ARGS__; }               \
    } while (0)

/* The same where speed matters less: the step is there once, and `count` is found as it runs. */
#ifdef IS_FAST
#define EACH_PART EACH_EIGHT
#else
#define EACH_PART(c, count, size, ...)                                                               \
    do {                                                                                             \
        for (int64_t c = 0; c < (size); c += LANES) { const int64_t count = smaller(LANES, (size) - c); __VA_ARGS__; } \
    } while (0)
#endif

/* ---- places ---- */

/* found: index[at ... at + count - 1], the last of them again up to a multiple of eight, and then eight that will be wanted:
   those behind this multiple. Each step asks for as many as it has edges, so that short rows ask for none twice. */
OUT_OF_LINE void find(int64_t *found, const void *index, int64_t is_64, int64_t at, int64_t count, int64_t entries) {
    typedef int32_t shorts __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
    typedef int64_t longs __attribute__((vector_size(LANES * 8), aligned(8), may_alias));
    const int64_t padded = (count + LANES - 1) / LANES * LANES;
    __builtin_prefetch((const char *)index + (at + padded + 64) * (is_64 ? 8 : 4)); /* else it waits behind all rows asked for */
    for (int64_t i = 0; i < padded + LANES; i += LANES)
        if (at + i + LANES > entries)
            for (int64_t j = i; j < i + LANES; j++) found[j] = index_at(index, smaller(at + j, entries - 1), is_64);
        else if (is_64) memcpy(found + i, (const int64_t *)index + at + i, LANES * 8);
        else *(longs *)(found + i) = __builtin_convertvector(*(const shorts *)((const int32_t *)index + at + i), longs);
    for (int64_t i = count; i < padded; i++) found[i] = found[count - 1];
}

/* Rows of so few edges are done pair by pair of an edge and a head (`dots_by_pair`). */
enum { FEW = 4 };

/* For such a row of n entries: found are its nodes, and n that will be wanted. */
INLINE void find_few(int64_t *found, const void *index, int64_t is_64, int64_t at, int64_t n, int64_t entries) {
    for (int64_t e = 0; e < n; e++) {
        found[e] = index_at(index, at + e, is_64);
        found[n + e] = index_at(index, smaller(at + e + LANES, entries - 1), is_64);
    }
}

/* The same for an index that may be NULL: then an entry's number is its own. */
OUT_OF_LINE void find_edges(int64_t *found, const void *index, int64_t is_64, int64_t at, int64_t count, int64_t entries) {
    if (index) {
        find(found, index, is_64, at, count, entries);
        return;
    }
    const int64_t padded = (count + LANES - 1) / LANES * LANES;
    for (int64_t i = 0; i < padded; i++) found[i] = at + smaller(i, count - 1);
    for (int64_t i = 0; i < LANES; i++) found[padded + i] = smaller(at + padded + i, entries - 1);
}

INLINE void rows_at(Rows rows, const Table *table, const int64_t *nodes) {
    EACH_LANE(e) rows[e] = (const real *)table->start + table->row * nodes[e];
}

/* Numbers that a row takes in memory of its own: a whole number of cache lines. */
INLINE int64_t room_of_row(int64_t width) { return (width + 15) / 16 * 16; }

/* The same for a table that may be of halves: n rows of those are widened in `room`, the last of them stands for the others. */
OUT_OF_LINE void widen_rows(Rows rows, const Table *table, const int64_t *nodes, int64_t n, real *room) {
    for (int64_t e = 0; e < LANES; e++) {
        rows[e] = room + smaller(e, n - 1) * room_of_row(table->width);
        if (e < n) row_at(table, nodes[e], (real *)rows[e]);
    }
}

INLINE void read_rows(Rows rows, const Table *table, const int64_t *nodes, int64_t n, real *room) {
    if (is_half(table->storage)) widen_rows(rows, table, nodes, n, room);
    else rows_at(rows, table, nodes);
}

/* Prefetches one part of the rows of n nodes: all of them come when `part` has been 0 ... parts - 1. */
INLINE void ask_for(const Table *table, const int64_t *nodes, int64_t n, int64_t part, int64_t parts) {
    const int64_t bytes = bytes_of_row(table->storage, table->width);
    for (int64_t e = part; e < n; e += parts)
        for (int64_t c = 0; c < bytes; c += 64)
            __builtin_prefetch(place_in(table->start, table->storage, table->row * nodes[e]) + c);
}

/* ---- sums ---- */

#if !defined(__x86_64__) || defined(__AVX2__)
#define EACH_HOT_LANE EACH_LANE_LAID_OUT
#else
#define EACH_HOT_LANE EACH_LANE
#endif

/* a . row, from row[at] on, for each of eight rows. */
INLINE lanes dots_of(const real *a, const real *const *rows, int64_t at, int64_t size) {
    lanes t[LANES] = {{0}};
    EACH_EIGHT(c, count, size, {
        const lanes x = load_part(a + c, count);
        EACH_HOT_LANE(e) t[e] += x * load_part(rows[e] + at + c, count);
    });
    return sums_of(t);
}

/* y += the sum of factor e * row e, from row[at] on, over n <= 8 rows. Factors are factors[e * step], or, if they are `by_row`,
   number `step` of each of eight. AVX-512 takes sixteen numbers of a row at once. */
INLINE void add_rows_of(
    real *y, const real *factors, const real *const *by_row, const int is_by_row, int64_t step, const real *const *rows, int64_t n,
    int64_t at, int64_t size
) {
#define FACTOR(e) (is_by_row ? by_row[e][step] : factors[(e) * step])
#define ADD_ROWS(type, zero, read) /* in two sums: each addition waits for the one before */ \
    type t[2] = {t0, zero};                                                                  \
    if (n == LANES) EACH_HOT_LANE(e) t[e % 2] += FACTOR(e) * (read);                     \
    else for (int64_t e = 0; e < n; e++) t[0] += FACTOR(e) * (read)
#if defined(__AVX512F__) && !defined(REAL_IS_DOUBLE)
    typedef real wide __attribute__((vector_size(64), aligned(4), may_alias));
    for (; size >= 16; size -= 16, at += 16, y += 16) {
        const wide t0 = *(wide *)y;
        ADD_ROWS(wide, {0}, *(const wide *)(rows[e] + at));
        *(wide *)y = t[0] + t[1];
    }
#endif
    EACH_EIGHT(c, count, size, {
        const lanes t0 = load_part(y + c, count);
        ADD_ROWS(lanes, {0}, load_part(rows[e] + at + c, count));
        store_part(y + c, t[0] + t[1], count);
    });
#undef ADD_ROWS
#undef FACTOR
}

INLINE void add_few_of(real *y, const real *factors, int64_t step, const real *const *rows, int64_t n, int64_t at, int64_t size) {
    add_rows_of(y, factors, rows, 0, step, rows, n, at, size);
}
INLINE void add_by_row_of(real *y, const real *const *by_row, int64_t place, const real *const *rows, int64_t n, int64_t at, int64_t size) {
    add_rows_of(y, y, by_row, 1, place, rows, n, at, size);
}

/* to[e * heads + h] = factor * (near . far row e) over the numbers of head h, for each of n rows: eight pairs of an edge and a head
   at a time, so that few edges leave no lanes idle. `to` has room for eight more. A group of heads shares what a far row has. */
INLINE void dots_by_pair_of(
    real *to, const real *near, const real *const *far, int64_t n, int64_t heads, int64_t group, int64_t size, real factor
) {
    for (int64_t pair = 0, e = 0, h = 0; pair < n * heads; pair += LANES) {
        const real *x[LANES], *y[LANES];
        EACH_LANE(i) {
            x[i] = near + h * size, y[i] = far[e] + (group == 1 ? h : h / group) * size;
            if (pair + i + 1 < n * heads && ++h == heads) h = 0, e++;
        }
        lanes t[LANES] = {{0}};
        EACH_PART(c, count, size, EACH_LANE(i) t[i] += load_part(x[i] + c, count) * load_part(y[i] + c, count));
        store(to + pair, sums_of(t) * factor);
    }
}

OUT_OF_LINE lanes dots_of_any(const real *a, const real *const *rows, int64_t at, int64_t size) {
    return dots_of(a, rows, at, size);
}
OUT_OF_LINE void add_few_of_any(
    real *y, const real *factors, int64_t step, const real *const *rows, int64_t n, int64_t at, int64_t size
) {
    add_rows_of(y, factors, rows, 0, step, rows, n, at, size);
}
OUT_OF_LINE void add_by_row_of_any(
    real *y, const real *const *by_row, int64_t step, const real *const *rows, int64_t n, int64_t at, int64_t size
) {
    add_rows_of(y, y, by_row, 1, step, rows, n, at, size);
}

#define KNOWN_OR_ANY(name, size, ...) (__builtin_constant_p(size) ? name(__VA_ARGS__) : name##_any(__VA_ARGS__))
#define dots(a, rows, at, size) KNOWN_OR_ANY(dots_of, size, a, rows, at, size)
#define add_rows(y, factors, step, rows, n, at, size) KNOWN_OR_ANY(add_few_of, size, y, factors, step, rows, n, at, size)
#define add_by_row(y, by_row, step, rows, n, at, size) KNOWN_OR_ANY(add_by_row_of, size, y, by_row, step, rows, n, at, size)

OUT_OF_LINE void dots_by_pair(
    real *to, const real *near, const real *const *far, int64_t n, int64_t heads, int64_t group, int64_t size, real factor
) {
#define CALL(known) dots_by_pair_of(to, near, far, n, heads, group, known, factor)
    WITH_SIZE(size, CALL)
#undef CALL
}

/* to += such products, by way of `room`, which is as long. */
OUT_OF_LINE void add_dots_by_pair(
    real *to, real *room, const real *near, const real *const *far, int64_t n, int64_t heads, int64_t group, int64_t size, real factor
) {
    dots_by_pair(room, near, far, n, heads, group, size, factor);
    for (int64_t pair = 0; pair < n * heads; pair += LANES) store(to + pair, load(to + pair) + load(room + pair));
}

/* y += the sum of factors[e * step + head] * row e over n rows, for every head. */
INLINE void add_heads_of(
    real *y, const real *factors, int64_t step, const real *const *rows, int64_t n, int64_t heads, int64_t group, int64_t size
) {
    for (int64_t h = 0; h < heads; h++)
        add_rows_of(y + h * size, factors + h, rows, 0, step, rows, n, (group == 1 ? h : h / group) * size, size);
}

OUT_OF_LINE void add_heads(
    real *y, const real *factors, int64_t step, const real *const *rows, int64_t n, int64_t heads, int64_t group, int64_t size
) {
#define CALL(known) add_heads_of(y, factors, step, rows, n, heads, group, known)
    WITH_SIZE(size, CALL)
#undef CALL
}

/* to[e] [groups, size] = the sum over the heads of a group of factors[e * step + head] * x[head] [size], or += `is_added`, for n
   edges. */
OUT_OF_LINE void put_few(
    const Targets to, int64_t n, const real *factors, int64_t step, const real *x, int64_t groups, int64_t group, int64_t size, int is_added
) {
    for (int64_t e = 0; e < n; e++, factors += step)
        for (int64_t g = 0; g < groups; g++)
            EACH_PART(c, count, size, {
                real *here = to[e] + g * size + c;
                lanes t = is_added ? load_part(here, count) : (lanes){0};
                for (int64_t h = g * group; h < (g + 1) * group; h++) t += factors[h] * load_part(x + h * size + c, count);
                store_part(here, t, count);
            });
}

/* Of n edges: to[e] [groups, size] = the sum over the heads of a group of factors[head][e] * x[head] [size], or += `is_added`. */
OUT_OF_LINE void put_rows(
    const Targets to, int64_t n, const real *factors, const real *x, int64_t groups, int64_t group, int64_t size, int is_added
) {
    for (int64_t g = 0; g < groups; g++, factors += group * LANES, x += group * size)
        EACH_PART(c, count, size, {
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
OUT_OF_LINE void add_by_head(real *by_head, int64_t step, const Rows rows, int64_t heads) {
    EACH_PART(h, count, heads, {
        lanes t[LANES];
        EACH_LANE(e) t[e] = load_part(rows[e] + h, count);
        transpose(t);
        for (int i = 0; i < count; i++) store(by_head + (h + i) * step, load(by_head + (h + i) * step) + t[i]);
    });
}

/* to[e][h] = by_head[h * 8 + e] for n edges. */
OUT_OF_LINE void put_by_edge(const Targets to, int64_t n, const real *by_head, int64_t heads) {
    EACH_PART(h, count, heads, {
        lanes t[LANES];
        EACH_LANE(i) t[i] = load(by_head + (h + i) * LANES);
        transpose(t);
        for (int64_t e = 0; e < n; e++) store_part(to[e] + h, t[e], count);
    });
}

#endif
