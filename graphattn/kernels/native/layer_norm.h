/* Layer norm over all numbers of an example (Ba et al. 2016): y = (x - mean) / sqrt(variance + eps) * weight + bias, where x may be
   a sum of two tables, and a third one is added to y. */

#ifndef GRAPHATTN_LAYER_NORM_H
#define GRAPHATTN_LAYER_NORM_H

#include <stdint.h>

typedef struct {
    int64_t rows, channels, examples, pieces;
    double eps;
    const int64_t *starts;     /* [examples + 1] first row of each example, and behind the last */
    const void *x;             /* [rows, channels] */
    const void *other, *added; /* [rows, channels] or NULL: added to x, and to y */
    void *sum;                 /* [rows, channels] x + other, which the backward pass reads as x; NULL: it is not kept */
    const void *weight, *bias; /* [channels], or NULL */
    void *y;                   /* [rows, channels] */
    void *mean, *scale;        /* [examples] mean and 1 / sqrt(variance + eps), which the backward pass reads */
    const void *grad_y;        /* [rows, channels] */
    void *grad_x;              /* [rows, channels] */
    void *grad_weight, *grad_bias; /* [pieces, channels] or NULL, to be added up */
} LayerNorm;

#endif
