/* The passes over a row that the algorithms are made of: UNROLL vectors per step, ACCUMULATORS independent partial results.

   A row of n elements is whole steps of STEP elements, and a rest that is padded with -inf to one more step: e^-inf adds nothing.
   Maxima start from the most negative finite number, so that -inf - (-inf) never arises; a row of nothing but -inf ends as 0 / 0 = NaN. */

#include <float.h>

#include "vector.h"

#include "exponential.h"

#define STEP (UNROLL * WIDTH)
#define GROUP (UNROLL / ACCUMULATORS) /* vectors per accumulator and step */
#define LINE 64                       /* bytes of a cache line */

typedef struct {
    vec maximum[ACCUMULATORS], sum[ACCUMULATORS], exponent[ACCUMULATORS]; /* partial results */
    vec shift, scale;                                                     /* what every element is shifted and scaled by */
} state;

typedef void storing(float *, vec);
typedef void reducing(state *, const float *);
typedef void transforming(state *, const float *, float *, storing *);

/* Ask for what is PREFETCH bytes ahead of a step, once per cache line. */
INLINE void prefetch(const float *x) {
    const char *ahead = (const char *)x + PREFETCH;
#if PREFETCH && STEP * 4 >= LINE
    EACH(line, STEP * 4 / LINE) __builtin_prefetch(ahead + line * LINE);
#elif PREFETCH
    if ((uintptr_t)x % LINE < STEP * 4) __builtin_prefetch(ahead);
#endif
    (void)ahead;
}

INLINE void padded(float *step, const float *x, size_t count) {
    EACH(i, UNROLL) store(step + i * WIDTH, set(-INFINITY));
    memcpy(step, x, count * sizeof(float));
}

INLINE void reduce_row(const float *x, size_t n, state *s, reducing *step) {
    const float *end = x + n / STEP * STEP;
    for (; x < end; x += STEP) {
        prefetch(x);
        step(s, x);
    }
    if (n % STEP) {
        float rest[STEP];
        padded(rest, x, n % STEP);
        step(s, rest);
    }
}

INLINE void transform_part(const float *x, float *y, size_t count, state *s, transforming *step) {
    float in[STEP], out[STEP];
    for (size_t i = 0; i < count; i += STEP) {
        size_t some = count - i < STEP ? count - i : STEP;
        padded(in, x + i, some);
        step(s, in, out, store);
        memcpy(y + i, out, some * sizeof(float));
    }
}

/* y may be x. Stores that bypass the caches want whole lines: what lies before the first of them is stored through the caches. */
INLINE void transform_row(const float *x, float *y, size_t n, state *s, transforming *step, int nontemporal) {
    size_t head = nontemporal ? (LINE - (uintptr_t)y % LINE) % LINE / 4 : 0;
    if (head > n) head = n;
    transform_part(x, y, head, s, step);
    x += head, y += head, n -= head;
    const float *end = x + n / STEP * STEP;
    for (; x < end; x += STEP, y += STEP) {
        prefetch(x);
        step(s, x, y, nontemporal ? store_nontemporal : store);
    }
    transform_part(x, y, n % STEP, s, step);
}

/* A sum over elements, as sum * e^logarithm. */
typedef struct {
    double sum, logarithm;
} total;

/* --- maximum: max(x) --- */

INLINE void maximum_step(state *s, const float *x) {
    EACH(i, UNROLL) s->maximum[i % ACCUMULATORS] = largest(s->maximum[i % ACCUMULATORS], load(x + i * WIDTH));
}

INLINE float maximum(const float *x, size_t n) {
    state s;
    EACH(a, ACCUMULATORS) s.maximum[a] = set(-FLT_MAX);
    reduce_row(x, n, &s, maximum_step);
    EACH(a, ACCUMULATORS) s.maximum[0] = largest(s.maximum[0], s.maximum[a]);
    return largest_lane(s.maximum[0]);
}

/* --- exponential_sum: sum e^(x - max) --- */

INLINE void exponential_sum_step(state *s, const float *x) {
    EACH(i, UNROLL) s->sum[i % ACCUMULATORS] = add(s->sum[i % ACCUMULATORS], exponential(subtract(load(x + i * WIDTH), s->shift)));
}

INLINE float sum_of_accumulators(state *s) {
    for (size_t half = ACCUMULATORS / 2; half > 0; half /= 2)
        for (size_t a = 0; a < half; a++) s->sum[a] = add(s->sum[a], s->sum[a + half]);
    return sum_of_lanes(s->sum[0]);
}

INLINE float exponential_sum(const float *x, size_t n, float max) {
    state s = {.shift = set(max)};
    EACH(a, ACCUMULATORS) s.sum[a] = set(0.0f);
    reduce_row(x, n, &s, exponential_sum_step);
    return sum_of_accumulators(&s);
}

/* --- stored_exponential_sum: the same, with y = e^(x - max) --- */

INLINE void stored_exponential_sum_step(state *s, const float *x, float *y, storing *put) {
    EACH(i, UNROLL) {
        vec e = exponential(subtract(load(x + i * WIDTH), s->shift));
        put(y + i * WIDTH, e);
        s->sum[i % ACCUMULATORS] = add(s->sum[i % ACCUMULATORS], e);
    }
}

INLINE float stored_exponential_sum(const float *x, float *y, size_t n, float max, int nontemporal) {
    state s = {.shift = set(max)};
    EACH(a, ACCUMULATORS) s.sum[a] = set(0.0f);
    transform_row(x, y, n, &s, stored_exponential_sum_step, nontemporal);
    return sum_of_accumulators(&s);
}

/* --- online_sum: running maximum and sum (Milakov & Gimelshein, 2018), brought up to a new maximum once per accumulator and step --- */

INLINE void online_sum_step(state *s, const float *x) {
    EACH(a, ACCUMULATORS) {
        vec m = s->maximum[a];
        EACH(g, GROUP) m = largest(m, load(x + (g * ACCUMULATORS + a) * WIDTH));
        vec sum = multiply(s->sum[a], exponential(subtract(s->maximum[a], m)));
        EACH(g, GROUP) sum = add(sum, exponential(subtract(load(x + (g * ACCUMULATORS + a) * WIDTH), m)));
        s->maximum[a] = m, s->sum[a] = sum;
    }
}

INLINE total online_sum(const float *x, size_t n) {
    state s;
    EACH(a, ACCUMULATORS) s.maximum[a] = set(-FLT_MAX), s.sum[a] = set(0.0f);
    reduce_row(x, n, &s, online_sum_step);
    vec all = s.maximum[0];
    EACH(a, ACCUMULATORS) all = largest(all, s.maximum[a]);
    float m = largest_lane(all);
    EACH(a, ACCUMULATORS) s.sum[a] = multiply(s.sum[a], exponential(subtract(s.maximum[a], set(m))));
    return (total){sum_of_accumulators(&s), m};
}

/* --- extended_sum: sum e^x as sum * 2^exponent, both float32 (Dukhan & Ablavatski, 2020) --- */

#define EXTENDED_LEAST (-(LARGEST_EXPONENT + 200) * 0x1.62e430p-1f) /* stands for -inf */

INLINE void extended_sum_step(state *s, const float *x) {
    EACH(a, ACCUMULATORS) {
        extended e[GROUP];
        vec largest_exponent = s->exponent[a];
        EACH(g, GROUP) {
            e[g] = extended_exponential(largest(set(EXTENDED_LEAST), load(x + (g * ACCUMULATORS + a) * WIDTH)));
            largest_exponent = largest(largest_exponent, e[g].exponent);
        }
        vec sum = times_power_of_2(s->sum[a], subtract(s->exponent[a], largest_exponent));
        EACH(g, GROUP) sum = add(sum, times_power_of_2(e[g].mantissa, subtract(e[g].exponent, largest_exponent)));
        s->exponent[a] = largest_exponent, s->sum[a] = sum;
    }
}

INLINE total extended_sum(const float *x, size_t n) {
    state s;
    EACH(a, ACCUMULATORS) s.exponent[a] = set(-FLT_MAX), s.sum[a] = set(0.0f);
    reduce_row(x, n, &s, extended_sum_step);
    vec all = s.exponent[0];
    EACH(a, ACCUMULATORS) all = largest(all, s.exponent[a]);
    float exponent = largest_lane(all);
    if (!(fabsf(exponent) <= LARGEST_EXPONENT)) { /* |x| > 22,000, where n * ln(2) is no longer exact: take the maximum off first */
        float m = maximum(x, n);
        return (total){exponential_sum(x, n, m), m};
    }
    EACH(a, ACCUMULATORS) s.sum[a] = times_power_of_2(s.sum[a], subtract(s.exponent[a], set(exponent)));
    return (total){sum_of_accumulators(&s), exponent * M_LN2};
}

/* --- outputs --- */

/* normalised_exponential: y = e^(x - max) * scale */
INLINE void normalised_exponential_step(state *s, const float *x, float *y, storing *put) {
    EACH(i, UNROLL) put(y + i * WIDTH, multiply(exponential(subtract(load(x + i * WIDTH), s->shift)), s->scale));
}

INLINE void normalised_exponential(const float *x, float *y, size_t n, float max, float scale, int nontemporal) {
    state s = {.shift = set(max), .scale = set(scale)};
    transform_row(x, y, n, &s, normalised_exponential_step, nontemporal);
}

/* extended_output: y = e^x * 2^-exponent * scale */
INLINE void extended_output_step(state *s, const float *x, float *y, storing *put) {
    EACH(i, UNROLL) {
        extended e = extended_exponential(largest(set(EXTENDED_LEAST), load(x + i * WIDTH)));
        put(y + i * WIDTH, multiply(times_power_of_2(e.mantissa, subtract(e.exponent, s->shift)), s->scale));
    }
}

INLINE void extended_output(const float *x, float *y, size_t n, float exponent, float scale, int nontemporal) {
    state s = {.shift = set(exponent), .scale = set(scale)};
    transform_row(x, y, n, &s, extended_output_step, nontemporal);
}

/* scale: y *= scale, in place */
INLINE void scale_step(state *s, const float *x, float *y, storing *put) {
    EACH(i, UNROLL) put(y + i * WIDTH, multiply(load(x + i * WIDTH), s->scale));
}

INLINE void scale(float *y, size_t n, float scale, int nontemporal) {
    state s = {.scale = set(scale)};
    transform_row(y, y, n, &s, scale_step, nontemporal);
}
