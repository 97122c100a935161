/* Memory of one piece of the work, cut into parts that start at cache lines. */

#ifndef GRAPHATTN_SCRATCH_H
#define GRAPHATTN_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>

#include "lanes.h"

typedef struct {
    void *memory; /* to be freed */
    real *next;
} Scratch;

/* For so many parts, which have so many numbers together. */
INLINE Scratch scratch_of(int parts, int64_t numbers) {
    Scratch scratch = {malloc(numbers * sizeof(real) + (parts + 1) * 64), NULL};
    if (!scratch.memory) {
        fprintf(stderr, "graphattn: no memory for %lld numbers\n", (long long)numbers);
        abort();
    }
    scratch.next = (real *)(((uintptr_t)scratch.memory + 63) / 64 * 64);
    return scratch;
}

/* The same with 0 everywhere. */
INLINE Scratch zeros_of(int parts, int64_t numbers) {
    const Scratch scratch = scratch_of(parts, numbers);
    memset(scratch.memory, 0, numbers * sizeof(real) + (parts + 1) * 64);
    return scratch;
}

INLINE real *take(Scratch *scratch, int64_t numbers) {
    const int64_t line = 64 / sizeof(real);
    real *part = scratch->next;
    scratch->next += (numbers + line - 1) / line * line;
    return part;
}

#endif
