/* Attention over bands: queries in the lanes, under a running maximum as in Dao et al. 2022 (FlashAttention). */

#include "bands.h"

const int64_t EXPORTED(band_sizes)[] = {RUN, MARGIN};

static const real LOWEST = -1e38f; /* a score before the first; unlike -inf it can be subtracted from itself */

/* Scores become weights; `shrink` is by how much a larger maximum lessens all weights before. */
static void weights_of_block(real *restrict scores, Block block, real *restrict top, real *restrict total, real *restrict shrink) {
    for (int64_t lane = block.first_lane; lane < block.first_lane + block.vectors * WIDE; lane += WIDE) {
        const wide before = load_wide(top + lane);
        wide most = before;
        for (int64_t i = lane; i < block.count * TILE; i += TILE) most = larger_wide(load_wide(scores + i), most);
        const wide less = exponentials_below(before - most);
        wide sums = less * load_wide(total + lane);
        for (int64_t i = lane; i < block.count * TILE; i += TILE) {
            const wide weight = exponentials_below(load_wide(scores + i) - most);
            sums += weight;
            store_wide(scores + i, weight);
        }
        store_wide(top + lane, most);
        store_wide(total + lane, sums);
        store_wide(shrink + lane, less);
    }
}

/* Fills out and lse for the items (runs times heads) first ... last - 1. */
void EXPORTED(bands_forward)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Bands *b = work;
    const int64_t dim = b->dim, value_dim = b->value_dim, of_dim = room_for(dim), of_value = room_for(value_dim);
    Scratch scratch = scratch_of(8, TILES * (of_dim + of_value) + (CHUNK + ROWS) * (dim + value_dim) +
                                        (BLOCK + ROWS + 1) * TILE + 2 * RUN);
    real *queries = take(&scratch, TILES * of_dim), *sums = take(&scratch, TILES * of_value);
    real *keys = take(&scratch, (CHUNK + ROWS) * dim), *values = take(&scratch, (CHUNK + ROWS) * value_dim);
    real *scores = take(&scratch, (BLOCK + ROWS) * TILE), *shrink = take(&scratch, TILE);
    real *top = take(&scratch, RUN), *total = take(&scratch, RUN);
    wide sign = {0};
    const Table query_table = band_queries(b), key_table = band_keys(b), value_table = band_values(b);
    for (int64_t item = first; item < last; item++) {
        const Run run = run_of(b, item, b->heads);
        const int64_t kv_head = run.head / (b->heads / b->kv_heads);
        const real *added = (const real *)b->added + start_of_added(b, run.head);
        put_in_lanes(queries, &query_table, &run, b->step, b->scale);
        fill(sums, tiles_of(run.lanes) * of_value, 0);
        fill(top, RUN, LOWEST);
        fill(total, RUN, 0);
        for (int64_t chunk = run.first_row; chunk < run.last_row; chunk += CHUNK) {
            const int64_t end = smaller(run.last_row, chunk + CHUNK), node = run.row_node + chunk * b->step;
            sign += copy_chunk(keys, &key_table, node, b->step, kv_head, end - chunk, 1);
            sign += copy_chunk(values, &value_table, node, b->step, kv_head, end - chunk, 1);
            for (int64_t t = 0; t < tiles_of(run.lanes); t++) {
                const Tile tile = tile_of(&run, t, chunk, end, b->window);
                EACH_BLOCK(block, tile, b->window) {
                    const int64_t lane = block.first_lane, row = block.start - chunk;
                    const int is_added = b->heads_added || block.is_cut;
                    dot_rows(block.vectors, scores + lane, keys + row * dim, dim, block.count, queries + t * of_dim + lane,
                             is_added ? added + block.before : NULL);
                    weights_of_block(scores, block, top + t * TILE, total + t * TILE, shrink);
                    add_rows(block.vectors, sums + t * of_value + lane, values + row * value_dim, value_dim, block.count,
                             scores + lane, shrink + lane);
                }
            }
        }
        real *lse = (real *)b->lse + place_of(run.node, b->heads, run.head, 1);
        for (int64_t lane = 0; lane < run.lanes; lane++) {
            const real x = total[lane];
            lse[lane * b->step * b->heads] = x != 0 ? top[lane] + logf(x) : -INFINITY;
            total[lane] = x != 0 ? 1 / x : 0;
        }
        take_from_lanes(b->out, b->result_storage, sums, &run, b->step, b->heads, value_dim, total);
    }
    free(scratch.memory);
    for (int i = 0; i < WIDE; i++)
        if (sign[i] != 0) atomic_store_explicit(&((Bands *)work)->not_finite, 1, memory_order_relaxed);
}
