/* What the score of GAT needs of each node: its dot products with two vectors of a head. */

#ifndef GRAPHATTN_DOTS_H
#define GRAPHATTN_DOTS_H

#include <stdint.h>

typedef struct {
    int64_t rows, heads, dim, pieces;
    const void *x;                /* [rows, heads, dim] */
    const void *source, *target;  /* [heads, dim] */
    void *of_source, *of_target;  /* [rows, heads] */
    const void *grad_of_source, *grad_of_target;
    void *grad_x;                 /* [rows, heads, dim], to which the gradient is added */
    void *grad_source, *grad_target; /* [pieces, heads, dim]: each piece of the work adds up its own */
} Dots;

#endif
