/* What `indices.c` looks through and `sorting.c` sorts. */

#ifndef GRAPHATTN_INDICES_H
#define GRAPHATTN_INDICES_H

#include <stdint.h>

#include "exported.h"

/* Edges as pairs (row, column), in any order, and the rows that they make. */
typedef struct {
    int64_t num_edges, num_rows, num_cols;
    int64_t is_64;             /* whether row and col are int64, else int32 */
    const void *row, *col;     /* [num_edges] */
    const int32_t *row_starts; /* [num_rows + 1] instead of `row`, where rows are sorted already */
    const int32_t *place;      /* [num_edges] the place that is kept of each pair; NULL: where it stands */
    int32_t *starts;           /* results: [num_rows + 1] where each row starts; of rows that are turned [num_cols + 1] */
    int32_t *sorted;           /* [num_edges] column of each entry; of rows that are turned the row */
    int32_t *places;           /* [num_edges] place of each entry */
    int32_t *scratch;          /* [2 * num_edges + num_cols + 1 + max(num_rows, num_cols) + 1]; to turn rows [num_cols + 1] */
    int64_t *found;            /* [pieces] whether there is in the piece what was looked for */
} Pairs;

/* Two indices of which it is asked whether they hold the same. */
typedef struct {
    int64_t count;
    int64_t is_64;        /* whether `stored` holds int64, else int32 */
    const int64_t *shown; /* [count] */
    const void *stored;   /* [count] */
    int64_t *found;       /* [pieces] whether some number differs */
} Comparison;

/* What a piece of a copy can be. */
enum { IS_SORTED, FALLS, IS_OUTSIDE };

/* An index [2, num_edges] that anybody may write at any time, columns before rows, and its copy. */
typedef struct {
    int64_t num_edges, num_rows, num_cols;
    int64_t is_64, copy_is_64; /* whether they hold int64, else int32 */
    const void *index;         /* [2 * num_edges] */
    void *copy;                /* result: [2 * num_edges] */
    int64_t *found;            /* [pieces] IS_SORTED: by (row, column); IS_OUTSIDE: a number is out of range, and the copy useless */
} Copying;

/* Number i of an index. */
INLINE int64_t index_at(const void *index, int64_t i, int is_64) {
    return is_64 ? ((const int64_t *)index)[i] : ((const int32_t *)index)[i];
}

INLINE void put_index(void *index, int64_t i, int64_t number, int is_64) {
    if (is_64)
        ((int64_t *)index)[i] = number;
    else
        ((int32_t *)index)[i] = (int32_t)number;
}

#endif
