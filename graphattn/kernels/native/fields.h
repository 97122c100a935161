/* What a struct looks like from outside: Python declares it once more, and a test compares the two field by field. */

#ifndef GRAPHATTN_FIELDS_H
#define GRAPHATTN_FIELDS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name; /* NULL behind the last field */
    int64_t offset, size;
} Field;

#define FIELD(type, name) {#name, offsetof(type, name), sizeof(((type *)0)->name)}

#endif
