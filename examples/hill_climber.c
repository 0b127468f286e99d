/* A hill climber for any task that `archgym serve` serves, in C with POSIX sockets and no library.
 *
 *     archgym serve archgym/Softmax-v0 --budget 200 &
 *     cc -O2 -o hill_climber examples/hill_climber.c
 *     ./hill_climber 127.0.0.1 8000
 *
 * Three requests are all that an agent needs:
 *
 *     GET  /task                        number of values per parameter: "nvec"
 *     POST /sessions                    "session", its secret "token"
 *     POST /sessions/ID/evaluate        {"indices": [[...]]} -> "reward": [...], "left"
 *
 * An evaluation that gets no answer is sent again with the same Idempotency-Key: the service counts it once. The
 * keys are numbers of samples. Set ARCHGYM_TOKEN where the service needs a token. A third argument seeds the climber.
 */
#define _POSIX_C_SOURCE 200809L
#include <ctype.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { PARAMETERS = 256, ATTEMPTS = 60, PATIENCE_S = 120 };

static const char *host, *port;
static char session[256], token[256]; /* empty until there is a session */

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "hill_climber: %s%s\n", what, detail);
    exit(1);
}

/* The whole answer to one request, to be freed; NULL if the service cannot be reached or hangs up early. */
static char *exchange(const char *text)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, port, &hints, &found))
        return NULL;
    int s = -1, connected = 0;
    for (struct addrinfo *at = found; at && !connected; at = at->ai_next) {
        if (s >= 0)
            close(s);
        s = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
        connected = s >= 0 && connect(s, at->ai_addr, at->ai_addrlen) == 0;
    }
    freeaddrinfo(found);
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);

    size_t sent = 0, length = strlen(text), used = 0, room = 1 << 16;
    char *answer = malloc(room), *body = NULL;
    while (connected && sent < length) {
        ssize_t n = write(s, text + sent, length - sent);
        if (n <= 0)
            break;
        sent += n;
    }
    for (ssize_t n = 1; connected && answer && n > 0; used += n > 0 ? n : 0) {
        if (used + 1 >= room)
            answer = realloc(answer, room *= 2);
        n = answer ? read(s, answer + used, room - used - 1) : -1;
    }
    if (s >= 0)
        close(s);
    if (answer) {
        answer[used] = 0;
        body = strstr(answer, "\r\n\r\n");
    }
    for (char *c = answer; body && c < body; c++) /* names of headers come in any case */
        *c = tolower(*c);
    char *announced = body ? strstr(answer, "content-length: ") : NULL;
    if (announced && strlen(body + 4) == strtoul(announced + 16, NULL, 10))
        return answer;
    free(answer); /* cut short */
    return NULL;
}

/* The status of a request and its JSON, to be freed. Without an answer it is sent again, more and more slowly. */
static int request(const char *method, const char *path, const char *json, const char *key, char **body)
{
    const char *secret = *token ? token : getenv("ARCHGYM_TOKEN");
    size_t size = strlen(json) + 2048 + (secret ? strlen(secret) : 0);
    char *text = malloc(size);
    snprintf(text, size,
             "%s %s HTTP/1.0\r\nHost: %s:%s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
             "%s%s%s%s%s%s\r\n%s",
             method, path, host, port, strlen(json), secret ? "Authorization: Bearer " : "", secret ? secret : "",
             secret ? "\r\n" : "", key ? "Idempotency-Key: " : "", key ? key : "", key ? "\r\n" : "", json);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        char *answer = exchange(text);
        int status = 0;
        if (answer && sscanf(answer, "http/%*s %d", &status) == 1 && status != 429 && status != 503) {
            *body = strdup(strstr(answer, "\r\n\r\n") + 4);
            free(answer);
            free(text);
            return status;
        }
        free(answer);
        long ms = attempt < 10 ? 20L << (attempt < 6 ? attempt : 6) : 2000;
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    }
    fail("expected an answer, got none; check that it runs at port ", port);
    return 0;
}

/* --- as much JSON as the answers need --- */

/* Where the value of a key begins; a quote within a text has a backslash, so that no text looks like a key. */
static const char *value_of(const char *json, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *found = strstr(json, quoted);
    if (!found)
        fail("expected an answer of archgym, got ", json);
    return found + strlen(quoted) + strspn(found + strlen(quoted), " [\"");
}

static void text_of(const char *json, const char *key, char *text, size_t size)
{
    const char *value = value_of(json, key);
    snprintf(text, size, "%.*s", (int)strcspn(value, "\""), value);
}

/* --- the agent --- */

static int n; /* parameters */
static long values[PARAMETERS];

/* The reward of a design, as sample number `sample`; `left` samples remain afterwards, or -1. */
static double evaluate(const long *design, long sample, long *left)
{
    char path[512], key[32], json[24 * PARAMETERS + 32] = "{\"indices\": [[", *body;
    for (int p = 0; p < n; p++)
        sprintf(json + strlen(json), "%s%ld", p ? "," : "", design[p]);
    strcat(json, "]]}");
    snprintf(path, sizeof path, "/sessions/%s/evaluate", session);
    snprintf(key, sizeof key, "sample-%ld", sample);
    if (request("POST", path, json, key, &body) != 200)
        fail("the service refused a design: ", body);
    double reward = atof(value_of(body, "reward"));
    const char *remaining = value_of(body, "left");
    *left = strncmp(remaining, "null", 4) ? atol(remaining) : -1;
    free(body);
    return reward;
}

int main(int count, char **arguments)
{
    if (count < 3)
        fail("usage: hill_climber HOST PORT [SEED]", "");
    host = arguments[1], port = arguments[2];
    srand(count > 3 ? strtoul(arguments[3], NULL, 10) : 0);
    signal(SIGPIPE, SIG_IGN); /* a service that goes away is no reason to end */

    char *body;
    if (request("GET", "/task", "", NULL, &body) != 200)
        fail("the service refused: ", body);
    for (const char *at = value_of(body, "nvec"); *at != ']'; at += strspn(at, ", ")) {
        if (n == PARAMETERS)
            fail("expected fewer parameters; raise PARAMETERS", "");
        values[n++] = strtol(at, (char **)&at, 10);
    }
    free(body);
    if (request("POST", "/sessions", "{\"agent\": \"hill_climber.c\"}", NULL, &body) != 201)
        fail("the service opens no session: ", body);
    text_of(body, "session", session, sizeof session);
    text_of(body, "token", token, sizeof token);
    free(body);

    long best[PARAMETERS] = {0}, design[PARAMETERS];
    double highest = 0;
    long left = 1, sample = 0;
    for (int p = 0; p < n; p++)
        best[p] = rand() % values[p];
    while (left != 0) { /* without a budget it climbs for ever */
        memcpy(design, best, sizeof best);
        for (int changes = sample > 0 ? 1 + rand() % 2 : 0; changes > 0; changes--) {
            int p = rand() % n;
            design[p] = rand() % values[p];
        }
        double reward = evaluate(design, sample++, &left);
        if (sample == 1 || reward >= highest) {
            highest = reward;
            memcpy(best, design, sizeof best);
        }
    }
    printf("%ld samples in session %s, best reward %.17g at", sample, session, highest);
    for (int p = 0; p < n; p++)
        printf(" %ld", best[p]);
    printf("\n");
    return 0;
}
