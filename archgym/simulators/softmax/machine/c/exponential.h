/* e^x = p * 2^n with p and n both kept as float32, so that nothing overflows (Dukhan & Ablavatski, 2020).

       n = round(x * log2(e)),   t = x - n * ln(2) in [-ln(2)/2, ln(2)/2],   p = e^t to a relative 2^-23.4

   ln(2) is taken off in parts that make n * part exact (Cody & Waite): two with a fused multiply-add, three without, for |n| <= 2^15.
   The polynomial is a minimax fit with float32 coefficients (made for this file: linear programs on a Chebyshev grid). */

#define LOG2_E 0x1.715476p+0f
#define LARGEST_EXPONENT 32768.0f

typedef struct {
    vec mantissa, exponent;
} extended;

INLINE extended extended_exponential(vec x) {
    vec n = rounded(multiply(x, set(LOG2_E)));
#if WIDTH == 1
    vec t = multiply_add(n, set(-0x1.63p-1f), x);
    t = multiply_add(n, set(0x1.bdp-13f), t);
    t = multiply_add(n, set(0x1.05c61p-29f), t);
#else
    vec t = multiply_add(n, set(-0x1.62e43p-1f), x);
    t = multiply_add(n, set(0x1.05c61p-29f), t);
#endif
    vec p = set(0x1.0f9ee4p-7f);
    p = multiply_add(p, t, set(0x1.573adap-5f));
    p = multiply_add(p, t, set(0x1.555a82p-3f));
    p = multiply_add(p, t, set(0x1.fffdc4p-2f));
    p = multiply_add(p, t, set(0x1.fffff6p-1f));
    p = multiply_add(p, t, set(1.0f));
    return (extended){p, n};
}

/* e^x for x <= 0; exactly 0 for -inf and whatever else is below the smallest float32. */
INLINE vec exponential(vec x) {
    extended e = extended_exponential(largest(set(LEAST_EXPONENT * 0x1.62e430p-1f), x));
    return times_power_of_2(e.mantissa, e.exponent);
}
