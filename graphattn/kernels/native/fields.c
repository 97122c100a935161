#include "fields.h"
#include "pieces.h"

const Field job_fields[] = {FIELD(Job, loop), FIELD(Job, work), FIELD(Job, bounds), FIELD(Job, pieces), FIELD(Job, next), {0}};
