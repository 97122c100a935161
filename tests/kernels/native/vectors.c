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

/* to: sums of eight rows of eight numbers, their transpose, the total and the largest of the first. */
void reduce(const real *x, real *to) {
    lanes rows[LANES];
    EACH_LANE(i) rows[i] = load(x + i * LANES);
    to[72] = total_of(rows[0]), to[73] = largest_of(rows[0]);
    store(to, sums_of(rows));
    transpose(rows);
    EACH_LANE(i) store(to + LANES + i * LANES, rows[i]);
}

void larger_and_smaller(const real *x, const real *y, real *to) {
    store(to, larger_of(load(x), load(y)));
    store(to + LANES, smaller_of(load(x), load(y)));
}

void copy(const real *x, real *to, int64_t count) { EACH_EIGHT(c, n, count, store_part(to + c, load_part(x + c, n), n)); }

/* dots with eight rows, and what is added to y. */
void sums_of_rows(const real *a, const real *table, int64_t width, const int64_t *nodes, int64_t at, int64_t size, real *to, real *y) {
    Rows rows;
    lanes factors[LANES];
    rows_at(rows, table, width, nodes);
    store(to, dots(a, rows, at, size));
    spread_each(factors, to);
    add_rows(y, factors, rows, at, size);
}

void factors_of(const Edges *edges, real *factors, int64_t query, const int64_t *nodes, int64_t at, int64_t n) {
    keep_factors(edges, factors, query, nodes, at, n);
}
