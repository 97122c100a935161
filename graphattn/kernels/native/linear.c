/* Products of tables with matrices, in the tiles of band_tiles.h: what torch's own products take twice the time for where its
   library uses half of the processor's vectors.

   Each number is one sum in one order, however the work is cut into pieces. */

#include "linear.h"

#include "band_tiles.h"
#include "scratch.h"

enum {
    CHUNK = 128,  /* rows: as many as, of a tile of x and of one block, the first cache holds */
    LONGEST = 512 /* numbers of one sum: of longer ones parts are added up, which loses fewer digits */
};

/* A block is ROWS rows of a result. Where there are fewer left, it begins earlier, and those that another has are left as they are. */
typedef struct {
    int64_t first, others;
} Block;

INLINE Block block_of(int64_t number, int64_t rows) {
    const int64_t first = smaller(number * ROWS, rows - ROWS);
    return (Block){first, number * ROWS - first};
}

INLINE int64_t blocks_of(int64_t rows) { return (rows + ROWS - 1) / ROWS; }

INLINE wide load_some(const real *x, int64_t count) {
    wide y = {0};
    for (int64_t i = 0; i < smaller(count, WIDE); i++) y[i] = x[i];
    return y;
}

INLINE void store_some(real *x, wide y, int64_t count) {
    for (int64_t i = 0; i < smaller(count, WIDE); i++) x[i] = y[i];
}

/* What becomes of the last sums: relu's, and none where relu passed nothing, unless `passed` is NULL. */
typedef struct {
    int relu;
    const real *passed;
} Last;

INLINE wide finished(wide y, Last last, wide passed) {
    if (last.relu) y = larger_wide((wide){0}, y); /* NaN stays NaN */
    return last.passed ? (wide)(~(passed <= 0) & (wide_mask)y) : y;
}

/* Sums to the first `width` columns of the rows of a block, with what stands there if it `adds`, and the bias unless that is NULL. */
INLINE void put_block(real *restrict to, int64_t step, int64_t others, Sums sums, int64_t width, int adds, const real *bias,
                      Last last) {
    EACH(v, VECTORS) {
        const int64_t left = width - v * WIDE;
        if (left >= WIDE) {
            const wide offset = bias ? load_wide(bias + v * WIDE) : (wide){0};
            EACH(r, ROWS) if (r >= others) {
                const int64_t at = r * step + v * WIDE;
                const wide y = sums[r][v] + (adds ? load_wide(to + at) : offset);
                store_wide(to + at, finished(y, last, last.passed ? load_wide(last.passed + at) : y));
            }
        } else if (left > 0) {
            const wide offset = bias ? load_some(bias + v * WIDE, left) : (wide){0};
            for (int r = others; r < ROWS; r++) {
                const int64_t at = r * step + v * WIDE;
                const wide y = sums[r][v] + (adds ? load_some(to + at, left) : offset);
                store_some(to + at, finished(y, last, last.passed ? load_some(last.passed + at, left) : y), left);
            }
        }
    }
}

/* The vectors of a tile that has so many columns; a narrow one is worth a loop of its own. */
#define WITH_COLUMNS(width, call) \
    if ((width) > WIDE) call(VECTORS); else call(1)

INLINE void blocks_of_vectors(const int vectors, real *to, int64_t to_row, const real *x, int64_t x_row, int64_t size, int64_t rows,
                              const real *tile, int64_t width, int64_t first, int64_t last, int adds, const real *bias, Last end) {
    for (int64_t number = first; number < last; number++) {
        const Block block = block_of(number, rows);
        for (int64_t start = 0; start < size; start += LONGEST) {
            Sums sums;
            const int64_t count = smaller(LONGEST, size - start);
            sum_products(sums, vectors, x + block.first * x_row + start, x_row, 1, tile + start * TILE, TILE, count);
            Last now = {0};
            if (start + count == size) now = (Last){end.relu, end.passed ? end.passed + block.first * to_row : NULL};
            put_block(to + block.first * to_row, to_row, block.others, sums, width, adds || start, start ? NULL : bias, now);
        }
    }
}

/* Blocks first ... last - 1 of `to` [rows, width]: their rows of x [rows, size] times a tile [size, TILE] of so many columns. */
NOT_INLINED void blocks_times_tile(real *to, int64_t to_row, const real *x, int64_t x_row, int64_t size, int64_t rows,
                                   const real *tile, int64_t width, int64_t first, int64_t last, int adds, const real *bias, Last end) {
#define CALL(n) blocks_of_vectors(n, to, to_row, x, x_row, size, rows, tile, width, first, last, adds, bias, end)
    WITH_COLUMNS(width, CALL);
#undef CALL
}

/* y, for some blocks of its rows. */
void EXPORTED(linear_forward)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Linear *all = work;
    for (const Linear *map = all; map < all + all->maps; map++) {
        Scratch scratch = scratch_of(1, room_for(map->inputs));
        real *tile = take(&scratch, room_for(map->inputs)), *y = map->y;
        const real *bias = map->bias;
        for (int64_t column = 0; column < map->outputs; column += TILE) {
            const int64_t width = smaller(TILE, map->outputs - column);
            to_lanes(tile, map->weight, REALS, column * map->inputs, map->inputs, map->inputs, width, 1);
            blocks_times_tile(y + column, map->y_row, map->x, map->x_row, map->inputs, map->rows, tile, width, first, last, 0,
                              bias ? bias + column : NULL, (Last){map->relu, NULL});
        }
        free(scratch.memory);
    }
}

/* grad_x, for some blocks of its rows. */
void EXPORTED(linear_backward_input)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Linear *all = work;
    for (const Linear *map = all; map < all + all->maps; map++) {
        const real *passed = map + 1 < all + all->maps ? NULL : map->passed;
        Scratch scratch = scratch_of(1, room_for(map->outputs));
        real *tile = take(&scratch, room_for(map->outputs)), *grad_x = map->grad_x;
        for (int64_t column = 0; column < map->inputs; column += TILE) {
            const int64_t width = smaller(TILE, map->inputs - column);
            copy_rows(tile, TILE, map->weight, REALS, column, map->inputs, width, map->outputs, 1);
            blocks_times_tile(grad_x + column, map->x_row, map->grad_y, map->y_row, map->outputs, map->rows, tile, width, first,
                              last, map > all && map->grad_x == all->grad_x, NULL,
                              (Last){0, passed ? passed + column : NULL});
        }
        free(scratch.memory);
    }
}

/* grad_bias [first ... last - 1] += the sums of `count` rows. */
INLINE void add_up_rows(real *grad_bias, const real *grad_y, int64_t y_row, int64_t count, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i += LANES) {
        const int64_t left = last - i;
        lanes sum = {0};
        for (int64_t r = 0; r < count; r++) sum += load_part(grad_y + r * y_row + i, left);
        store_part(grad_bias + i, load_part(grad_bias + i, left) + sum, left);
    }
}

/* `count` rows of grad_y that has fewer columns than a block: behind zeros, where a block that begins before the first one reads. */
INLINE void widen_rows(real *wide_rows, const real *grad_y, int64_t y_row, int64_t outputs, int64_t count) {
    for (int64_t row = 0; row < count; row++)
        for (int64_t i = 0; i < ROWS; i++)
            wide_rows[row * ROWS + i] = i < ROWS - outputs ? 0 : grad_y[row * y_row + i - (ROWS - outputs)];
}

/* Blocks first ... last - 1 of the rows of grad_weight, in the columns of one tile; and with the first tile, of grad_bias. */
static void add_tile_of_weights(const Linear *map, real *tile, real *wide_rows, int64_t column, int64_t first, int64_t last) {
    const int64_t inputs = map->inputs, outputs = map->outputs, width = smaller(TILE, inputs - column);
    real *grad_weight = map->grad_weight, *grad_bias = column ? NULL : map->grad_bias;
    const int64_t from = first * ROWS, to = smaller(last * ROWS, outputs);
    if (grad_bias) memset(grad_bias + from, 0, (to - from) * sizeof(real));
    for (int64_t row = 0; row < map->rows; row += CHUNK) {
        const int64_t count = smaller(CHUNK, map->rows - row);
        const real *grad_y = (const real *)map->grad_y + row * map->y_row;
        copy_rows(tile, TILE, map->x, REALS, row * map->x_row + column, map->x_row, width, count, 1);
        for (int64_t number = first; number < last; number++) {
            const Block block = block_of(number, outputs);
            const int is_narrow = outputs < ROWS;
            if (is_narrow) widen_rows(wide_rows, grad_y, map->y_row, outputs, count);
            const real *columns = is_narrow ? wide_rows : grad_y + block.first;
            const int64_t step = is_narrow ? ROWS : map->y_row;
            Sums sums;
#define CALL(n) sum_products(sums, n, columns, 1, step, tile, TILE, count)
            WITH_COLUMNS(width, CALL);
#undef CALL
            put_block(grad_weight + block.first * inputs + column, inputs, block.others, sums, width, row > 0, NULL, (Last){0});
        }
        if (grad_bias) add_up_rows(grad_bias, grad_y, map->y_row, count, from, to);
    }
}

/* grad_weight and grad_bias. The items are blocks of their rows, once for each tile of columns, map after map. */
void EXPORTED(linear_backward_weight)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Linear *all = work;
    Scratch scratch = scratch_of(2, CHUNK * (TILE + ROWS));
    real *tile = take(&scratch, CHUNK * TILE), *wide_rows = take(&scratch, CHUNK * ROWS);
    int64_t start = 0; /* of the items of a map's tile */
    for (const Linear *map = all; map < all + all->maps; map++)
        for (int64_t column = 0; column < map->inputs; column += TILE) {
            const int64_t blocks = blocks_of(map->outputs), from = larger(first - start, 0), to = smaller(last - start, blocks);
            if (from < to) add_tile_of_weights(map, tile, wide_rows, column, from, to);
            start += blocks;
        }
    free(scratch.memory);
}

/* Of linear maps: rows of a block, columns of a tile. */
const int64_t EXPORTED(linear_sizes)[] = {ROWS, TILE};
