/* What test_lanes.py asks of lanes.h, tables.h and dropout.h: each function on arrays. */

#include "dropout.h"
#include "tables.h"

void exp_all(real *x, int64_t count) {
    for (int64_t i = 0; i < count; i += LANES) store(x + i, exponentials(load(x + i)));
}

void log_all(real *x, int64_t count) {
    for (int64_t i = 0; i < count; i += LANES) store(x + i, logarithms(load(x + i)));
}

void tanh_all(real *x, int64_t count) {
    for (int64_t i = 0; i < count; i += LANES) store(x + i, tanhs(load(x + i)));
}

int64_t num_lanes(void) { return LANES; }

/* to: sums of eight rows of eight numbers, their transpose, the total and the largest of the first. */
void reduce(const real *x, real *to) {
    lanes rows[LANES];
    EACH_LANE(i) rows[i] = load(x + i * LANES);
    *to++ = total_of(rows[0]), *to++ = largest_of(rows[0]);
    store(to, sums_of(rows));
    transpose(rows);
    EACH_LANE(i) store(to + LANES + i * LANES, rows[i]);
}

void larger_and_smaller(const real *x, const real *y, real *to) {
    for (int i = 0; i < 8; i += LANES) {
        store(to + i, larger_of(load(x + i), load(y + i)));
        store(to + 8 + i, smaller_of(load(x + i), load(y + i)));
    }
}

/* The bits of where x is below 0, and what comes of them: -1 there, 0 elsewhere. */
int64_t bits_below(const real *x, whole *to) {
    const uint8_t bits = bits_of(load(x) < 0);
    const mask back = mask_of(bits);
    memcpy(to, &back, sizeof(back));
    return bits;
}

void copy(const real *x, real *to, int64_t count) { EACH_EIGHT(c, n, count, store_part(to + c, load_part(x + c, n), n)); }

/* dots with eight rows, and what is added to y: the first n rows times them. */
void sums_of_rows(
    const real *a, const real *table, int64_t width, const int64_t *nodes, int64_t at, int64_t size, real *to, real *y, int64_t n
) {
    Rows rows;
    const Table whole = {table, REALS, width, width};
    rows_at(rows, &whole, nodes);
    store(to, dots(a, rows, at, size));
    add_rows(y, to, 1, rows, n, at, size);
}

/* dots_by_pair, and what add_heads adds to y with them as factors. */
void sums_by_pair(
    const real *near, const real *table, int64_t width, const int64_t *nodes, int64_t n, int64_t heads, int64_t group, int64_t size,
    real *to, real *y
) {
    Rows rows;
    const Table whole = {table, REALS, width, width};
    rows_at(rows, &whole, nodes);
    dots_by_pair(to, near, (const real *const *)rows, n, heads, group, size, 0.5);
    add_heads(y, to, heads, (const real *const *)rows, n, heads, group, size);
}

#ifndef REAL_IS_DOUBLE
/* Halves as reals, and back: on AVX by the processor's own instructions, elsewhere by arithmetic. */
void widen_all(real *to, const void *x, int64_t count, int64_t storage) { widen(to, x, count, storage); }
void narrow_all(void *to, const real *x, int64_t count, int64_t storage) { narrow(to, x, count, storage); }
#endif

void factors_of(const Edges *edges, real *factors, int64_t query, const int64_t *nodes, int64_t at, int64_t n) {
    keep_factors(edges, factors, query, nodes, at, n);
}
