#include "fields.h"
#include "indices.h"
#include "pieces.h"

const Field job_fields[] = {FIELD(Job, loop), FIELD(Job, work), FIELD(Job, bounds), FIELD(Job, pieces), FIELD(Job, next), {0}};

const Field pairs_fields[] = {
    FIELD(Pairs, num_edges), FIELD(Pairs, num_rows), FIELD(Pairs, num_cols), FIELD(Pairs, is_64), FIELD(Pairs, row),
    FIELD(Pairs, col), FIELD(Pairs, row_starts), FIELD(Pairs, place), FIELD(Pairs, starts), FIELD(Pairs, sorted),
    FIELD(Pairs, places), FIELD(Pairs, scratch), FIELD(Pairs, found), {0}};

const Field comparison_fields[] = {FIELD(Comparison, count), FIELD(Comparison, is_64), FIELD(Comparison, shown),
                                   FIELD(Comparison, stored), FIELD(Comparison, found), {0}};
