/* What a band is computed of: products of a tile with rows.

   A tile lies in memory as [channels, TILE]: its lanes are some nodes, whose numbers of one channel lie side by side, as the
   numbers of one row lie of whoever is not in the lanes. So products of two tables need no sum across lanes, each row stands on
   its own, and any number of channels will do. There is room for up to WIDE channels more than there are (`room_for`) and for
   up to ROWS rows more; what stands there means nothing.

   Functions take `vectors`: how many of a tile's vectors they compute, from wherever the pointers say. */

#ifndef GRAPHATTN_BAND_TILES_H
#define GRAPHATTN_BAND_TILES_H

#include "storage.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* Sums of VECTORS * ROWS vectors stay in registers: more than an addition takes cycles, and with what they are made of no
   more than there are registers. ROWS divides WIDE, and 8 divides TILE. */
#if defined(__AVX512F__) /* 32 registers of 64 bytes */
enum { WIDE = 16, VECTORS = 2, ROWS = 8 };
#elif defined(__AVX2__) && defined(__clang__) /* 16 of 32, of which Clang's order of instructions needs one more than GCC's */
enum { WIDE = 8, VECTORS = 2, ROWS = 4 };
#elif defined(__AVX2__)
enum { WIDE = 8, VECTORS = 3, ROWS = 4 };
#elif defined(__aarch64__) /* 32 of 16 */
enum { WIDE = 4, VECTORS = 4, ROWS = 4 };
#else /* 16 of 16 */
enum { WIDE = 4, VECTORS = 2, ROWS = 4 };
#endif
enum { TILE = VECTORS * WIDE };

typedef real wide __attribute__((vector_size(WIDE * sizeof(real))));
typedef whole wide_mask __attribute__((vector_size(WIDE * sizeof(real))));
typedef real wide_anywhere __attribute__((vector_size(WIDE * sizeof(real)), aligned(sizeof(real)), may_alias));

INLINE wide load_wide(const real *x) { return *(const wide_anywhere *)x; }
INLINE void store_wide(real *x, wide y) { *(wide_anywhere *)x = y; }
INLINE wide spread_wide(real x) { return x - (wide){0}; }

/* The larger of two numbers, y where one is NaN. Of the plain form compilers make four instructions. */
INLINE wide larger_wide(wide x, wide y) {
#if defined(__AVX512F__)
    return (wide)_mm512_max_ps((__m512)x, (__m512)y);
#elif defined(__AVX2__)
    return (wide)_mm256_max_ps((__m256)x, (__m256)y);
#elif defined(__SSE2__)
    return (wide)_mm_max_ps((__m128)x, (__m128)y);
#else
    const wide_mask is_larger = x > y;
    return (wide)((is_larger & (wide_mask)x) | (~is_larger & (wide_mask)y));
#endif
}

/* exp(x) for x <= 89, where it is infinity; 0 from x = -87.7 on; NaN where x is NaN. Relative error below 2e-7, and without
   fused multiplication and addition below 2e-7 + 1e-7 |x|.

   exp(x) = 2^n * 2^r with n whole and |r| <= 1 / 2, where 2^r is a polynomial (least relative error, exactly 1 at 0). Added to
   1.5 * 2^23 + 127, x / ln(2) becomes n + 127 in the last bits of the sum: the exponent of 2^n. */
INLINE wide exponentials_below(wide x) {
    const real to_whole = 12582912.f + 127, log2e = 1.44269504f;
    x = larger_wide(spread_wide(-88), x);
    const wide shifted = x * log2e + to_whole, r = x * log2e - (shifted - to_whole);
    wide p = r * 1.326472731307149e-3f + 9.671512991189957e-3f;
    p = p * r + 5.550733581185341e-2f;
    p = p * r + 0.24022242426872253f;
    p = p * r + 0.6931470036506653f;
    p = p * r + 1;
    return p * (wide)((wide_mask)shifted << 23);
}

INLINE int64_t in_vectors(int64_t channels) { return (channels + WIDE - 1) / WIDE * WIDE; }

/* Numbers of a tile with so many channels. */
INLINE int64_t room_for(int64_t channels) { return (channels + 15) / 16 * 16 * TILE; }

#define NOT_INLINED static __attribute__((noinline, unused)) /* stands under its own name in profiles */

/* ---- sums of products ---- */

#define EACH(i, count) _Pragma("GCC unroll 8") for (int i = 0; i < (count); i++)

typedef wide Sums[ROWS][VECTORS];

/* sums[r][v] = the sum over i below `stop` of factors[r * row_step + i * step] * vector v at x + i * x_step. */
INLINE void sum_products(Sums sums, const int vectors, const real *restrict factors, int64_t row_step, int64_t step,
                         const real *restrict x, int64_t x_step, int64_t stop) {
    EACH(r, ROWS) EACH(v, vectors) sums[r][v] = (wide){0};
    for (int64_t i = 0; i < stop; i++, factors += step, x += x_step) {
        wide of_lanes[VECTORS];
        EACH(v, vectors) of_lanes[v] = load_wide(x + v * WIDE);
        EACH(r, ROWS) {
            const wide factor = spread_wide(factors[r * row_step]);
            EACH(v, vectors) sums[r][v] += factor * of_lanes[v];
        }
    }
}

/* Calls a function for the number of vectors that there are, which it is compiled for. */
#define WITH_VECTORS(vectors, call)  \
    switch (vectors) {               \
        case 1: call(1); break;      \
        case 2: call(2); break;      \
        case 3: call(3 <= VECTORS ? 3 : 1); break; \
        default: call(VECTORS);      \
    }

INLINE void dot_rows_of(const int vectors, real *restrict to, const real *restrict rows, int64_t size, int64_t count,
                        const real *restrict tile, const real *restrict added) {
    for (int64_t first = 0; first < count; first += ROWS) {
        Sums sums;
        sum_products(sums, vectors, rows + first * size, size, 1, tile, TILE, size);
        if (added) EACH(r, ROWS) EACH(v, vectors) sums[r][v] += load_wide(added - first - r + v * WIDE);
        EACH(r, ROWS) EACH(v, vectors) store_wide(to + (first + r) * TILE + v * WIDE, sums[r][v]);
    }
}

/* to[r, lane] = row r . lane, + added[lane - r] unless that is NULL. Rows of `size` numbers lie side by side. */
NOT_INLINED void dot_rows(int vectors, real *to, const real *rows, int64_t size, int64_t count,
                                               const real *tile, const real *added) {
#define CALL(n) dot_rows_of(n, to, rows, size, count, tile, added)
    WITH_VECTORS(vectors, CALL)
#undef CALL
}

INLINE void add_rows_of(const int vectors, real *restrict tile, const real *restrict rows, int64_t size, int64_t count,
                        const real *restrict weights, const real *restrict shrink) {
    for (int64_t channel = 0; channel < size; channel += ROWS) {
        Sums sums;
        sum_products(sums, vectors, rows + channel, 1, size, weights, TILE, count);
        real *place = tile + channel * TILE;
        EACH(v, vectors) {
            const wide factor = shrink ? load_wide(shrink + v * WIDE) : spread_wide(1);
            EACH(r, ROWS) {
                real *here = place + r * TILE + v * WIDE;
                store_wide(here, load_wide(here) * factor + sums[r][v]);
            }
        }
    }
}

/* tile *= shrink, unless that is NULL; tile += the sum of row r * weights[r, lane]. */
NOT_INLINED void add_rows(int vectors, real *tile, const real *rows, int64_t size, int64_t count,
                                               const real *weights, const real *shrink) {
#define CALL(n) add_rows_of(n, tile, rows, size, count, weights, shrink)
    WITH_VECTORS(vectors, CALL)
#undef CALL
}

INLINE void add_lanes_of(const int vectors, real *restrict to, int64_t size, int64_t count, const real *restrict weights,
                         const real *restrict rows_of_lanes, int64_t num_lanes, int64_t channel) {
    for (int64_t first = 0; first < count; first += ROWS) {
        Sums sums;
        sum_products(sums, vectors, weights + first * TILE, TILE, 1, rows_of_lanes + channel, size, num_lanes);
        EACH(r, ROWS) if (first + r < count) {
            EACH(v, vectors) {
                real *here = to + (first + r) * size + channel + v * WIDE;
                store_wide(here, load_wide(here) + sums[r][v]);
            }
        }
    }
}

/* The other way: row r of `to` += the sum of weights[r, lane] * the row of that lane. Rows of `size` numbers, a multiple of WIDE,
   lie side by side. */
NOT_INLINED void add_lanes(real *to, int64_t size, int64_t count, const real *weights,
                                                const real *rows_of_lanes, int64_t num_lanes) {
    for (int64_t channel = 0; channel < size; channel += TILE) {
#define CALL(n) add_lanes_of(n, to, size, count, weights, rows_of_lanes, num_lanes, channel)
        WITH_VECTORS(smaller(VECTORS, (size - channel) / WIDE), CALL)
#undef CALL
    }
}

/* ---- moving ---- */

enum { AHEAD = 16 }; /* rows that are asked for before they are read: of a table with many heads, none follows from the one before */

INLINE void ask_for(const void *table, int64_t storage, int64_t at, int64_t size) {
    for (int64_t i = 0; i < bytes_of_row(storage, size); i += 64) __builtin_prefetch(place_in(table, storage, at) + i);
}

/* Rows of `size` numbers, every `step` numbers in the table from `at` on, times a factor, every `to_step` >= size in `to`. What is
   returned is NaN in some lane if one of them is not finite. */
NOT_INLINED wide copy_rows(real *to, int64_t to_step, const void *table, int64_t storage, int64_t at, int64_t step, int64_t size,
                           int64_t count, real factor) {
    wide sign = {0};
    for (int64_t r = 0; r < count; r++, to += to_step, at += step) {
        if (r + AHEAD < count) ask_for(table, storage, at + AHEAD * step, size);
        const real *row = numbers_at(table, storage, at, size, to);
        int64_t i = 0;
        for (; i + WIDE <= size; i += WIDE) {
            const wide x = load_wide(row + i);
            sign += x * 0;
            store_wide(to + i, x * factor);
        }
        for (; i < size; i++) {
            sign[0] += row[i] * 0;
            to[i] = row[i] * factor;
        }
    }
    return sign;
}

/* A tile of `count` rows of a table, at least one, times a factor; the lanes that are left are like the last of them. */
NOT_INLINED void to_lanes(real *restrict tile, const void *table, int64_t storage, int64_t at, int64_t step, int64_t size,
                          int64_t count, real factor) {
    for (int64_t first = 0; first < TILE; first += LANES) {
        int64_t rows[LANES];
        for (int i = 0; i < LANES; i++) {
            rows[i] = at + smaller(first + i, count - 1) * step;
            if (first + LANES + i < count) ask_for(table, storage, rows[i] + LANES * step, size);
        }
        for (int64_t channel = 0; channel < size; channel += LANES) {
            lanes x[LANES];
            for (int i = 0; i < LANES; i++) x[i] = load_stored(table, storage, rows[i] + channel, size - channel) * factor;
            transpose(x);
            for (int i = 0; i < LANES; i++) store(tile + (channel + i) * TILE + first, x[i]);
        }
    }
}

/* The first `count` lanes times factor[lane] back to their rows. */
NOT_INLINED void from_lanes(void *table, int64_t storage, int64_t at, int64_t step, int64_t size, int64_t count,
                            const real *restrict tile, const real *restrict factor) {
    for (int64_t first = 0; first < count; first += LANES)
        for (int64_t channel = 0; channel < size; channel += LANES) {
            lanes x[LANES];
            for (int i = 0; i < LANES; i++) x[i] = load(tile + (channel + i) * TILE + first) * load(factor + first);
            transpose(x);
            for (int64_t i = 0; i < smaller(LANES, count - first); i++)
                store_stored(table, storage, at + (first + i) * step + channel, x[i], size - channel);
        }
}

/* to[lane - r] += numbers[r, lane], of the first `num_lanes` lanes. */
NOT_INLINED void add_by_distance(real *restrict to, const real *restrict numbers, int64_t num_lanes, int64_t count) {
    for (int64_t r = 0; r < count; r++)
        for (int64_t lane = 0; lane < num_lanes; lane++) to[lane - r] += numbers[r * TILE + lane];
}

#endif
