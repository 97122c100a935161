#include "bands.h"
#include "fields.h"
#include "pieces.h"

const Field job_fields[] = {FIELD(Job, loop), FIELD(Job, work), FIELD(Job, bounds), FIELD(Job, pieces), FIELD(Job, next), {0}};

const Field bands_fields[] = {
    FIELD(Bands, heads), FIELD(Bands, kv_heads), FIELD(Bands, dim), FIELD(Bands, value_dim), FIELD(Bands, num_queries),
    FIELD(Bands, num_keys), FIELD(Bands, num_runs), FIELD(Bands, step), FIELD(Bands, window), FIELD(Bands, heads_added),
    FIELD(Bands, slots), FIELD(Bands, not_finite), FIELD(Bands, scale), FIELD(Bands, runs), FIELD(Bands, added), FIELD(Bands, query),
    FIELD(Bands, key), FIELD(Bands, value), FIELD(Bands, out), FIELD(Bands, lse), FIELD(Bands, merged_lse), FIELD(Bands, delta),
    FIELD(Bands, grad_out), FIELD(Bands, grad_query), FIELD(Bands, grad_key), FIELD(Bands, grad_value), FIELD(Bands, grad_added), {0}};
