/* Bands: neighbouring nodes, every `step`-th, see neighbouring nodes, in whatever order they are given.

   They come in runs. A run has some nodes in its lanes, tile by tile, and the nodes that these see as rows: lane i sees those of
   the rows low + i ... low + i + window that there are. Runs are computed head by head. Rows come in chunks, copied side by side
   once for all tiles; a tile goes through them block by block. */

#ifndef GRAPHATTN_BANDS_H
#define GRAPHATTN_BANDS_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct {
    int64_t heads, kv_heads, dim, value_dim, num_queries, num_keys;
    int64_t num_runs, step, window; /* step: from node to node */
    int64_t heads_added;            /* of `added`; 0 where it only hides rows */
    int64_t slots;                  /* of grad_added */
    int64_t storage;                /* of query, key and value (an enum Storage); other numbers are reals, except: */
    int64_t result_storage;         /* of out and grad_out */
    int64_t grad_storage;           /* of grad_key and grad_value */
    int64_t grad_query_storage;     /* REALS with keys in the lanes, whose runs add to it */
    int64_t query_row, key_row, value_row; /* numbers from one node to the next, where these are columns of a wider table */
    _Atomic int64_t not_finite;     /* becomes 1 where a key or value near a query is not finite */
    double scale;
    const int64_t *runs; /* [num_runs, 5]: first node of the lanes, lanes, first node of the rows, rows, `low` */
    const void *added;   /* [heads_added or 1, MARGIN + window + 1 + MARGIN], to the
                            scores, in the order of lanes; -inf outside */
    const void *query, *key, *value; /* [nodes, heads or kv_heads, dim or value_dim] */
    void *out, *lse;                 /* [num_queries, heads, value_dim], [num_queries, heads] */
    const void *merged_lse, *delta, *grad_out;
    void *grad_query; /* with keys in the lanes, NULL or zeros to add to */
    void *grad_key, *grad_value;
    void *grad_added; /* NULL, or zeros [slots] of the size of `added`, one for each piece of the work */
} Bands;

#ifdef REAL

#include "band_tiles.h"
#include "scratch.h"

enum {
    TILES = 256 / TILE, /* of a run: with more, chunks are copied less often, until tiles and chunk do not fit the second cache */
    RUN = TILES * TILE, /* lanes */
    CHUNK = 256,        /* rows */
    BLOCK = 32,         /* rows */
    MARGIN = TILE + ROWS /* numbers before and after those of the steps in `added`, for rows out of reach */
};

typedef struct {
    int64_t node, lanes, row_node, rows, low; /* as in `runs` */
    int64_t first_row, last_row;              /* of those that some lane sees; the last is not one of them */
    int64_t head;
} Run;

INLINE Run run_of(const Bands *bands, int64_t item, int64_t heads) {
    const int64_t *of = bands->runs + item / heads * 5;
    Run run = {of[0], of[1], of[2], of[3], of[4], larger(0, of[4]), smaller(of[3], of[4] + of[1] + bands->window), item % heads};
    return run;
}

INLINE int64_t tiles_of(int64_t num_lanes) { return (num_lanes + TILE - 1) / TILE; }

/* Some rows for some lanes of a tile. */
typedef struct {
    int64_t start, count;
    int64_t first_lane; /* a multiple of WIDE; no lane before sees any of the rows */
    int vectors;        /* from there to the last lane that sees any */
    int is_cut;         /* whether some lanes of these vectors do not see some of these rows */
    int64_t before;     /* of row `start` and lane first_lane in `added` */
} Block;

/* A tile of a run and those of its rows that lie in one chunk. */
typedef struct {
    int64_t lanes, low;
    int64_t start, end; /* rows */
} Tile;

INLINE Tile tile_of(const Run *run, int64_t t, int64_t chunk, int64_t end_of_chunk, int64_t window) {
    Tile tile = {smaller(TILE, run->lanes - t * TILE), run->low + t * TILE, 0, 0};
    tile.start = larger(chunk, tile.low);
    tile.end = smaller(end_of_chunk, tile.low + tile.lanes + window);
    return tile;
}

/* The block from row `start` on; empty behind the last row. It ends where one vector of lanes more, or less, sees rows: the others
   need not be computed. */
INLINE Block block_at(const Tile *tile, int64_t start, int64_t window) {
    const int64_t end_of_window = tile->low + window + 1;
    int64_t stop = smaller(tile->end, start + BLOCK);
    for (int64_t lane = WIDE; lane < TILE; lane += WIDE) {
        const int64_t seen_by_more = tile->low + lane, seen_by_less = end_of_window + lane - 1;
        if (start < seen_by_more) stop = smaller(stop, seen_by_more);
        if (start < seen_by_less) stop = smaller(stop, start + (seen_by_less - start + ROWS - 1) / ROWS * ROWS);
    }
    const int64_t first = larger(0, start - tile->low - window) / WIDE * WIDE, last = smaller(tile->lanes, stop - tile->low);
    Block block = {start, larger(0, stop - start), first, (int)((last - first + WIDE - 1) / WIDE), 0, 0};
    block.is_cut = start < tile->low + smaller(tile->lanes, first + block.vectors * WIDE) - 1 || stop > end_of_window + first;
    block.before = MARGIN + window + tile->low - start + first;
    return block;
}

#define EACH_BLOCK(block, tile, window) \
    for (Block block = block_at(&tile, tile.start, window); block.count; block = block_at(&tile, block.start + block.count, window))

/* ---- between tables and tiles ---- */

INLINE void fill(real *x, int64_t count, real number) {
    for (int64_t i = 0; i < count; i++) x[i] = number;
}

/* Where the numbers of a node and head begin in a table [nodes, heads, size]. */
INLINE int64_t place_of(int64_t node, int64_t heads, int64_t head, int64_t size) { return (node * heads + head) * size; }

/* The rows of nodes that are read; a table is as wide as one head. */
INLINE Table band_queries(const Bands *b) { return (Table){b->query, b->storage, b->query_row, b->dim}; }
INLINE Table band_keys(const Bands *b) { return (Table){b->key, b->storage, b->key_row, b->dim}; }
INLINE Table band_values(const Bands *b) { return (Table){b->value, b->storage, b->value_row, b->value_dim}; }
INLINE Table band_grads_out(const Bands *b) { return (Table){b->grad_out, b->result_storage, b->heads * b->value_dim, b->value_dim}; }

/* `count` rows of a chunk from a node on, side by side, times a factor; what copy_rows gives. */
INLINE wide copy_chunk(real *rows, const Table *table, int64_t node, int64_t step, int64_t head, int64_t count, real factor) {
    const int64_t size = table->width, at = node * table->row + head * size;
    return copy_rows(rows, size, table->start, table->storage, at, step * table->row, size, count, factor);
}

/* Where the numbers of a head begin in `added`, and in a slot of its gradient. */
INLINE int64_t start_of_added(const Bands *b, int64_t head) { return (b->heads_added > 1 ? head : 0) * (b->window + 1 + 2 * MARGIN); }

/* The tiles of a run, times a factor. */
static inline void put_in_lanes(real *tiles, const Table *table, const Run *run, int64_t step, real factor) {
    const int64_t size = table->width;
    for (int64_t t = 0; t < tiles_of(run->lanes); t++) {
        const int64_t at = (run->node + t * TILE * step) * table->row + run->head * size;
        to_lanes(tiles + t * room_for(size), table->start, table->storage, at, step * table->row, size,
                 smaller(TILE, run->lanes - t * TILE), factor);
    }
}

/* The way back, each lane times its factor. */
static inline void take_from_lanes(void *table, int64_t storage, const real *tiles, const Run *run, int64_t step, int64_t heads,
                                   int64_t size, const real *factors) {
    for (int64_t t = 0; t < tiles_of(run->lanes); t++)
        from_lanes(table, storage, place_of(run->node + t * TILE * step, heads, run->head, size), step * heads * size, size,
                   smaller(TILE, run->lanes - t * TILE), tiles + t * room_for(size), factors + t * TILE);
}

#endif
#endif
