/* Vectors of eight numbers, of the type that a file is compiled for: REAL is float or double.

   Of four, where that is what a register holds; words and names say eight for both. What is longer than a register GCC takes
   apart number by number: additive scores were nine times slower so. */

#ifndef GRAPHATTN_LANES_H
#define GRAPHATTN_LANES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "exported.h"

typedef REAL real;

#if defined(__AVX512F__) || defined(__AVX__) != defined(REAL_IS_DOUBLE)
#define LANES 8
#else /* floats in 16 bytes, doubles in 32 */
#define LANES 4
#endif
#define EACH_LANE_LAID_OUT(i) _Pragma("GCC unroll 8") for (int i = 0; i < LANES; i++)
#ifdef IS_FAST
#define EACH_LANE(i) EACH_LANE_LAID_OUT(i)
#else /* eight times as much code */
#define EACH_LANE(i) _Pragma("GCC unroll 1") for (int i = 0; i < LANES; i++)
#endif

#ifdef REAL_IS_DOUBLE
typedef int64_t whole; /* an integer as wide as a real: masks, and the bits of a number */
#else
typedef int32_t whole;
#endif

typedef real lanes __attribute__((vector_size(LANES * sizeof(real))));
typedef whole mask __attribute__((vector_size(LANES * sizeof(real)))); /* -1 where true, 0 where false */
typedef real lanes_anywhere __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));

INLINE int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }
INLINE int64_t larger(int64_t x, int64_t y) { return x > y ? x : y; }
INLINE int64_t eights(int64_t count) { return (count + LANES - 1) / LANES; }

/* ---- moving ---- */

INLINE lanes load(const real *x) { return *(const lanes_anywhere *)x; }
INLINE void store(real *x, lanes y) { *(lanes_anywhere *)x = y; }
INLINE lanes spread(real x) { return x - (lanes){0}; }

/* The first `count` < 8 numbers at x, 0 behind them: what lies there is not read, and not written by `store_first`.

   AVX has instructions for that. */
#ifdef __AVX__
#ifdef REAL_IS_DOUBLE
typedef double part __attribute__((vector_size(32)));
typedef long long part_mask __attribute__((vector_size(32)));
#define LOAD_WHERE __builtin_ia32_maskloadpd256
#define STORE_WHERE __builtin_ia32_maskstorepd256
#else
typedef float part __attribute__((vector_size(32)));
typedef int part_mask __attribute__((vector_size(32)));
#define LOAD_WHERE __builtin_ia32_maskloadps256
#define STORE_WHERE __builtin_ia32_maskstoreps256
#endif
#define PARTS (int)(sizeof(lanes) / sizeof(part))

INLINE mask first_of(int64_t count);

INLINE lanes load_first(const real *x, int64_t count) {
    union { lanes all; part of[PARTS]; } y;
    const union { mask all; part_mask of[PARTS]; } inside = {first_of(count)};
    for (int i = 0; i < PARTS; i++) y.of[i] = LOAD_WHERE((const part *)x + i, inside.of[i]);
    return y.all;
}

INLINE void store_first(real *x, lanes z, int64_t count) {
    const union { lanes all; part of[PARTS]; } y = {z};
    const union { mask all; part_mask of[PARTS]; } inside = {first_of(count)};
    for (int i = 0; i < PARTS; i++) STORE_WHERE((part *)x + i, inside.of[i], y.of[i]);
}
#else
OUT_OF_LINE lanes load_first(const real *x, int64_t count) {
    real y[LANES] = {0};
    for (int i = 0; i < LANES - 1; i++)
        if (i < count) y[i] = x[i];
    return load(y);
}

OUT_OF_LINE void store_first(real *x, lanes y, int64_t count) {
    for (int i = 0; i < LANES - 1; i++)
        if (i < count) x[i] = y[i];
}
#endif

/* The same for any count: where a loop over the eights of a vector gives a constant 8, no question is left. */
#if defined(IS_FAST)
INLINE lanes load_part(const real *x, int64_t count) { return count >= LANES ? load(x) : load_first(x, count); }
#elif defined(__AVX__)
INLINE lanes load_part(const real *x, int64_t count) {
    return __builtin_constant_p(count) && count >= LANES ? load(x) : load_first(x, count);
}
#else
OUT_OF_LINE lanes load_part(const real *x, int64_t count) { return count >= LANES ? load(x) : load_first(x, count); }
#endif
INLINE_IF_FAST void store_part(real *x, lanes y, int64_t count) {
    if (count >= LANES) store(x, y);
    else store_first(x, y, count);
}

/* ---- choosing ---- */

#if LANES == 8
#define NUMBERS (mask){0, 1, 2, 3, 4, 5, 6, 7}
#define BITS (mask){1, 2, 4, 8, 16, 32, 64, 128}
#else
#define NUMBERS (mask){0, 1, 2, 3}
#define BITS (mask){1, 2, 4, 8}
#endif

INLINE lanes where(mask which, lanes yes, lanes no) { return (lanes)((which & (mask)yes) | (~which & (mask)no)); }
INLINE mask first_of(int64_t count) { return NUMBERS < (whole)smaller(count, LANES); }
INLINE lanes only_first(lanes x, int64_t count) { return where(first_of(count), x, (lanes){0}); }

/* x where it is larger (smaller), y elsewhere, also where one of them is NaN. GCC does not see one instruction in `where`. */
#if defined(__AVX__) && !defined(REAL_IS_DOUBLE) && !defined(__clang__)
INLINE lanes larger_of(lanes x, lanes y) { return __builtin_ia32_maxps256(x, y); }
INLINE lanes smaller_of(lanes x, lanes y) { return __builtin_ia32_minps256(x, y); }
#else
INLINE lanes larger_of(lanes x, lanes y) { return where(x > y, x, y); }
INLINE lanes smaller_of(lanes x, lanes y) { return where(x < y, x, y); }
#endif

/* The bits of a mask, one for each lane, and back. */
INLINE uint8_t bits_of(mask which) {
#if defined(__AVX__) && !defined(REAL_IS_DOUBLE)
    return __builtin_ia32_movmskps256((lanes)which);
#else
    const mask bits = which & BITS;
    whole found = 0;
    EACH_LANE(i) found |= bits[i];
    return (uint8_t)found;
#endif
}
INLINE mask mask_of(uint8_t bits) { return (((mask){0} + bits) & BITS) != 0; }

/* ---- adding up ---- */

#define PICK(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)

INLINE real largest_of(lanes x) { /* of numbers that are not NaN */
#if LANES == 8
    x = larger_of(x, PICK(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
    x = larger_of(x, PICK(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
#else
    x = larger_of(x, PICK(x, x, 2, 3, 0, 1));
#endif
    return x[0] > x[1] ? x[0] : x[1];
}

INLINE real total_of(lanes x) {
#if LANES == 8
    x += PICK(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
    x += PICK(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
#else
    x += PICK(x, x, 2, 3, 0, 1);
#endif
    return x[0] + x[1];
}

#define EACH_BELOW(i, stop, step) _Pragma("GCC unroll 8") for (int i = 0; i < (stop); i += (step))

/* The sum of each of eight vectors, one in each lane. Halves are added, then quarters: one of the two operands of an addition
   takes its lanes from where they are, which is cheaper than to move them. */
INLINE lanes sums_of(const lanes x[LANES]) {
#if LANES == 8
    lanes y[4], z[2];
    EACH_BELOW(i, 4, 1) y[i] = PICK(x[i], x[i + 4], 0, 1, 2, 3, 12, 13, 14, 15) + PICK(x[i], x[i + 4], 4, 5, 6, 7, 8, 9, 10, 11);
    EACH_BELOW(i, 2, 1) z[i] = PICK(y[i], y[i + 2], 0, 1, 10, 11, 4, 5, 14, 15) + PICK(y[i], y[i + 2], 2, 3, 8, 9, 6, 7, 12, 13);
    return PICK(z[0], z[1], 0, 8, 2, 10, 4, 12, 6, 14) + PICK(z[0], z[1], 1, 9, 3, 11, 5, 13, 7, 15);
#else
    lanes y[2];
    EACH_BELOW(i, 2, 1) y[i] = PICK(x[i], x[i + 2], 0, 1, 6, 7) + PICK(x[i], x[i + 2], 2, 3, 4, 5);
    return PICK(y[0], y[1], 0, 4, 2, 6) + PICK(y[0], y[1], 1, 5, 3, 7);
#endif
}

/* Eight vectors of eight numbers, in place: number j of vector i changes places with number i of vector j. */
INLINE void transpose(lanes x[LANES]) {
    lanes y[LANES];
#if LANES == 8
    EACH_BELOW(i, 8, 2) {
        y[i] = PICK(x[i], x[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        y[i + 1] = PICK(x[i], x[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    EACH_BELOW(i, 8, 4)
        EACH_BELOW(j, 2, 1) {
            x[i + j] = PICK(y[i + j], y[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            x[i + j + 2] = PICK(y[i + j], y[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    EACH_BELOW(j, 4, 1) {
        const lanes low = PICK(x[j], x[j + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        x[j + 4] = PICK(x[j], x[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
        x[j] = low;
    }
#else
    EACH_BELOW(i, 4, 2) {
        y[i] = PICK(x[i], x[i + 1], 0, 4, 2, 6);
        y[i + 1] = PICK(x[i], x[i + 1], 1, 5, 3, 7);
    }
    EACH_BELOW(j, 2, 1) {
        x[j] = PICK(y[j], y[j + 2], 0, 1, 4, 5);
        x[j + 2] = PICK(y[j], y[j + 2], 2, 3, 6, 7);
    }
#endif
}

/* ---- exp and tanh ---- */

/* exp(x) = 2^n * exp(r) with n whole and |r| <= ln(2) / 2; the bits of n are those of the exponent. 0 and infinity come
   some tenths before the last numbers that the type has (float: below -87.7 and above 88.4). NaN stays NaN.

   float: relative error below 2e-7 (coefficients of Cephes' expf). double: below 4e-16 (Taylor's series to r^13 / 13!). */
INLINE_IF_WIDE lanes exponentials(lanes x) {
#ifdef REAL_IS_DOUBLE
    const real least = -709, most = 710, to_whole = 6755399441055744.0 /* 1.5 * 2^52: its last bits are a whole number */;
    const int bits = 52, bias = 1023;
    const real ln2_high = 0.693145751953125, ln2_low = 1.42860682030941723212e-6;
#else
    const real least = -88, most = 89, to_whole = 12582912.f /* 1.5 * 2^23 */;
    const int bits = 23, bias = 127;
    const real ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
#endif
    x = smaller_of(spread(most), larger_of(spread(least), x));
    lanes shifted = x * (real)1.44269504088896341 + to_whole, n = shifted - to_whole;
    lanes r = (x - n * ln2_high) - n * ln2_low;
#ifdef REAL_IS_DOUBLE
    lanes p = r * (real)(1 / 6227020800.0) + (real)(1 / 479001600.0);
    p = p * r + (real)(1 / 39916800.0);
    p = p * r + (real)(1 / 3628800.0);
    p = p * r + (real)(1 / 362880.0);
    p = p * r + (real)(1 / 40320.0);
    p = p * r + (real)(1 / 5040.0);
    p = p * r + (real)(1 / 720.0);
    p = p * r + (real)(1 / 120.0);
    p = p * r + (real)(1 / 24.0);
    p = p * r + (real)(1 / 6.0);
    p = p * r + (real)0.5;
#else
    lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
#endif
    p = p * r * r + r + 1;
    return p * (lanes)(((mask)shifted << bits) + ((whole)bias << bits));
}

/* log of numbers from 1 on, which sums of softmax are; NaN stays NaN. float: absolute error below 1e-6 (Cephes' logf). */
INLINE_IF_FAST lanes logarithms(lanes x) {
#ifdef REAL_IS_DOUBLE
    EACH_LANE(i) x[i] = log(x[i]);
    return x;
#else
    const whole half_of_root = 0x3f3504f3 /* bits of sqrt(1 / 2) */;
    const mask bits = (mask)x, n = (bits - half_of_root) >> 23; /* x = 2^n * m, sqrt(1 / 2) <= m < sqrt(2) */
    const lanes m = (lanes)(bits - (n << 23)) - 1, e = __builtin_convertvector(n, lanes), z = m * m;
    lanes p = m * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    const lanes y = m + (p * m * z - e * 2.12194440e-4f - z * 0.5f) + e * 0.693359375f;
    return where(x < INFINITY, y, x);
#endif
}

/* tanh; float: to an absolute error of 1e-7. */
INLINE_IF_FAST lanes tanhs(lanes x) {
#ifdef REAL_IS_DOUBLE
    EACH_LANE(i) x[i] = tanh(x[i]);
    return x;
#else
    return 1 - 2 / (exponentials(x * 2) + 1);
#endif
}

#endif
