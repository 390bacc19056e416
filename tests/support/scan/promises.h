/* What scan.h promises for any bytes, checked against the grammar once more: slowly, byte by byte, without its tables.
 *
 * `scanner_holds` is what the fuzzer, the tables and the tests in Python call. A promise that is broken ends the
 * process with the line that says which, unless BROKEN_PROMISES_RETURN says that `broken` is the includer's. Buffers are
 * as large as the documentation says and no larger, so that a sanitizer sees whatever is read or written outside.
 */
#ifndef MINIWSGI_SCAN_PROMISES_H
#define MINIWSGI_SCAN_PROMISES_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "scan.h"

#define CHECK(condition) ((condition) ? (void)0 : broken(__FILE__, __LINE__, #condition))

enum { MOST_LINES = 300, UNTOUCHED = -77 };

#ifndef BROKEN_PROMISES_RETURN
static inline void broken(const char *file, int line, const char *promise) {
    fprintf(stderr, "%s:%d: broken: %s\n", file, line, promise);
    abort();
}
#else
static void broken(const char *file, int line, const char *promise);
#endif

/* --- the grammar, once more -------------------------------------------------------------------------------------- */

static inline int is_one_of(uint8_t byte, const char *text) { return byte && strchr(text, byte) != NULL; }
static inline int is_alphanumeric(uint8_t byte) { return byte < 0x80 && isalnum(byte); } /* in the C locale */
static inline int is_control(uint8_t byte) { return byte != '\t' && (byte < 0x20 || byte == 0x7f); }
static inline int is_token(uint8_t byte) { return is_alphanumeric(byte) || is_one_of(byte, "!#$%&'*+-.^_`|~"); }
static inline int is_target(uint8_t byte) { return byte > ' ' && byte != 0x7f && byte != '#'; }
static inline int is_host(uint8_t byte) { return is_alphanumeric(byte) || is_one_of(byte, "-._~!$&'()*+,;="); }

static inline int any_high(const uint8_t *data, size_t size) {
    for (size_t at = 0; at < size; at++) {
        if (data[at] >= 0x80) return 1;
    }
    return 0;
}

/* As mw_scan_lines. */
static inline long expected_lines(
    const uint8_t *data, size_t size, uint32_t *ends, int capacity, int *count, int *high) {
    size_t head = 0, lines = 0;
    while (head + 4 <= size && memcmp(data + head, "\r\n\r\n", 4) != 0) head++;
    const int whole = head + 4 <= size;
    const size_t looked_at = whole ? head + 4 : size;
    if (looked_at && data[0] == '\r') return -1;
    for (size_t at = 0; at < looked_at; at++) {
        if (data[at] == '\n' && (!at || data[at - 1] != '\r')) return -1;
        if (data[at] == '\r') {
            if (at + 1 < size && data[at + 1] != '\n') return -1;
            if (data[at - 1] == '\n') continue; /* the empty line */
            if (lines == (size_t)capacity) return -1;
            ends[lines++] = (uint32_t)at;
        } else if (data[at] != '\n' && is_control(data[at])) {
            return -1;
        }
    }
    if (!whole) return 0;
    *count = (int)lines;
    *high = any_high(data, looked_at);
    return (long)looked_at;
}

/* As mw_request_line. */
static inline int expected_request_line(const uint8_t *line, size_t size) {
    size_t first = 0, last = size;
    while (first < size && line[first] != ' ') first++;
    while (last > 0 && line[last - 1] != ' ') last--; /* behind the last space */
    if (first == size || last < first + 3 || size - last != 8) return 0;
    for (size_t at = 0; at < first; at++) {
        if (!is_token(line[at])) return 0;
    }
    for (size_t at = first + 1; at < last - 1; at++) {
        if (!is_target(line[at])) return 0;
    }
    return first && line[first + 1] == '/' && memcmp(line + last, "HTTP/1.", 7) == 0 && isdigit(line[last + 7]) &&
           !(first == 7 && memcmp(line, "CONNECT", 7) == 0);
}

/* --- the promises ------------------------------------------------------------------------------------------------ */

typedef long (*lines_function)(const uint8_t *, size_t, uint32_t *, int, int *, int *);

/* The lines found by each implementation that there is are those that are expected. Returns the head's size. */
static inline long lines_hold(const uint8_t *data, size_t size, int capacity, uint32_t *ends, int *count) {
    static const lines_function functions[] = {
        mw_scan_lines,
        mw_scan_lines_scalar,
#ifdef __SSE2__
        mw_scan_lines_sse2,
#endif
    };
    static uint32_t expected[MOST_LINES];
    const size_t bytes = (size_t)capacity * sizeof *ends;
    int expected_count = UNTOUCHED, expected_high = UNTOUCHED;
    const long head = expected_lines(data, size, expected, capacity, &expected_count, &expected_high);
    for (size_t number = 0; number < sizeof functions / sizeof *functions; number++) {
        uint32_t *found = malloc(bytes ? bytes : 1);
        int found_count = UNTOUCHED, high = UNTOUCHED;
        CHECK(found != NULL);
        CHECK(functions[number](data, size, found, capacity, &found_count, &high) == head);
        CHECK(found_count == expected_count && high == expected_high);
        if (head > 0) {
            const size_t used = (size_t)found_count * sizeof *found;
            CHECK(memcmp(found, expected, used) == 0);
            memcpy(ends, found, used);
            *count = found_count;
        }
        free(found);
    }
    return head;
}

static inline void request_line_holds(const uint8_t *line, size_t size) {
    mw_line found = {0, 0, 0, 0, 0, 0, 0, 0};
    const int usual = mw_request_line(line, size, &found);
    CHECK(usual == expected_request_line(line, size));
    if (!usual) return;
    const size_t end = (size_t)found.target_start + found.target_size;
    const uint8_t *target = line + found.target_start;
    const uint8_t *query = memchr(target, '?', found.target_size);
    CHECK(found.method_size + 1 == found.target_start && end + 9 == size);
    CHECK(found.path_size >= 1 && found.path_size <= found.target_size);
    CHECK(found.has_query == (query != NULL));
    CHECK(found.path_size == (query ? (size_t)(query - target) : found.target_size));
    CHECK(found.escaped == (memchr(target, '%', found.path_size) != NULL));
    CHECK(found.high == any_high(target, found.target_size));
    CHECK(found.http11 == (line[size - 1] != '0'));
}

static inline void unescape_holds(const uint8_t *path, size_t size) {
    uint8_t *out = malloc(size ? size : 1);
    int high = UNTOUCHED;
    CHECK(out != NULL);
    const size_t written = mw_unescape(path, size, out, &high);
    CHECK(written <= size && high == any_high(out, written));
    size_t at = 0;
    for (size_t number = 0; number < written; number++) {
        if (path[at] == '%' && size - at >= 3 && isxdigit(path[at + 1]) && isxdigit(path[at + 2])) {
            const char digits[] = {(char)path[at + 1], (char)path[at + 2], 0};
            CHECK(out[number] == strtol(digits, NULL, 16));
            at += 3;
        } else {
            CHECK(out[number] == path[at++]);
        }
    }
    CHECK(at == size);
    free(out);
}

static inline void meta_variable_holds(const uint8_t *name, size_t size) {
    char *out = malloc(size + 5);
    CHECK(out != NULL);
    const size_t written = mw_meta_variable(name, size, out);
    int usual = size && size <= MW_NAME_BYTES;
    for (size_t at = 0; at < size; at++) usual = usual && is_token(name[at]) && name[at] != '_';
    if (usual && size == 5 && toupper(name[0]) == 'P' && toupper(name[1]) == 'R' && toupper(name[2]) == 'O') {
        usual = !(toupper(name[3]) == 'X' && toupper(name[4]) == 'Y');
    }
    CHECK((written != 0) == (usual != 0));
    if (written) {
        const size_t prefix = written - size;
        CHECK(prefix == 0 || (prefix == 5 && memcmp(out, "HTTP_", 5) == 0));
        for (size_t at = 0; at < size; at++) {
            CHECK(out[prefix + at] == (name[at] == '-' ? '_' : (char)toupper(name[at])));
        }
        const int content = (size == 12 && memcmp(out + prefix, "CONTENT_TYPE", size) == 0) ||
                            (size == 14 && memcmp(out + prefix, "CONTENT_LENGTH", size) == 0);
        CHECK(content == (prefix == 0));
    }
    free(out);
}

static inline void value_holds(const uint8_t *value, size_t size) {
    const uint8_t *start = value, *end = value + size;
    mw_trim(&start, &end);
    CHECK(value <= start && start <= end && end <= value + size);
    for (const uint8_t *at = value; at < value + size; at++) {
        if (at < start || at >= end) CHECK(*at == ' ' || *at == '\t');
    }
    CHECK(start == end || !(is_one_of(*start, " \t") || is_one_of(end[-1], " \t")));

    size_t host = 0, port;
    while (host < size && is_host(value[host])) host++;
    port = host;
    if (port < size && value[port] == ':') {
        do port++;
        while (port < size && isdigit(value[port]));
    }
    CHECK(mw_host(value, size) == (host && port == size));

    char text[16] = "";
    if (size < sizeof text) {
        for (size_t at = 0; at < size; at++) text[at] = (char)tolower(value[at]);
        if (memchr(text, 0, size)) text[0] = 0;
    }
    CHECK(mw_connection(value, size) == (strcmp(text, "keep-alive") == 0 ? 1 : strcmp(text, "close") == 0 ? 2 : 0));

    int64_t length = size && size <= 9 ? 0 : -1;
    for (size_t at = 0; at < size && length >= 0; at++) {
        length = isdigit(value[at]) ? length * 10 + (value[at] - '0') : -1;
    }
    CHECK(mw_content_length(value, size) == length);
}

/* All functions, on these bytes as they are and, if they are a head, on its parts. */
static inline void scanner_holds(const uint8_t *data, size_t size) {
    static uint32_t ends[MOST_LINES];
    int count = 0;
    const long head = lines_hold(data, size, MOST_LINES, ends, &count);
    lines_hold(data, size, size ? data[size - 1] % 8 : 0, ends, &count);
    request_line_holds(data, size);
    unescape_holds(data, size);
    meta_variable_holds(data, size);
    value_holds(data, size);
    if (head <= 0) return;
    /* What is behind the head does not matter; without its last bytes there is none. */
    CHECK(count > 0);
    for (size_t less = 1; less <= 4; less++) CHECK(lines_hold(data, (size_t)head - less, count, ends, &count) == 0);
    for (size_t less = 15; less <= 65 && less <= (size_t)head; less += 16) {
        CHECK(lines_hold(data, (size_t)head - less, count, ends, &count) == 0);
    }
    CHECK(lines_hold(data, size, count - 1, ends, &count) == -1);
    CHECK(lines_hold(data, (size_t)head, count, ends, &count) == head);
    CHECK(ends[count - 1] + 4 == head);
    request_line_holds(data, ends[0]);
    for (int number = 1; number < count; number++) {
        const uint8_t *line = data + ends[number - 1] + 2, *end = data + ends[number];
        CHECK(line < end);
        for (const uint8_t *at = line; at < end; at++) CHECK(!is_control(*at));
        const uint8_t *colon = memchr(line, ':', (size_t)(end - line));
        if (!colon) continue;
        meta_variable_holds(line, (size_t)(colon - line));
        const uint8_t *value = colon + 1;
        value_holds(value, (size_t)(end - value));
        mw_trim(&value, &end);
        value_holds(value, (size_t)(end - value));
    }
}

#endif
