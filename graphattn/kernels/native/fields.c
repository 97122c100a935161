#define REAL float /* an address is as long for any type */
#include "bands.h"
#include "dots.h"
#include "drop.h"
#include "edges.h"
#include "fields.h"
#include "gine.h"
#include "indices.h"
#include "layer_norm.h"
#include "linear.h"
#include "pieces.h"

const Field job_fields[] = {FIELD(Job, loop), FIELD(Job, work), FIELD(Job, bounds), FIELD(Job, pieces), FIELD(Job, next), {0}};

#define F(name) FIELD(Edges, name)
const Field edges_fields[] = {
    F(entries), F(heads), F(kv_heads), F(dim), F(value_dim), F(edge_dim), F(bias_heads), F(score), F(normalizer),
    F(index_is_64), F(storage), F(result_storage), F(grad_storage), F(feature_heads), F(adds_features), F(query_row), F(key_row), F(value_row),
    F(edge_query_row), F(grad_query_row), F(grad_key_row), F(grad_value_row), F(grad_edge_query_row), F(seed), F(threshold),
    F(first_query), F(first_key), F(first_head), F(ahead), F(scale), F(keep_scale), F(rowptr), F(row_of), F(col), F(edge_id), F(repeat),
    F(place), F(query), F(key), F(value), F(bias), F(edge_features), F(edge_query), F(vector), F(edge_weight), F(out), F(lse),
    F(edge_out), F(total), F(grad_out), F(grad_edge_out), F(grad_query), F(grad_key), F(grad_value), F(grad_bias), F(grad_edge_features),
    F(grad_edge_query), F(grad_vector), F(grad_edge_weight), F(handed), F(signs),
    F(query_numbers), F(key_numbers), {0}};
#undef F

const Field bands_fields[] = {
    FIELD(Bands, heads), FIELD(Bands, kv_heads), FIELD(Bands, dim), FIELD(Bands, value_dim), FIELD(Bands, num_queries),
    FIELD(Bands, num_keys), FIELD(Bands, num_runs), FIELD(Bands, step), FIELD(Bands, window), FIELD(Bands, heads_added),
    FIELD(Bands, slots), FIELD(Bands, storage),
    FIELD(Bands, result_storage), FIELD(Bands, grad_storage), FIELD(Bands, grad_query_storage),
    FIELD(Bands, query_row), FIELD(Bands, key_row), FIELD(Bands, value_row), FIELD(Bands, not_finite),
    FIELD(Bands, scale), FIELD(Bands, runs), FIELD(Bands, added), FIELD(Bands, query),
    FIELD(Bands, key), FIELD(Bands, value), FIELD(Bands, out), FIELD(Bands, lse), FIELD(Bands, merged_lse), FIELD(Bands, delta),
    FIELD(Bands, grad_out), FIELD(Bands, grad_query), FIELD(Bands, grad_key), FIELD(Bands, grad_value), FIELD(Bands, grad_added), {0}};

const Field pairs_fields[] = {
    FIELD(Pairs, num_edges), FIELD(Pairs, num_rows), FIELD(Pairs, num_cols), FIELD(Pairs, is_64), FIELD(Pairs, row),
    FIELD(Pairs, col), FIELD(Pairs, row_starts), FIELD(Pairs, place), FIELD(Pairs, starts), FIELD(Pairs, sorted),
    FIELD(Pairs, places), FIELD(Pairs, scratch), FIELD(Pairs, found), {0}};

const Field copying_fields[] = {
    FIELD(Copying, num_edges), FIELD(Copying, num_rows), FIELD(Copying, num_cols), FIELD(Copying, is_64), FIELD(Copying, copy_is_64),
    FIELD(Copying, index), FIELD(Copying, copy), FIELD(Copying, found), {0}};

const Field comparison_fields[] = {FIELD(Comparison, count), FIELD(Comparison, is_64), FIELD(Comparison, shown),
                                   FIELD(Comparison, stored), FIELD(Comparison, found), {0}};

const Field linear_fields[] = {
    FIELD(Linear, maps), FIELD(Linear, rows), FIELD(Linear, inputs), FIELD(Linear, outputs), FIELD(Linear, x_row),
    FIELD(Linear, y_row), FIELD(Linear, relu), FIELD(Linear, x), FIELD(Linear, weight), FIELD(Linear, bias), FIELD(Linear, y),
    FIELD(Linear, grad_y), FIELD(Linear, grad_x), FIELD(Linear, passed), FIELD(Linear, grad_weight), FIELD(Linear, grad_bias), {0}};

const Field dots_fields[] = {
    FIELD(Dots, rows), FIELD(Dots, heads), FIELD(Dots, dim), FIELD(Dots, pieces), FIELD(Dots, x), FIELD(Dots, source),
    FIELD(Dots, target), FIELD(Dots, of_source), FIELD(Dots, of_target), FIELD(Dots, grad_of_source), FIELD(Dots, grad_of_target),
    FIELD(Dots, grad_x), FIELD(Dots, grad_source), FIELD(Dots, grad_target), {0}};

const Field drop_fields[] = {FIELD(Drop, count), FIELD(Drop, seed), FIELD(Drop, threshold), FIELD(Drop, keep_scale),
                             FIELD(Drop, x), FIELD(Drop, y), {0}};

const Field layer_norm_fields[] = {
    FIELD(LayerNorm, rows), FIELD(LayerNorm, channels), FIELD(LayerNorm, examples), FIELD(LayerNorm, pieces), FIELD(LayerNorm, eps),
    FIELD(LayerNorm, starts), FIELD(LayerNorm, x), FIELD(LayerNorm, other), FIELD(LayerNorm, added), FIELD(LayerNorm, sum),
    FIELD(LayerNorm, weight), FIELD(LayerNorm, bias), FIELD(LayerNorm, y), FIELD(LayerNorm, mean), FIELD(LayerNorm, scale), FIELD(LayerNorm, grad_y), FIELD(LayerNorm, grad_x),
    FIELD(LayerNorm, grad_weight), FIELD(LayerNorm, grad_bias), {0}};

const Field gine_fields[] = {
    FIELD(Gine, nodes), FIELD(Gine, edges), FIELD(Gine, channels), FIELD(Gine, edge_dim), FIELD(Gine, pieces), FIELD(Gine, index_is_64),
    FIELD(Gine, rowptr), FIELD(Gine, col), FIELD(Gine, edge_id), FIELD(Gine, place), FIELD(Gine, x), FIELD(Gine, edge_features),
    FIELD(Gine, weight), FIELD(Gine, bias), FIELD(Gine, eps), FIELD(Gine, out), FIELD(Gine, signs), FIELD(Gine, grad_out),
    FIELD(Gine, grad_x), FIELD(Gine, grad_messages), FIELD(Gine, grad_eps), {0}};
