/* Linear maps of tables: y = x weightᵀ + bias, and the gradients. */

#ifndef GRAPHATTN_LINEAR_H
#define GRAPHATTN_LINEAR_H

#include <stdint.h>

typedef struct {
    int64_t maps; /* how many structs lie side by side from this one on, each with a map of as many rows */
    int64_t rows, inputs, outputs; /* rows and outputs: eight at least */
    int64_t x_row, y_row; /* numbers from one row to the next of x and its gradient, and of y and its, which may be columns of more */
    int64_t relu;         /* whether y is max(0, x weightᵀ + bias) */
    const void *x, *weight, *bias; /* [rows, inputs], [outputs, inputs], [outputs] or NULL */
    void *y;                       /* [rows, outputs] */
    const void *grad_y;            /* [rows, outputs] */
    void *grad_x;                  /* [rows, inputs]; maps that have the same one add up their gradients there */
    const void *passed;            /* [rows, inputs] like grad_x, or NULL, the same in all maps: results of relu; where they are 0,
                                      so is grad_x */
    void *grad_weight, *grad_bias; /* [outputs, inputs], [outputs] or NULL */
} Linear;

#endif
