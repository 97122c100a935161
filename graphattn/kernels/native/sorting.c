/* Pairs (row, column) are sorted by counting, stable, and sorted rows turned round.

   Whoever owns an index may write into it while it is sorted. So nothing is taken for granted that was seen in an earlier pass:
   sorting gives up where a number is out of range or a row has more entries than were counted.

   One version is for every processor: with AVX-512 compilers count in vectors, at half the speed. */

#include "indices.h"

#include <string.h>

typedef struct {
    int32_t row, place;
} Placed; /* side by side, for they are written in as many places at a time as there are columns */

/* Where each of `size` things starts, if what occurs in an index is laid in order, and at the end how many there are; `next` gets
   the same. 0 if a number is out of range. */
INLINE int count(const void *index, int64_t num, int64_t size, int32_t *starts, int32_t *next, int is_64) {
    memset(starts, 0, (size + 1) * sizeof(*starts));
    for (int64_t i = 0; i < num; i++) {
        const int64_t t = index_at(index, i, is_64);
        if ((uint64_t)t >= (uint64_t)size) return 0;
        starts[t + 1]++;
    }
    for (int64_t t = 0; t < size; t++) starts[t + 1] += starts[t];
    memcpy(next, starts, (size + 1) * sizeof(*starts));
    return 1;
}

/* The next free place of t, or -1 if t is out of range or there is none. If all that is counted finds one, all are taken. */
INLINE int64_t next_place(int64_t t, int64_t size, const int32_t *starts, int32_t *next) {
    return (uint64_t)t < (uint64_t)size && next[t] < starts[t + 1] ? next[t]++ : -1;
}

/* From pairs in their order by column, and from there by row. 0 if the index is out of range, or changed meanwhile. */
INLINE int sort(const Pairs *w, Placed *by_col, int32_t *col_starts, int32_t *next, int is_64) {
    if (!count(w->col, w->num_edges, w->num_cols, col_starts, next, is_64)) return 0;
    for (int64_t i = 0; i < w->num_edges; i++) {
        const int64_t to = next_place(index_at(w->col, i, is_64), w->num_cols, col_starts, next);
        if (to < 0) return 0;
        by_col[to] = (Placed){(int32_t)index_at(w->row, i, is_64), (int32_t)i};
    }
    if (!count(w->row, w->num_edges, w->num_rows, w->starts, next, is_64)) return 0;
    for (int64_t col = 0; col < w->num_cols; col++)
        for (int64_t i = col_starts[col]; i < col_starts[col + 1]; i++) {
            const int64_t to = next_place(by_col[i].row, w->num_rows, w->starts, next);
            if (to < 0) return 0;
            w->sorted[to] = (int32_t)col;
            w->places[to] = by_col[i].place;
        }
    return 1;
}

/* Entries of rows one after the other into their columns, where rows rise therefore. 0 as above, 2 if each stays where it is. */
INLINE int turn(const Pairs *w, int32_t *next, int is_64) {
    if (!count(w->col, w->num_edges, w->num_cols, w->starts, next, is_64)) return 0;
    int64_t i = 0, moves = 0;
    for (int64_t row = 0; row < w->num_rows; row++)
        for (; i < w->row_starts[row + 1] && i < w->num_edges; i++) {
            const int64_t to = next_place(index_at(w->col, i, is_64), w->num_cols, w->starts, next);
            if (to < 0) return 0;
            w->sorted[to] = (int32_t)row;
            w->places[to] = w->place ? w->place[i] : (int32_t)i;
            moves |= to ^ i;
        }
    return i != w->num_edges ? 0 : moves ? 1 : 2;
}

int sort_pairs(const Pairs *w) {
    int32_t *col_starts = w->scratch + 2 * w->num_edges, *next = col_starts + w->num_cols + 1;
    Placed *by_col = (Placed *)w->scratch;
    return w->is_64 ? sort(w, by_col, col_starts, next, 1) : sort(w, by_col, col_starts, next, 0);
}

int turn_rows(const Pairs *w) { return w->is_64 ? turn(w, w->scratch, 1) : turn(w, w->scratch, 0); }
