#include "dots.h"

#include "lanes.h"
#include "tables.h"

/* Items are rows. */
void EXPORTED(dots_forward)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Dots *w = work;
    const real *source = w->source, *target = w->target;
    const int64_t dim = w->dim;
    (void)piece;
    for (int64_t row = first; row < last; row++)
        for (int64_t h = 0; h < w->heads; h++) {
            const int64_t node = row * w->heads + h;
            const real *x = (const real *)w->x + node * dim;
            lanes of_source = {0}, of_target = {0};
            EACH_PART(c, count, dim, {
                const lanes part = load_part(x + c, count);
                of_source += part * load_part(source + h * dim + c, count);
                of_target += part * load_part(target + h * dim + c, count);
            });
            ((real *)w->of_source)[node] = total_of(of_source);
            ((real *)w->of_target)[node] = total_of(of_target);
        }
}

void EXPORTED(dots_backward)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Dots *w = work;
    const int64_t dim = w->dim, width = w->heads * dim;
    real *grad_source = (real *)w->grad_source + piece * width, *grad_target = (real *)w->grad_target + piece * width;
    memset(grad_source, 0, width * sizeof(real));
    memset(grad_target, 0, width * sizeof(real));
    for (int64_t row = first; row < last; row++)
        for (int64_t h = 0; h < w->heads; h++) {
            const int64_t node = row * w->heads + h, at = h * dim;
            const real of_source = ((const real *)w->grad_of_source)[node], of_target = ((const real *)w->grad_of_target)[node];
            const real *x = (const real *)w->x + node * dim, *source = (const real *)w->source + at;
            const real *target = (const real *)w->target + at;
            real *grad_x = (real *)w->grad_x + node * dim;
            EACH_PART(c, count, dim, {
                const lanes part = load_part(x + c, count);
                const lanes of_x = of_source * load_part(source + c, count) + of_target * load_part(target + c, count);
                store_part(grad_x + c, load_part(grad_x + c, count) + of_x, count);
                store_part(grad_source + at + c, load_part(grad_source + at + c, count) + of_source * part, count);
                store_part(grad_target + at + c, load_part(grad_target + at + c, count) + of_target * part, count);
            });
        }
}

/* Leaves the sums over all pieces in the first of them. */
void EXPORTED(dots_add_pieces)(const void *work, int64_t first, int64_t last, int64_t piece) {
    const Dots *w = work;
    const int64_t width = w->heads * w->dim;
    real *grad_source = w->grad_source, *grad_target = w->grad_target;
    (void)piece;
    for (int64_t other = larger(first, 1); other < last; other++)
        EACH_PART(c, count, width, {
            store_part(grad_source + c, load_part(grad_source + c, count) + load_part(grad_source + other * width + c, count), count);
            store_part(grad_target + c, load_part(grad_target + c, count) + load_part(grad_target + other * width + c, count), count);
        });
}
