/* Dropout of a table without a stored mask: y = x times 0 or keep_scale, by the place of each number and the seed. */

#ifndef GRAPHATTN_DROP_H
#define GRAPHATTN_DROP_H

#include <stdint.h>

#define DROP_BLOCK 4096 /* numbers */

typedef struct {
    int64_t count, seed, threshold; /* a number is dropped if its word, below 2^32, is below the threshold */
    double keep_scale;
    const void *x; /* [count] */
    void *y;       /* [count] */
} Drop;

#endif
