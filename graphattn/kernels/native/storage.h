/* Numbers as tensors hold them: reals, or halves (two bytes), which become reals row by row and are rounded once, to the nearest
   and if there are two to the even one, when they are written. Loops compute with reals alone. */

#ifndef GRAPHATTN_STORAGE_H
#define GRAPHATTN_STORAGE_H

#include "lanes.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

enum Storage { REALS, BFLOAT16, FLOAT16 };

INLINE int is_half(int64_t storage) {
#ifdef REAL_IS_DOUBLE
    (void)storage;
    return 0; /* double reads no halves: then the compiler has nothing to do for them */
#else
    return storage != REALS;
#endif
}

INLINE int64_t bytes_of_row(int64_t storage, int64_t width) { return width * (is_half(storage) ? 2 : (int64_t)sizeof(real)); }

/* Number `at` of a table. */
INLINE char *place_in(const void *table, int64_t storage, int64_t at) { return (char *)table + bytes_of_row(storage, at); }

#ifndef REAL_IS_DOUBLE
typedef uint32_t bits32 __attribute__((vector_size(LANES * 4)));
typedef uint16_t halves __attribute__((vector_size(LANES * 2)));
typedef uint16_t halves_anywhere __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

INLINE bits32 choose(mask which, bits32 yes, bits32 no) { return (bits32)where(which, (lanes)yes, (lanes)no); }

INLINE lanes widened(halves x, int64_t storage) {
    if (storage == BFLOAT16) return (lanes)(__builtin_convertvector(x, bits32) << 16);
#if defined(__F16C__)
    return (lanes)_mm256_cvtph_ps((__m128i)x);
#else /* of a normal number the exponent is moved; a subnormal one stands behind the point of 1 / 2, which is then taken away */
    const bits32 w = __builtin_convertvector(x, bits32) << 16, twice = w + w;
    const lanes normal = (lanes)((twice >> 4) + (0xe0u << 23)) * 0x1p-112f, subnormal = (lanes)((twice >> 17) | (126u << 23)) - 0.5f;
    return (lanes)((w & 0x80000000u) | choose((mask)(twice < (1u << 27)), (bits32)subnormal, (bits32)normal));
#endif
}

INLINE halves narrowed(lanes x, int64_t storage) {
    const bits32 w = (bits32)x;
    if (storage == BFLOAT16) {
        const bits32 rounded = (w + 0x7fff + ((w >> 16) & 1)) >> 16;
        return __builtin_convertvector(choose(x == x, rounded, (bits32){0} + 0x7fc0), halves);
    }
#if defined(__F16C__)
    return (halves)_mm256_cvtps_ph((__m256)x, 0);
#else /* an addition of the power of two whose last bit is that of the result rounds; what is too large becomes infinite before */
    const bits32 twice = w + w;
    bits32 bias = twice & 0xff000000u;
    bias = choose((mask)(bias < 0x71000000u), (bits32){0} + 0x71000000u, bias);
    const lanes size = (lanes)(w & 0x7fffffffu) * 0x1p+112f * 0x1p-110f;
    const bits32 sum = (bits32)((lanes)((bias >> 1) + 0x07800000u) + size);
    const bits32 found = ((sum >> 13) & 0x7c00u) + (sum & 0xfffu);
    return __builtin_convertvector(((w & 0x80000000u) >> 16) | choose(x == x, found, (bits32){0} + 0x7e00), halves);
#endif
}

/* `count` halves from x on as reals, and back. */
INLINE void widen_as(real *to, const uint16_t *x, int64_t count, int64_t storage) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) store(to + i, widened(*(const halves_anywhere *)(x + i), storage));
    if (i == count) return;
    halves rest = {0};
    memcpy(&rest, x + i, (count - i) * 2);
    store_first(to + i, widened(rest, storage), count - i);
}

INLINE void narrow_as(uint16_t *to, const real *x, int64_t count, int64_t storage) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) *(halves_anywhere *)(to + i) = narrowed(load(x + i), storage);
    if (i == count) return;
    const halves rest = narrowed(load_first(x + i, count - i), storage);
    memcpy(to + i, &rest, (count - i) * 2);
}

OUT_OF_LINE void widen(real *to, const void *x, int64_t count, int64_t storage) {
    if (storage == BFLOAT16) widen_as(to, x, count, BFLOAT16);
    else widen_as(to, x, count, FLOAT16);
}

OUT_OF_LINE void narrow(void *to, const real *x, int64_t count, int64_t storage) {
    if (storage == BFLOAT16) narrow_as(to, x, count, BFLOAT16);
    else narrow_as(to, x, count, FLOAT16);
}
#else
INLINE void widen(real *to, const void *x, int64_t count, int64_t storage) { (void)to, (void)x, (void)count, (void)storage; }
INLINE void narrow(void *to, const real *x, int64_t count, int64_t storage) { (void)to, (void)x, (void)count, (void)storage; }
#endif

/* `count` numbers of a table from `at` on: where they lie, or widened in `room`. */
INLINE const real *numbers_at(const void *table, int64_t storage, int64_t at, int64_t count, real *room) {
    const char *place = place_in(table, storage, at);
    if (!is_half(storage)) return (const real *)place;
    widen(room, place, count, storage);
    return room;
}

/* Rows that are read: `width` numbers each, `row` numbers from one to the next. */
typedef struct {
    const void *start;
    int64_t storage, row, width;
} Table;

/* Row `at` of a table: where it lies, or widened in `room`. */
INLINE const real *row_at(const Table *table, int64_t at, real *room) {
    return numbers_at(table->start, table->storage, at * table->row, table->width, room);
}

/* Up to eight numbers of a table from `at` on, and back. */
INLINE lanes load_stored(const void *table, int64_t storage, int64_t at, int64_t count) {
    real room[LANES] = {0};
    const real *x = numbers_at(table, storage, at, smaller(count, LANES), room);
    return is_half(storage) ? load(x) : load_part(x, count);
}

INLINE void store_stored(void *table, int64_t storage, int64_t at, lanes x, int64_t count) {
    if (is_half(storage)) narrow(place_in(table, storage, at), (const real *)&x, smaller(count, LANES), storage);
    else store_part((real *)place_in(table, storage, at), x, count);
}

/* Where `count` numbers that belong at `at` are written: in the table, or in `room`, from which `put_back` brings them there. */
INLINE real *target_at(void *table, int64_t storage, int64_t at, real *room) {
    return is_half(storage) ? room : (real *)place_in(table, storage, at);
}

INLINE void put_back(void *table, int64_t storage, int64_t at, const real *x, int64_t count) {
    if (is_half(storage)) narrow(place_in(table, storage, at), x, count, storage);
}

#endif
