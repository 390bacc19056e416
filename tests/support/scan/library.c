/* The scanner as a shared library, for tests/support/scanning.py: functions that are in a header have no address. */
#include <setjmp.h>

#define BROKEN_PROMISES_RETURN
#include "promises.h"

static jmp_buf caller;
static char said[300];

static void broken(const char *file, int line, const char *promise) {
    snprintf(said, sizeof said, "%s:%d: broken: %s", file, line, promise);
    longjmp(caller, 1);
}

/* The promise of promises.h that these bytes break, or NULL. */
const char *broken_promise(const uint8_t *data, size_t size) {
    if (setjmp(caller)) return said; /* what was allocated meanwhile is lost: it is a test that has failed */
    scanner_holds(data, size);
    return NULL;
}

long scan_lines(const uint8_t *data, size_t size, uint32_t *ends, int capacity, int *count, int *high) {
    return mw_scan_lines(data, size, ends, capacity, count, high);
}

int request_line(const uint8_t *line, size_t size, mw_line *found) { return mw_request_line(line, size, found); }

size_t unescape(const uint8_t *path, size_t size, uint8_t *out, int *high) {
    return mw_unescape(path, size, out, high);
}

size_t meta_variable(const uint8_t *name, size_t size, char *out) { return mw_meta_variable(name, size, out); }

/* Moves *start and *size. */
void trim(const uint8_t *data, size_t *start, size_t *size) {
    const uint8_t *first = data + *start, *end = first + *size;
    mw_trim(&first, &end);
    *start = (size_t)(first - data);
    *size = (size_t)(end - first);
}

int host(const uint8_t *value, size_t size) { return mw_host(value, size); }
int connection(const uint8_t *value, size_t size) { return mw_connection(value, size); }
int64_t content_length(const uint8_t *value, size_t size) { return mw_content_length(value, size); }
