/* What Python asks of the library before anything else. */

#include <string.h>

#define TEXT_NOW(x) #x
#define TEXT(x) TEXT_NOW(x)

/* The digest of the sources that it was compiled from (build.py): Python refuses a library of others. */
const char *sources(void) { return TEXT(SOURCES); }

/* The last part of the names of the functions that run best on this processor. */
const char *level(void) {
#if defined(__x86_64__) || defined(_M_X64)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
        return "_v4";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return "_v3";
#endif
    return "";
}

/* Whether the loops of linear.c multiply faster than the library that torch takes: on AMD's processors that one leaves half of
   the vectors of AVX-512 unused. */
int linear_is_faster(void) {
#if defined(__x86_64__) || defined(_M_X64)
    return !strcmp(level(), "_v4") && __builtin_cpu_is("amd");
#else
    return 0;
#endif
}
