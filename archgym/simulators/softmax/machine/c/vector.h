/* Vectors of WIDTH float32 for one instruction set (-DISA_SCALAR, -DISA_AVX2 or -DISA_AVX512).

   largest(a, b) is b where either is NaN, so that largest(limit, x) bounds x from below and lets NaN pass.
   times_power_of_2(p, n) is p * 2^n for whole n <= 0, and 0 for n <= -151: everything below the smallest float32. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif
#define EACH(i, count) UNROLLED for (size_t i = 0; i < (count); i++)

#if defined(ISA_AVX512)

#define WIDTH 16
typedef __m512 vec;
INLINE vec load(const float *x) { return _mm512_loadu_ps(x); }
INLINE void store(float *y, vec a) { _mm512_storeu_ps(y, a); }
INLINE void store_nontemporal(float *y, vec a) { _mm512_stream_ps(y, a); }
INLINE vec set(float a) { return _mm512_set1_ps(a); }
INLINE vec add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec subtract(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec multiply(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec multiply_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec largest(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec rounded(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vec times_power_of_2(vec p, vec n) { return _mm512_scalef_ps(p, n); }
#define LEAST_EXPONENT -151.0f

#elif defined(ISA_AVX2)

#define WIDTH 8
typedef __m256 vec;
INLINE vec load(const float *x) { return _mm256_loadu_ps(x); }
INLINE void store(float *y, vec a) { _mm256_storeu_ps(y, a); }
INLINE void store_nontemporal(float *y, vec a) { _mm256_stream_ps(y, a); }
INLINE vec set(float a) { return _mm256_set1_ps(a); }
INLINE vec add(vec a, vec b) { return _mm256_add_ps(a, b); }
INLINE vec subtract(vec a, vec b) { return _mm256_sub_ps(a, b); }
INLINE vec multiply(vec a, vec b) { return _mm256_mul_ps(a, b); }
INLINE vec multiply_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vec largest(vec a, vec b) { return _mm256_max_ps(a, b); }
INLINE vec rounded(vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vec times_power_of_2(vec p, vec n) { /* the exponent field of a float32; 0 and so +0.0 at n = -127 */
    __m256i field = _mm256_add_epi32(_mm256_cvtps_epi32(largest(set(-127.0f), n)), _mm256_set1_epi32(127));
    return multiply(p, _mm256_castsi256_ps(_mm256_slli_epi32(field, 23)));
}
#define LEAST_EXPONENT -127.0f

#else /* one float32 at a time, on any processor */

#define WIDTH 1
typedef float vec;
INLINE vec load(const float *x) { return *x; }
INLINE void store(float *y, vec a) { *y = a; }
INLINE void store_nontemporal(float *y, vec a) {
#if defined(__x86_64__)
    int32_t bits;
    memcpy(&bits, &a, 4);
    _mm_stream_si32((int *)y, bits);
#else
    *y = a;
#endif
}
INLINE vec set(float a) { return a; }
INLINE vec add(vec a, vec b) { return a + b; }
INLINE vec subtract(vec a, vec b) { return a - b; }
INLINE vec multiply(vec a, vec b) { return a * b; }
INLINE vec multiply_add(vec a, vec b, vec c) { return a * b + c; } /* rounded twice */
INLINE vec largest(vec a, vec b) { return a > b ? a : b; }
INLINE vec rounded(vec a) { return (a + 0x1.8p23f) - 0x1.8p23f; } /* for |a| < 2^22 */
INLINE vec times_power_of_2(vec p, vec n) {
    n = largest(-127.0f, n) + 0x1.8p23f; /* n + 127 in the low bits, moved to the exponent field; 0 and so +0.0 at n = -127 */
    uint32_t bits;
    memcpy(&bits, &n, 4);
    bits = (bits + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}
#define LEAST_EXPONENT -127.0f

#endif

INLINE float largest_lane(vec a) {
    float lanes[WIDTH];
    store(lanes, a);
    float m = lanes[0];
    for (size_t i = 1; i < WIDTH; i++) m = lanes[i] > m ? lanes[i] : m;
    return m;
}

INLINE float sum_of_lanes(vec a) {
    float lanes[WIDTH];
    store(lanes, a);
    for (size_t half = WIDTH / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}
