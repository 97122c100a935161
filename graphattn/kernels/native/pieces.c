#include "pieces.h"

/* Run by each thread. */
void take_pieces(Job *job) {
    for (;;) {
        const int64_t piece = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (piece >= job->pieces) return;
        job->loop(job->work, job->bounds[piece], job->bounds[piece + 1], piece);
    }
}
