#include "drop.h"

#include "dropout.h"
#include "tables.h"

/* Items are blocks. Number i is drawn as is the edge from node i % DROP_BLOCK to node i / DROP_BLOCK. */
void EXPORTED(drop)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Drop *w = work;
    const uint32_t threshold = (uint32_t)w->threshold;
    const lanes keep = spread((real)w->keep_scale);
    const words one_by_one = (words)NUMBERS;
    (void)piece;
    for (int64_t block = first; block < last; block++) {
        const real *x = (const real *)w->x + block * DROP_BLOCK;
        real *y = (real *)w->y + block * DROP_BLOCK;
        const words row = words_of_query((uint32_t)w->seed, (uint32_t)block);
        EACH_PART(c, count, smaller(DROP_BLOCK, w->count - block * DROP_BLOCK), {
            const words edge = words_of_edges(row, one_by_one + (uint32_t)c, (words){0});
            store_part(y + c, load_part(x + c, count) * factors_of_head(edge, 0, threshold, keep), count);
        });
    }
}
