/* The functions of band_tiles.h as a library for test_band_tiles.py. */

#define REAL float
#include "band_tiles.h"

const int64_t sizes[] = {WIDE, VECTORS, ROWS};
int64_t room(int64_t channels) { return room_for(channels); }

void dot(int vectors, real *to, const real *rows, int64_t size, int64_t count, const real *tile, const real *added) {
    dot_rows(vectors, to, rows, size, count, tile, added);
}

void add(int vectors, real *tile, const real *rows, int64_t size, int64_t count, const real *weights, const real *shrink) {
    add_rows(vectors, tile, rows, size, count, weights, shrink);
}

void add_of_lanes(real *to, int64_t size, int64_t count, const real *weights, const real *rows_of_lanes, int64_t num_lanes) {
    add_lanes(to, size, count, weights, rows_of_lanes, num_lanes);
}

void copy(real *to, int64_t to_step, const real *table, int64_t step, int64_t size, int64_t count, real factor, real *sign) {
    store_wide(sign, copy_rows(to, to_step, table, REALS, 0, step, size, count, factor));
}

void put(real *tile, const real *table, int64_t step, int64_t size, int64_t count, real factor) {
    to_lanes(tile, table, REALS, 0, step, size, count, factor);
}

void take(real *table, int64_t step, int64_t size, int64_t count, const real *tile, const real *factor) {
    from_lanes(table, REALS, 0, step, size, count, tile, factor);
}

void by_distance(real *to, const real *numbers, int64_t num_lanes, int64_t count) { add_by_distance(to, numbers, num_lanes, count); }

void exponentials_of(real *x, int64_t count) {
    for (int64_t i = 0; i < count; i += WIDE) store_wide(x + i, exponentials_below(load_wide(x + i)));
}
