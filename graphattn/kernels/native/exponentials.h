/* exp of every number of a vector. Included once for each type of vectors, of which are given: VECTOR, its masks MASK (-1 where
   true), and the name EXPONENTIALS of the function.

   exp(x) = 2^n * exp(r) with n whole and |r| <= ln(2) / 2; the bits of n are those of the exponent. 0 and infinity come
   some tenths before the last numbers that the type has (float: below -87.7 and above 88.4). NaN stays NaN.

   float: relative error below 2e-7 (coefficients of Cephes' expf). double: below 4e-16 (Taylor's series to r^13 / 13!). */

INLINE VECTOR EXPONENTIALS(VECTOR x) {
#ifdef REAL_IS_DOUBLE
    const real least = -709, most = 710, to_whole = 6755399441055744.0 /* 1.5 * 2^52: its last bits are a whole number */;
    const int bits = 52, bias = 1023;
    const real ln2_high = 0.693145751953125, ln2_low = 1.42860682030941723212e-6;
#else
    const real least = -88, most = 89, to_whole = 12582912.f /* 1.5 * 2^23 */;
    const int bits = 23, bias = 127;
    const real ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
#endif
    const MASK too_small = x < least, too_large = x > most;
    x = (VECTOR)((too_small & (MASK)(least - (VECTOR){0})) | (~too_small & (MASK)x));
    x = (VECTOR)((too_large & (MASK)(most - (VECTOR){0})) | (~too_large & (MASK)x));
    VECTOR shifted = x * (real)1.44269504088896341 + to_whole, n = shifted - to_whole;
    VECTOR r = (x - n * ln2_high) - n * ln2_low;
#ifdef REAL_IS_DOUBLE
    VECTOR p = r * (real)(1 / 6227020800.0) + (real)(1 / 479001600.0);
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
    VECTOR p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
#endif
    p = p * r * r + r + 1;
    return p * (VECTOR)(((MASK)shifted << bits) + ((whole)bias << bits));
}
