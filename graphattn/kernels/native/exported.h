/* What every source begins with: functions in line and out of line, and the names of functions that the library exports. */

#ifndef GRAPHATTN_EXPORTED_H
#define GRAPHATTN_EXPORTED_H

#define INLINE static inline __attribute__((always_inline))

/* One function for all that call it, whatever they know of its arguments: for what is rare, or as fast. */
#if defined(__clang__)
#define OUT_OF_LINE __attribute__((noinline, unused)) static
#else
#define OUT_OF_LINE __attribute__((noinline, noclone, unused)) static
#endif

/* In line with registers of 32 bytes at least, and in float: elsewhere it would be several times as large. */
#if defined(__x86_64__) && !defined(__AVX2__)
#define INLINE_IF_WIDE OUT_OF_LINE
#else
#define INLINE_IF_WIDE INLINE
#endif
#if defined(REAL_IS_DOUBLE) || (defined(__x86_64__) && !defined(__AVX2__))
#define INLINE_IF_FAST OUT_OF_LINE
#else
#define INLINE_IF_FAST INLINE
#define IS_FAST
#endif

/* edges_forward becomes edges_forward_f32_v3, pairs_descend becomes pairs_descend_v3: build.py gives SUFFIX. */
#define JOIN_NOW(name, suffix) name##suffix
#define JOIN(name, suffix) JOIN_NOW(name, suffix)
#define EXPORTED(name) JOIN(name, SUFFIX)

#endif
