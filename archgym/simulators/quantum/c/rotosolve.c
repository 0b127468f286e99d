// The least energy of circuits over their angles: `rotosolve.py` in C, with the same operations in the same
// order, so that both give the same bits. Read that first; names are the same here.

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { NONE, ROTATION, CNOT };

typedef struct {
    int64_t size;               // N = 4^n
    const int32_t *kind, *axis, *stride; // [G]
    const int32_t *permutation; // [G, N]
    const double *weight;       // [G, N]
    const double *zero, *observable; // [N]
    double damping;             // of a rotation
    double least_gain, tolerance;
    int64_t most_starts, most_slots, short_sweeps, long_sweeps;
    const double *points;       // [most_starts, most_slots, 2]
} Problem;

typedef struct {
    double c, s;
} Point;

typedef struct {
    double *states, *observables, *tried; // [L + 1, N]
    double *b, *c;                        // [N]
    Point *before, *after;                // [L]
} Buffers;

static double halves(double *values, int64_t n) {
    while (n > 1) {
        n /= 2;
        for (int64_t i = 0; i < n; i++) values[i] += values[i + n];
    }
    return values[0];
}

static double dot(const Problem *p, const double *x, const double *y, Buffers *w) {
    for (int64_t i = 0; i < p->size; i++) w->b[i] = x[i] * y[i];
    return halves(w->b, p->size);
}

static void rotate(const Problem *p, int32_t gate, double *restrict to, const double *restrict from, double c, double s) {
    const int64_t stride = p->stride[gate], axis = p->axis[gate];
    const int64_t b = (axis % 3 + 1) * stride, d = ((axis + 1) % 3 + 1) * stride, same = axis * stride;
    const double kept = p->damping;
    c *= kept, s *= kept;
    for (int64_t o = 0; o < p->size; o += 4 * stride)
        for (int64_t i = o; i < o + stride; i++) {
            const double x = from[i + b], y = from[i + d];
            to[i + b] = c * x - s * y;
            to[i + d] = s * x + c * y;
            to[i + same] = kept * from[i + same];
            to[i] = from[i];
        }
}

static void move(const Problem *p, int32_t gate, double *restrict to, const double *restrict from, double c, double s) {
    if (p->kind[gate] == ROTATION) {
        rotate(p, gate, to, from, c, s);
    } else {
        const int32_t *place = p->permutation + gate * p->size;
        const double *weight = p->weight + gate * p->size;
        for (int64_t i = 0; i < p->size; i++) to[i] = weight[i] * from[place[i]];
    }
}

static void set(const Problem *p, int32_t gate, const double *h, const double *r, Point *point, Buffers *w) {
    if (p->kind[gate] != ROTATION) return;
    const int64_t stride = p->stride[gate], axis = p->axis[gate];
    const int64_t b = (axis % 3 + 1) * stride, d = ((axis + 1) % 3 + 1) * stride;
    int64_t n = 0;
    for (int64_t o = 0; o < p->size; o += 4 * stride)
        for (int64_t i = o; i < o + stride; i++, n++) {
            w->b[n] = h[i + b] * r[i + b] + h[i + d] * r[i + d];
            w->c[n] = h[i + d] * r[i + b] - h[i + b] * r[i + d];
        }
    const double cosine = halves(w->b, n), sine = halves(w->c, n);
    const double length = sqrt(cosine * cosine + sine * sine);
    if (length + cosine * point->c + sine * point->s > p->least_gain) {
        point->c = -cosine / length;
        point->s = -sine / length;
    }
}

static void forward(const Problem *p, const int32_t *gates, int64_t n, Point *points, Buffers *w) {
    for (int64_t k = 0; k < n; k++) {
        const double *state = w->states + k * p->size;
        set(p, gates[k], w->observables + (k + 1) * p->size, state, points + k, w);
        move(p, gates[k], w->states + (k + 1) * p->size, state, points[k].c, points[k].s);
    }
}

static double backward(const Problem *p, const int32_t *gates, int64_t n, Point *points, int update, Buffers *w) {
    for (int64_t k = n - 1; k >= 0; k--) {
        const double *observable = w->observables + (k + 1) * p->size;
        if (update) set(p, gates[k], observable, w->states + k * p->size, points + k, w);
        move(p, gates[k], w->observables + k * p->size, observable, points[k].c, -points[k].s);
    }
    return dot(p, w->observables, p->zero, w);
}

static double repeat(const Problem *p, const int32_t *gates, int64_t n, Point *points, double energy, Buffers *w) {
    for (int64_t k = 0; k < n; k++) {
        const double c = points[k].c, s = points[k].s, c0 = w->before[k].c, s0 = w->before[k].s;
        const double turn_c = c * c0 + s * s0, turn_s = s * c0 - c * s0;
        const double x = c * turn_c - s * turn_s, y = c * turn_s + s * turn_c;
        const double length = sqrt(x * x + y * y);
        w->after[k].c = x / length;
        w->after[k].s = y / length;
    }
    memcpy(w->before, points, n * sizeof(Point));
    double *observables = w->observables;
    w->observables = w->tried;
    w->tried = observables;
    memcpy(w->observables + n * p->size, p->observable, p->size * sizeof(double));
    const double tried = backward(p, gates, n, w->after, 0, w);
    if (tried < energy) {
        memcpy(points, w->after, n * sizeof(Point));
        return tried;
    }
    w->tried = w->observables;
    w->observables = observables;
    return energy;
}

static double run(const Problem *p, const int32_t *gates, int64_t n, Point *points, int64_t most, Buffers *w) {
    memcpy(w->states, p->zero, p->size * sizeof(double));
    memcpy(w->observables + n * p->size, p->observable, p->size * sizeof(double));
    memcpy(w->before, points, n * sizeof(Point));
    double energy = backward(p, gates, n, points, 0, w);
    for (int64_t sweep = 1;; sweep++) {
        forward(p, gates, n, points, w);
        const double swept = backward(p, gates, n, points, 1, w);
        const int more = energy - swept >= p->tolerance;
        energy = swept;
        if (sweep == most || !more) return energy;
        energy = repeat(p, gates, n, points, energy, w);
    }
}

// the `keep` lowest of `n` energies to the front, in order, equal ones as they stand; starts alike
static void sort(double *energies, int64_t *order, int64_t n, int64_t keep) {
    for (int64_t i = 0; i < keep; i++) {
        int64_t best = i;
        for (int64_t j = i + 1; j < n; j++)
            if (energies[order[j]] < energies[order[best]]) best = j;
        const int64_t start = order[best];
        memmove(order + i + 1, order + i, (best - i) * sizeof(int64_t));
        order[i] = start;
    }
}

static double solve_one(const Problem *p, const int32_t *gates, int64_t slots, Point *best, Point *points, double *energies, int64_t *order, Buffers *w) {
    int64_t count = 0, entangled = 0;
    while (count < slots && p->kind[gates[count]] != NONE) {
        count++;
        if (p->kind[gates[count - 1]] == CNOT) entangled = count;
    }
    for (int64_t k = 0; k < slots; k++) best[k] = (Point){1, 0};
    double energy = dot(p, p->observable, p->zero, w);
    for (int64_t n = entangled; n <= count; n++) {
        if (n == 0) continue;
        int64_t starts = p->most_starts;
        for (int64_t i = 0; i < starts; i++)
            memcpy(points + i * slots, p->points + 2 * i * p->most_slots, n * sizeof(Point));
        if (n > entangled) memcpy(points + starts++ * slots, best, n * sizeof(Point));
        for (int64_t i = 0; i < starts; i++) {
            energies[i] = run(p, gates, n, points + i * slots, p->short_sweeps, w);
            order[i] = i;
        }
        const int64_t keep = starts / 4 > 1 ? starts / 4 : 1;
        sort(energies, order, starts, keep);
        for (int64_t i = 0; i < keep; i++)
            energies[order[i]] = run(p, gates, n, points + order[i] * slots, p->long_sweeps, w);
        sort(energies, order, keep, 1);
        energy = energies[order[0]];
        memcpy(best, points + order[0] * slots, n * sizeof(Point));
    }
    for (int64_t k = 0; k < count; k++)
        if (p->kind[gates[k]] == CNOT) best[k] = (Point){1, 0};
    return energy;
}

// Energies [count] and points [count, slots, 2] of circuits [count, slots]. 1 if memory does not suffice.
EXPORT int solve(const Problem *p, int64_t count, int64_t slots, const int32_t *circuits, double *energies, double *points) {
    const size_t vectors = (size_t)(slots + 1) * p->size * sizeof(double), starts = p->most_starts + 1;
    Buffers w = {malloc(vectors), malloc(vectors), malloc(vectors), malloc(p->size * sizeof(double)),
                 malloc(p->size * sizeof(double)), malloc((slots + 1) * sizeof(Point)), malloc((slots + 1) * sizeof(Point))};
    Point *tried = malloc(starts * slots * sizeof(Point));
    double *found = malloc(starts * sizeof(double));
    int64_t *order = malloc(starts * sizeof(int64_t));
    const int whole = w.states && w.observables && w.tried && w.b && w.c && w.before && w.after && tried && found && order;
    for (int64_t i = 0; whole && i < count; i++)
        energies[i] = solve_one(p, circuits + i * slots, slots, (Point *)points + i * slots, tried, found, order, &w);
    free(w.states), free(w.observables), free(w.tried), free(w.b), free(w.c), free(w.before), free(w.after);
    free(tried), free(found), free(order);
    return !whole;
}
