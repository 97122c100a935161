/* Linear maps of one table: y = x weightᵀ + bias, and the gradients. */

#ifndef GRAPHATTN_LINEAR_H
#define GRAPHATTN_LINEAR_H

#include <stdint.h>

typedef struct {
    int64_t maps; /* how many structs lie side by side from this one on, each with a map of the same x */
    int64_t rows, inputs, outputs; /* rows and outputs: eight at least */
    const void *x, *weight, *bias; /* [rows, inputs], [outputs, inputs], [outputs] or NULL */
    void *y;                       /* [rows, outputs] */
    const void *grad_y;            /* [rows, outputs] */
    void *grad_x;                  /* [rows, inputs], the same in all maps, whose gradients add up there */
    void *grad_weight, *grad_bias; /* [outputs, inputs], [outputs] or NULL */
} Linear;

#endif
