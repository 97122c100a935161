/* Gradients of bands: scores are computed again, once with queries in the lanes and once with keys. Where runs do not stand in
   each other's way, those with keys give the gradients of queries, too, and the first are not needed. */

#include "bands.h"

/* At most 1 by rights; infinite where scores are so large that rounding makes it more than e^89. */
INLINE wide weights_of(wide scores, wide lse) { return exponentials_below(-larger_wide(spread_wide(-89), lse - scores)); }

/* The gradients of weights become those of scores; each lane has its lse and delta. */
static void gradients_by_lane(const real *restrict scores, real *restrict grads, Block block, const real *restrict lse,
                              const real *restrict delta) {
    for (int64_t lane = block.first_lane; lane < block.first_lane + block.vectors * WIDE; lane += WIDE) {
        const wide of_lanes = load_wide(lse + lane), less = load_wide(delta + lane);
        for (int64_t i = lane; i < block.count * TILE; i += TILE) {
            const wide weight = weights_of(load_wide(scores + i), of_lanes);
            store_wide(grads + i, weight * (load_wide(grads + i) - less));
        }
    }
}

/* The same where each row has its own; scores become weights, too. */
static void gradients_by_row(real *restrict scores, real *restrict grads, Block block, const real *restrict lse,
                             const real *restrict delta) {
    for (int64_t r = 0; r < block.count; r++)
        for (int64_t i = r * TILE + block.first_lane; i < r * TILE + block.first_lane + block.vectors * WIDE; i += WIDE) {
            const wide weight = weights_of(load_wide(scores + i), spread_wide(lse[r]));
            store_wide(scores + i, weight);
            store_wide(grads + i, weight * (load_wide(grads + i) - delta[r]));
        }
}

/* A query without edges, or a lane without a query, has weights of 0. */
INLINE real lse_or_infinity(real lse) { return lse == -INFINITY ? INFINITY : lse; }

/* What a piece of the work adds to the gradient of `added` for a head. */
INLINE real *slot_of(const Bands *b, int64_t piece, int64_t head) {
    return (real *)b->grad_added + piece * larger(1, b->heads_added) * (b->window + 1 + 2 * MARGIN) + start_of_added(b, head);
}

/* Queries in the lanes: fills the gradient of the query, and adds to that of `added`, if it has one. */
void EXPORTED(bands_backward_by_query)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Bands *b = work;
    const int64_t dim = b->dim, value_dim = b->value_dim, of_dim = room_for(dim), of_value = room_for(value_dim);
    Scratch scratch = scratch_of(10, TILES * (2 * of_dim + of_value) + (CHUNK + ROWS) * (dim + value_dim) +
                                         2 * (BLOCK + ROWS) * TILE + 3 * RUN);
    real *queries = take(&scratch, TILES * of_dim), *sums = take(&scratch, TILES * of_dim);
    real *grads_out = take(&scratch, TILES * of_value);
    real *keys = take(&scratch, (CHUNK + ROWS) * dim), *values = take(&scratch, (CHUNK + ROWS) * value_dim);
    real *scores = take(&scratch, (BLOCK + ROWS) * TILE), *grads = take(&scratch, (BLOCK + ROWS) * TILE);
    real *lse = take(&scratch, RUN), *delta = take(&scratch, RUN), *factors = take(&scratch, RUN);
    fill(factors, RUN, b->scale);
    const Table query_table = band_queries(b), key_table = band_keys(b), value_table = band_values(b), grad_table = band_grads_out(b);
    for (int64_t item = first; item < last; item++) {
        const Run run = run_of(b, item, b->heads);
        const int64_t kv_head = run.head / (b->heads / b->kv_heads);
        const real *added = (const real *)b->added + start_of_added(b, run.head);
        put_in_lanes(queries, &query_table, &run, b->step, b->scale);
        put_in_lanes(grads_out, &grad_table, &run, b->step, 1);
        fill(sums, tiles_of(run.lanes) * of_dim, 0);
        fill(lse, RUN, INFINITY);
        fill(delta, RUN, 0);
        for (int64_t lane = 0; lane < run.lanes; lane++) {
            const int64_t place = place_of(run.node + lane * b->step, b->heads, run.head, 1);
            lse[lane] = lse_or_infinity(((const real *)b->merged_lse)[place]);
            delta[lane] = ((const real *)b->delta)[place];
        }
        for (int64_t chunk = run.first_row; chunk < run.last_row; chunk += CHUNK) {
            const int64_t end = smaller(run.last_row, chunk + CHUNK), node = run.row_node + chunk * b->step;
            copy_chunk(keys, &key_table, node, b->step, kv_head, end - chunk, 1);
            copy_chunk(values, &value_table, node, b->step, kv_head, end - chunk, 1);
            for (int64_t t = 0; t < tiles_of(run.lanes); t++) {
                const Tile tile = tile_of(&run, t, chunk, end, b->window);
                EACH_BLOCK(block, tile, b->window) {
                    const int64_t lane = block.first_lane, row = block.start - chunk;
                    const int is_added = b->heads_added || block.is_cut;
                    dot_rows(block.vectors, scores + lane, keys + row * dim, dim, block.count, queries + t * of_dim + lane,
                             is_added ? added + block.before : NULL);
                    dot_rows(block.vectors, grads + lane, values + row * value_dim, value_dim, block.count,
                             grads_out + t * of_value + lane, NULL);
                    gradients_by_lane(scores, grads, block, lse + t * TILE, delta + t * TILE);
                    add_rows(block.vectors, sums + t * of_dim + lane, keys + row * dim, dim, block.count, grads + lane, NULL);
                    if (b->grad_added)
                        add_by_distance(slot_of(b, piece, run.head) + block.before, grads + lane,
                                        smaller(block.vectors * WIDE, tile.lanes - lane), block.count);
                }
            }
        }
        take_from_lanes(b->grad_query, b->grad_query_storage, sums, &run, b->step, b->heads, dim, factors);
    }
    free(scratch.memory);
}

/* Keys in the lanes, head by head of those that share them: fills the gradients of key and value. */
void EXPORTED(bands_backward_by_key)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Bands *b = work;
    const int64_t dim = b->dim, value_dim = b->value_dim, of_dim = room_for(dim), of_value = room_for(value_dim);
    const int64_t group = b->heads / b->kv_heads, padded = in_vectors(dim);
    const int64_t of_rows = b->grad_query ? (CHUNK + RUN) * padded : 0; /* only in turns: see banded_cpu.py */
    Scratch scratch = scratch_of(12, 2 * TILES * (of_dim + of_value) + (CHUNK + ROWS) * (dim + value_dim) +
                                         2 * (BLOCK + ROWS) * TILE + 2 * CHUNK + RUN + of_rows);
    real *keys = take(&scratch, TILES * of_dim), *key_sums = take(&scratch, TILES * of_dim);
    real *values = take(&scratch, TILES * of_value), *value_sums = take(&scratch, TILES * of_value);
    real *queries = take(&scratch, (CHUNK + ROWS) * dim), *grads_out = take(&scratch, (CHUNK + ROWS) * value_dim);
    real *scores = take(&scratch, (BLOCK + ROWS) * TILE), *grads = take(&scratch, (BLOCK + ROWS) * TILE);
    real *lse = take(&scratch, CHUNK), *delta = take(&scratch, CHUNK);
    real *ones = take(&scratch, RUN);
    real *query_sums = take(&scratch, of_rows); /* rows of `padded` numbers */
    real *rows_of_keys = query_sums + (of_rows ? CHUNK * padded : 0);
    fill(ones, RUN, 1);
    const Table query_table = band_queries(b), key_table = band_keys(b), value_table = band_values(b), grad_table = band_grads_out(b);
    for (int64_t item = first; item < last; item++) {
        const Run run = run_of(b, item, b->kv_heads);
        put_in_lanes(keys, &key_table, &run, b->step, 1);
        put_in_lanes(values, &value_table, &run, b->step, 1);
        fill(key_sums, tiles_of(run.lanes) * of_dim, 0);
        fill(value_sums, tiles_of(run.lanes) * of_value, 0);
        if (b->grad_query) {
            fill(rows_of_keys, run.lanes * padded, 0);
            copy_rows(rows_of_keys, padded, b->key, b->storage, run.node * b->key_row + run.head * dim, b->step * b->key_row, dim,
                      run.lanes, 1);
        }
        for (int64_t h = run.head * group; h < (run.head + 1) * group; h++) {
            const real *added = (const real *)b->added + start_of_added(b, h);
            for (int64_t chunk = run.first_row; chunk < run.last_row; chunk += CHUNK) {
                const int64_t end = smaller(run.last_row, chunk + CHUNK), node = run.row_node + chunk * b->step;
                copy_chunk(queries, &query_table, node, b->step, h, end - chunk, b->scale);
                copy_chunk(grads_out, &grad_table, node, b->step, h, end - chunk, 1);
                if (b->grad_query) fill(query_sums, (end - chunk) * padded, 0);
                for (int64_t r = 0; r < end - chunk; r++) {
                    const int64_t place = place_of(node + r * b->step, b->heads, h, 1);
                    lse[r] = lse_or_infinity(((const real *)b->merged_lse)[place]);
                    delta[r] = ((const real *)b->delta)[place];
                }
                for (int64_t t = 0; t < tiles_of(run.lanes); t++) {
                    const Tile tile = tile_of(&run, t, chunk, end, b->window);
                    EACH_BLOCK(block, tile, b->window) {
                        const int64_t lane = block.first_lane, row = block.start - chunk;
                        const int64_t lanes_seen = smaller(block.vectors * WIDE, tile.lanes - lane);
                        const int is_added = b->heads_added || block.is_cut;
                        dot_rows(block.vectors, scores + lane, queries + row * dim, dim, block.count, keys + t * of_dim + lane,
                                 is_added ? added + block.before : NULL);
                        dot_rows(block.vectors, grads + lane, grads_out + row * value_dim, value_dim, block.count,
                                 values + t * of_value + lane, NULL);
                        gradients_by_row(scores, grads, block, lse + row, delta + row);
                        add_rows(block.vectors, key_sums + t * of_dim + lane, queries + row * dim, dim, block.count, grads + lane,
                                 NULL);
                        add_rows(block.vectors, value_sums + t * of_value + lane, grads_out + row * value_dim, value_dim,
                                 block.count, scores + lane, NULL);
                        if (b->grad_query)
                            add_lanes(query_sums + row * padded, padded, block.count, grads + lane,
                                      rows_of_keys + (t * TILE + lane) * padded, lanes_seen);
                        if (b->grad_added)
                            add_by_distance(slot_of(b, piece, h) + block.before, grads + lane, lanes_seen,
                                            block.count);
                    }
                }
                if (b->grad_query)
                    for (int64_t r = 0; r < end - chunk; r++) {
                        real *to = (real *)b->grad_query + place_of(node + r * b->step, b->heads, h, dim);
                        for (int64_t i = 0; i < dim; i++) to[i] += query_sums[r * padded + i] * (real)b->scale;
                    }
            }
        }
        take_from_lanes(b->grad_key, b->grad_storage, key_sums, &run, b->step, b->kv_heads, dim, ones); /* the queries came times scale */
        take_from_lanes(b->grad_value, b->grad_storage, value_sums, &run, b->step, b->kv_heads, value_dim, ones);
    }
    free(scratch.memory);
}
