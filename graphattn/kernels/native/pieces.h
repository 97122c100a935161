/* Work that threads share: each takes the next piece until none is left.

   Who runs `take_pieces` in how many threads is not known here: GNU OpenMP, whose function Python finds in the library that
   torch has loaded, or threads of Python's. Where pieces begin depends on the work alone, never on the number of threads,
   so that sums over pieces come out the same, bit for bit. */

#ifndef GRAPHATTN_PIECES_H
#define GRAPHATTN_PIECES_H

#include <stdatomic.h>
#include <stdint.h>

/* Does items first ... last - 1 (rows, runs) of some work; `piece` counts, for what is added up piece by piece. */
typedef void (*Loop)(const void *work, int64_t first, int64_t last, int64_t piece);

typedef struct {
    Loop loop;
    const void *work;
    const int64_t *bounds; /* [pieces + 1]: items bounds[i] ... bounds[i + 1] - 1 are piece i */
    int64_t pieces;
    _Atomic int64_t next; /* the next piece that no thread has taken yet */
} Job;

#endif
