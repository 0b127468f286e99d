/* Runs a kernel over rows with one or two threads, and times it.

   Two threads share the rows, or the columns where there is one row; then the only wait inside a kernel is for the other part's total.
   Time is processor time of the thread, read around a loop of calls: wall-clock time also counts what other programs take. A thread that
   waits for the other spins, and so long as that one is kept from its processor this is no work: spins after the first few of each wait
   are counted, and taken off at what a spin was seen to cost. */

#define _GNU_SOURCE

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#define pause() _mm_pause()
#else
#define pause() ((void)0)
#endif

#define EXPORT __attribute__((visibility("default")))
#define THREADS 2
#define SPINS 4000  /* looks at a gate before a thread goes to sleep */
#define PATIENCE 50 /* of them, those that are the price of having two threads: about 2 us */

typedef struct {
    double sum, logarithm;
} total;

typedef struct {
    total (*reduce)(const float *x, float *y, size_t n, size_t tile, float *maxima);
    void (*finish)(const float *x, float *y, size_t n, size_t tile, const float *maxima, total part, total all);
    total (*add_totals)(total a, total b);
} kernel;

typedef struct {
    kernel kernel;
    const float *x;
    float *y;
    size_t rows, cols, tile;
    int threads;
} work;

/* --- a gate: one thread opens it again and again, another waits for the next time --- */

typedef struct {
    atomic_uint opened;
    pthread_mutex_t mutex;
    pthread_cond_t sleepers;
} gate;

#define CLOSED {0, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER}

static void open_gate(gate *g) {
    pthread_mutex_lock(&g->mutex);
    atomic_fetch_add_explicit(&g->opened, 1, memory_order_release);
    pthread_cond_broadcast(&g->sleepers);
    pthread_mutex_unlock(&g->mutex);
}

static double thread_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double waited[THREADS]; /* processor time of each wait after its first few looks, by thread */

static void pass_gate(gate *g, unsigned *passed, int thread) {
    ++*passed;
    int looks = 0;
    double begin = 0.0;
    while ((int)(atomic_load_explicit(&g->opened, memory_order_acquire) - *passed) < 0) {
        if (looks == PATIENCE) begin = thread_seconds();
        if (++looks > SPINS) {
            pthread_mutex_lock(&g->mutex);
            while ((int)(atomic_load_explicit(&g->opened, memory_order_acquire) - *passed) < 0) pthread_cond_wait(&g->sleepers, &g->mutex);
            pthread_mutex_unlock(&g->mutex);
            break;
        }
        pause();
    }
    if (looks > PATIENCE) waited[thread] += thread_seconds() - begin;
}

/* --- one thread's share --- */

static total totals[THREADS];
static gate part_done[THREADS] = {CLOSED, CLOSED}; /* part_done[i]: thread i has its total */
static unsigned parts_passed[THREADS];             /* how often thread i waited for the other's */

static float *tile_maxima(int thread, size_t n, size_t tile) {
    static float *room[THREADS];
    static size_t size[THREADS];
    size_t tiles = (n + tile - 1) / tile;
    if (tiles > size[thread]) {
        free(room[thread]);
        room[thread] = malloc(tiles * sizeof(float));
        if (!room[thread]) abort();
        size[thread] = tiles;
    }
    return room[thread];
}

static void one_row(const kernel *k, const float *x, float *y, size_t n, size_t tile, int thread) {
    float *maxima = tile_maxima(thread, n, tile);
    total all = k->reduce(x, y, n, tile, maxima);
    k->finish(x, y, n, tile, maxima, all, all);
}

static void share(const work *w, int thread) {
    const kernel *k = &w->kernel;
    if (w->threads == 1 || w->rows > 1) {
        size_t half = (w->rows + 1) / 2, first = thread ? half : 0, last = thread || w->threads == 1 ? w->rows : half;
        for (size_t r = first; r < last; r++) one_row(k, w->x + r * w->cols, w->y + r * w->cols, w->cols, w->tile, thread);
        return;
    }
    size_t half = (w->cols + 1) / 2, n = thread ? w->cols - half : half;
    const float *x = w->x + (thread ? half : 0);
    float *y = w->y + (thread ? half : 0);
    float *maxima = tile_maxima(thread, n, w->tile);
    total part = k->reduce(x, y, n, w->tile, maxima);
    totals[thread] = part;
    open_gate(&part_done[thread]);
    pass_gate(&part_done[!thread], &parts_passed[thread], thread);
    k->finish(x, y, n, w->tile, maxima, part, k->add_totals(totals[0], totals[1]));
}

/* --- the second thread: started when first needed, asleep when idle --- */

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER; /* one call at a time: totals and room are shared */
static pid_t helper_of;                                  /* the process that has the thread; a fork has none */
static pthread_t helper;
static gate start = CLOSED, done = CLOSED;
static unsigned starts_passed, dones_passed;
static const work *assigned;   /* NULL asks for the time */
static double helper_seconds;  /* the second thread's working time */

/* Processor time less long waits. */
static double working_seconds(int thread) { return thread_seconds() - waited[thread]; }

static void *help(void *unused) {
    (void)unused;
    for (;;) {
        pass_gate(&start, &starts_passed, 1);
        if (assigned)
            share(assigned, 1);
        else
            helper_seconds = working_seconds(1);
        open_gate(&done);
    }
    return NULL;
}

static int need_helper(void) {
    if (helper_of == getpid()) return 0;
    gate closed = CLOSED;
    start = done = part_done[0] = part_done[1] = closed;
    starts_passed = dones_passed = parts_passed[0] = parts_passed[1] = 0;
    if (pthread_create(&helper, NULL, help, NULL)) return -1;
    helper_of = getpid();
    return 0;
}

static double time_of_helper(void) {
    assigned = NULL;
    open_gate(&start);
    pass_gate(&done, &dones_passed, 0);
    return helper_seconds;
}

static void call(const work *w) {
    if (w->threads == 2) {
        assigned = w;
        open_gate(&start);
    }
    share(w, 0);
    if (w->threads == 2) pass_gate(&done, &dones_passed, 0);
}

/* --- what Python calls --- */

static void begin_fork(void) { pthread_mutex_lock(&busy); }
static void end_fork(void) { pthread_mutex_unlock(&busy); }

/* A fork waits for the end of a call in another thread: the child would find the lock held by nobody. */
__attribute__((constructor)) static void prepare_for_forks(void) { pthread_atfork(begin_fork, end_fork, end_fork); }

/* Softmax of every row of x [rows, cols] into y; both may be one. 0, or -1 if the second thread cannot be started. */
EXPORT int run(const work *w) {
    pthread_mutex_lock(&busy);
    int failed = w->threads == 2 && need_helper();
    if (!failed) call(w);
    pthread_mutex_unlock(&busy);
    return failed ? -1 : 0;
}

typedef struct {
    double seconds, wall_seconds; /* of all calls; the first is the slower thread's working time */
    long switches;                /* times the thread was taken off its processor against its will */
} timing;

static long involuntary_switches(void) {
    struct rusage usage;
#if defined(__linux__)
    getrusage(RUSAGE_THREAD, &usage);
#else
    getrusage(RUSAGE_SELF, &usage);
#endif
    return usage.ru_nivcsw;
}

static double wall_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Time `calls` runs one after the other, after `warmups` untimed ones. */
EXPORT int measure(const work *w, long warmups, long calls, timing *result) {
    pthread_mutex_lock(&busy);
    int failed = w->threads == 2 && need_helper();
    if (!failed) {
        for (long i = 0; i < warmups; i++) call(w);
        double other = w->threads == 2 ? time_of_helper() : 0.0;
        long switches = involuntary_switches();
        double wall = wall_seconds(), own = working_seconds(0);
        for (long i = 0; i < calls; i++) call(w);
        own = working_seconds(0) - own;
        result->wall_seconds = wall_seconds() - wall;
        result->switches = involuntary_switches() - switches;
        other = w->threads == 2 ? time_of_helper() - other : 0.0;
        result->seconds = own > other ? own : other;
    }
    pthread_mutex_unlock(&busy);
    return failed ? -1 : 0;
}

/* Keep the calling thread, and the second one, each on a processor of its own; -1 where the system cannot. */
EXPORT int pin(int processor, int second) {
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    if (sched_setaffinity(0, sizeof set, &set)) return -1;
    if (second >= 0) {
        pthread_mutex_lock(&busy);
        int failed = need_helper();
        pthread_mutex_unlock(&busy);
        if (failed) return -1;
        CPU_ZERO(&set);
        CPU_SET(second, &set);
        if (pthread_setaffinity_np(helper, sizeof set, &set)) return -1;
    }
    return 0;
#else
    (void)processor, (void)second;
    return -1;
#endif
}
