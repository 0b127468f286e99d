/* Each pass as if it were a kernel, for calibration: -DISA_... -DUNROLL= -DACCUMULATORS= -DPREFETCH= -DNONTEMPORAL=.

   Two more that are memory traffic alone: write and copy. The sums and factors are of no interest: they are such that x stays in range. */

#include "passes.h"

#define EXPORT __attribute__((visibility("default")))
#define PASS(name) EXPORT total name##_pass(const float *x, float *y, size_t n, size_t tile, float *maxima)
static volatile float one = 1.0f; /* a factor that the compiler does not know */

#define UNUSED (void)x, (void)y, (void)tile, (void)maxima

INLINE void write_step(state *s, const float *x, float *y, storing *put) {
    (void)x;
    EACH(i, UNROLL) put(y + i * WIDTH, s->shift);
}

INLINE void copy_step(state *s, const float *x, float *y, storing *put) {
    (void)s;
    EACH(i, UNROLL) put(y + i * WIDTH, load(x + i * WIDTH));
}

PASS(maximum) { UNUSED; return (total){maximum(x, n), 0}; }
PASS(exponential_sum) { UNUSED; return (total){exponential_sum(x, n, 4.0f), 0}; }
PASS(stored_exponential_sum) { UNUSED; return (total){stored_exponential_sum(x, y, n, 4.0f, NONTEMPORAL), 0}; }
PASS(normalised_exponential) { UNUSED; normalised_exponential(x, y, n, 4.0f, one, NONTEMPORAL); return (total){0, 0}; }
PASS(extended_sum) { UNUSED; return extended_sum(x, n); }
PASS(extended_output) { UNUSED; extended_output(x, y, n, 4.0f, one, NONTEMPORAL); return (total){0, 0}; }
PASS(online_sum) { UNUSED; return online_sum(x, n); }
PASS(scale) { UNUSED; scale(y, n, one, NONTEMPORAL); return (total){0, 0}; }

PASS(write) {
    UNUSED;
    state s = {.shift = set(1.0f)};
    transform_row(y, y, n, &s, write_step, NONTEMPORAL);
    return (total){0, 0};
}

PASS(copy) {
    UNUSED;
    state s;
    transform_row(x, y, n, &s, copy_step, NONTEMPORAL);
    return (total){0, 0};
}

EXPORT void nothing(const float *x, float *y, size_t n, size_t tile, const float *maxima, total part, total all) {
    UNUSED;
    (void)n, (void)part, (void)all;
#if NONTEMPORAL && defined(__x86_64__)
    _mm_sfence();
#endif
}

EXPORT total add_totals(total a, total b) { return (total){a.sum + b.sum, 0}; }
