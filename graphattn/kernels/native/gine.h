/* Sums over the edges of each node (Hu et al. 2020, GINE): out_i = (1 + eps) x_i + sum over j -> i of relu(x_j + W e_ij + b). */

#ifndef GRAPHATTN_GINE_H
#define GRAPHATTN_GINE_H

#include <stdint.h>

typedef struct {
    int64_t nodes, edges, channels, edge_dim, pieces;
    int64_t index_is_64;       /* whether col, edge_id and place are int64, else int32 */
    const int64_t *rowptr;     /* [nodes + 1] by target; in the backward pass by source */
    const void *col;           /* [edges] the other end of each entry */
    const void *edge_id;       /* [edges] place among the features of each entry by target; NULL: it is the same */
    const void *place;         /* [edges] entry by target of each entry by source */
    const void *x;             /* [nodes, channels] */
    const void *edge_features; /* [edges, edge_dim]; [edges, channels] without a weight */
    const void *weight, *bias; /* [edge_dim, channels], or NULL: features are added as they are; [channels] or NULL */
    const void *eps;           /* [1]; NULL in a backward pass without grad_x */
    void *out;                 /* [nodes, channels] */
    uint8_t *signs;            /* [edges, eights(channels)] in the order of features: a bit for each number of a message, set unless
                                  relu cut it off; NULL: no backward pass follows */
    const void *grad_out;      /* [nodes, channels] */
    void *grad_x;              /* [nodes, channels] */
    void *grad_messages;       /* [edges, channels] in the order of features, before relu; or NULL */
    void *grad_eps;            /* [pieces] or NULL, to be added up */
} Gine;

#endif
