/* One softmax kernel: -DALGORITHM_... -DISA_... -DUNROLL= -DACCUMULATORS= -DPREFETCH= -DNONTEMPORAL=.

   A row, or a thread's part of one, is reduced to a total; the totals of all parts are added; each part is then finished.
   `maxima` has room for one float per tile; only tiled_reload uses it, to remember what each tile was shifted by. */

#include "passes.h"

#define EXPORT __attribute__((visibility("default")))

/* a + b */
INLINE total plus(total a, total b) {
    double logarithm = a.logarithm > b.logarithm ? a.logarithm : b.logarithm;
    return (total){a.sum * exp(a.logarithm - logarithm) + b.sum * exp(b.logarithm - logarithm), logarithm};
}

EXPORT total add_totals(total a, total b) { return plus(a, b); }

/* Of part sums that are kept as float32: sum * e^(max - new max) */
INLINE float rescaled(float sum, float max, float new_max) { return sum * expf(max - new_max); }

EXPORT total reduce(const float *x, float *y, size_t n, size_t tile, float *maxima) {
    (void)y, (void)tile, (void)maxima;
#if defined(ALGORITHM_THREE_PASS_RECOMPUTE)
    float m = maximum(x, n);
    return (total){exponential_sum(x, n, m), m};
#elif defined(ALGORITHM_THREE_PASS_RELOAD)
    float m = maximum(x, n);
    return (total){stored_exponential_sum(x, y, n, m, NONTEMPORAL), m};
#elif defined(ALGORITHM_TWO_PASS)
    return extended_sum(x, n);
#elif defined(ALGORITHM_ONLINE)
    return online_sum(x, n);
#elif defined(ALGORITHM_TILED_ONLINE) || defined(ALGORITHM_TILED_RELOAD)
    float max = -FLT_MAX, sum = 0.0f;
    for (size_t i = 0, t = 0; i < n; i += tile, t++) {
        size_t some = n - i < tile ? n - i : tile;
        float m = maximum(x + i, some), new_max = m > max ? m : max;
#if defined(ALGORITHM_TILED_ONLINE)
        float s = exponential_sum(x + i, some, m);
#else
        float s = stored_exponential_sum(x + i, y + i, some, m, 0); /* y is wanted again */
        maxima[t] = m;
#endif
        sum = rescaled(sum, max, new_max) + rescaled(s, m, new_max);
        max = new_max;
    }
    return (total){sum, max};
#else
#error no such algorithm
#endif
}

EXPORT void finish(const float *x, float *y, size_t n, size_t tile, const float *maxima, total part, total all) {
    (void)x, (void)tile, (void)maxima, (void)part;
#if defined(ALGORITHM_THREE_PASS_RELOAD)
    scale(y, n, (float)(exp(part.logarithm - all.logarithm) / all.sum), NONTEMPORAL);
#elif defined(ALGORITHM_TILED_RELOAD)
    for (size_t i = 0, t = 0; i < n; i += tile, t++)
        scale(y + i, n - i < tile ? n - i : tile, (float)(exp(maxima[t] - all.logarithm) / all.sum), NONTEMPORAL);
#else
    float max = (float)all.logarithm;
#if defined(ALGORITHM_TWO_PASS)
    double exponent = rint(all.logarithm * M_LOG2E);
    if (fabs(exponent) <= LARGEST_EXPONENT)
        extended_output(x, y, n, (float)exponent, (float)(exp(exponent * M_LN2 - all.logarithm) / all.sum), NONTEMPORAL);
    else
#endif
        normalised_exponential(x, y, n, max, (float)(exp(max - all.logarithm) / all.sum), NONTEMPORAL);
#endif
#if NONTEMPORAL && defined(__x86_64__)
    _mm_sfence();
#endif
}
