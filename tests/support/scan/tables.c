/* The scanner's tables of bytes, each beside a page that may not be touched; then heads at random. Exit status 0: all
 * held.
 *
 * Built and run by tests/unit/test_scanner.py and, for aarch64, by `make test-aarch64`. The argument is how many heads.
 */
#define _DEFAULT_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "promises.h"

/* --- pages ------------------------------------------------------------------------------------------------------- */

static size_t page; /* bytes; also those of the one page that is there, between two that are not */
static uint8_t *room;

static void make_room(void) {
    page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *pages = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    room = pages + page;
    CHECK(mprotect(room, page, PROT_READ | PROT_WRITE) == 0);
}

static const uint8_t *at_the_end(const void *data, size_t size) {
    CHECK(size <= page);
    return memcpy(room + page - size, data, size);
}

static const uint8_t *at_the_beginning(const void *data, size_t size) {
    CHECK(size <= page);
    return memcpy(room, data, size);
}

/* Each beginning of the data, at both ends of the page, holds what is promised. */
static void every_size_holds(const char *data, size_t size) {
    for (size_t part = 0; part <= size; part++) {
        scanner_holds(at_the_end(data, part), part);
        scanner_holds(at_the_beginning(data, part), part);
    }
}

/* --- tables ------------------------------------------------------------------------------------------------------ */

#define BYTES(text) text, sizeof(text) - 1
#define FILLER "0123456789abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijklmnopqrstuvwxyz"

static const struct {
    const char *data;
    size_t size;
    long head;
    int count, high;
} heads[] = {
    {BYTES(""), 0, 0, 0},
    {BYTES("G"), 0, 0, 0},
    {BYTES("GET / HTTP/1.0\r\n"), 0, 0, 0},
    {BYTES("GET / HTTP/1.0\r\n\r"), 0, 0, 0},
    {BYTES("GET / HTTP/1.0\r\n\r\n"), 18, 1, 0},
    {BYTES("GET / HTTP/1.0\r\n\r\n\r\n\0\n\r\x7f"), 18, 1, 0},
    {BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n"), 27, 2, 0},
    {BYTES("GET / HTTP/1.1\r\nHost:\ta\t\r\n\r\n\xff"), 28, 2, 0},
    {BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\r\n\r\n"), 34, 3, 1},
    {BYTES("GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"), 28, 2, 1},
    {BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: " FILLER "\r\nY: " FILLER "\r\n\r\n"), 183, 4, 0},
    {BYTES("\r"), -1, 0, 0},
    {BYTES("\n"), -1, 0, 0},
    {BYTES("\r\nGET / HTTP/1.1\r\n\r\n"), -1, 0, 0},
    {BYTES("GET / HTTP/1.1\n\n"), -1, 0, 0},
    {BYTES("GET / HTTP/1.1\r\r\n\r\n"), -1, 0, 0},
    {BYTES("GET / HTTP/1.1\r\n\r\r\n"), -1, 0, 0},
    {BYTES("GET / HTTP/1.1\r\n\n\r\n"), -1, 0, 0},
    {BYTES("GET / HTTP/1.1\r\nA: \0\r\n\r\n"), -1, 0, 0},
    {BYTES("GET / HTTP/1.1\r\nA: \x7f\r\n\r\n"), -1, 0, 0},
    {BYTES("GET / HTTP/1.1\r\nA: b\0"), -1, 0, 0},
    {BYTES("GET / HTTP/1.1\r\nA: b\0\n\r\n"), -1, 0, 0},
};

static const struct {
    const char *line;
    size_t size;
    int usual, method, target, path;
    int has_query, escaped, high, http11;
} request_lines[] = {
    {BYTES("GET / HTTP/1.1"), 1, 3, 1, 1, 0, 0, 0, 1},
    {BYTES("M / HTTP/1.0"), 1, 1, 1, 1, 0, 0, 0, 0},
    {BYTES("GET /a/b?c=%20&d HTTP/1.9"), 1, 3, 12, 4, 1, 0, 0, 1},
    {BYTES("POST /%41?x?y HTTP/1.0"), 1, 4, 8, 4, 1, 1, 0, 0},
    {BYTES("get /? HTTP/1.1"), 1, 3, 2, 1, 1, 0, 0, 1},
    {BYTES("GET /?\xe9 HTTP/1.1"), 1, 3, 3, 1, 1, 0, 1, 1},
    {BYTES("G!#$%&'*+-.^_`|~T //;:@[]\"\\<>{}|^` HTTP/1.1"), 1, 17, 16, 16, 0, 0, 0, 1},
    {BYTES("CONNECTED / HTTP/1.1"), 1, 9, 1, 1, 0, 0, 0, 1},
    {BYTES("connect / HTTP/1.1"), 1, 7, 1, 1, 0, 0, 0, 1},
    {BYTES("CONNECT / HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("CONNECT a:80 HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("OPTIONS * HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET http://a/ HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES(" / HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES(" /a HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("  / HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET  HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET  / HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET /  HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET / HTTP/1.1 "), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET\t/ HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET /a b HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET /#a HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET /?#a HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET /\x7f HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET /?\0 HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("G(T / HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("G\xc9T / HTTP/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET / HTTP/2.0"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET / HTTP/1."), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET / HTTP/1.x"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET / HTTP/1.11"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET / http/1.1"), 0, 0, 0, 0, 0, 0, 0, 0},
    {BYTES("GET /"), 0, 0, 0, 0, 0, 0, 0, 0},
};

static const struct {
    const char *path, *decoded;
    size_t size;
    int high;
} paths[] = {
    {"", "", 0, 0}, {"/a%20b", "/a b", 4, 0}, {"%41%4a%4A", "AJJ", 3, 0}, {"/%", "/%", 2, 0}, {"/%4", "/%4", 3, 0},
    {"%%41", "%A", 2, 0}, {"%4%41", "%4A", 3, 0}, {"%g1%1g", "%g1%1g", 6, 0}, {"%2541", "%41", 3, 0},
    {"%00", "\0", 1, 0}, {"%C3%a9", "\xc3\xa9", 2, 1}, {"\xe9%2f", "\xe9/", 2, 1}, {"%+1% 1", "%+1% 1", 6, 0},
};

static const struct {
    const char *name, *variable;
} names[] = {
    {"Host", "HTTP_HOST"}, {"x", "HTTP_X"}, {"X-Forwarded-For", "HTTP_X_FORWARDED_FOR"}, {"X--A-", "HTTP_X__A_"},
    {"Content-Type", "CONTENT_TYPE"}, {"cONTENT-lENGTH", "CONTENT_LENGTH"}, {"Content-Typ", "HTTP_CONTENT_TYP"},
    {"Content-Types", "HTTP_CONTENT_TYPES"}, {"Content.Type", "HTTP_CONTENT.TYPE"}, {"Proxy-", "HTTP_PROXY_"},
    {"!#$%&'*+-.^`|~09azAZ", "HTTP_!#$%&'*+_.^`|~09AZAZ"}, {"Transfer-Encoding", "HTTP_TRANSFER_ENCODING"},
    {"0123456789012345678901234567890123456789012345678901234567890123",
     "HTTP_0123456789012345678901234567890123456789012345678901234567890123"},
    {"01234567890123456789012345678901234567890123456789012345678901234", ""},
    {"", ""}, {"X_A", ""}, {"_", ""}, {"Proxy", ""}, {"pROXY", ""}, {"PROXY", ""}, {"Content_Type", ""}, {"A B", ""},
    {"A:", ""}, {" A", ""}, {"A\t", ""}, {"A(", ""}, {"\xe9", ""}, {"A\x7f", ""}, {"A{", ""}, {"@", ""}, {"[", ""},
};

static const struct {
    const char *value, *trimmed;
    int host, connection, length;
} values[] = {
    {"", "", 0, 0, -1}, {" ", "", 0, 0, -1}, {" \t a\t b \t", "a\t b", 0, 0, -1}, {"\xa0", "\xa0", 0, 0, -1},
    {"a", "a", 1, 0, -1}, {"a:", "a:", 1, 0, -1}, {"a:80", "a:80", 1, 0, -1}, {"a:80:80", "a:80:80", 0, 0, -1},
    {":80", ":80", 0, 0, -1}, {"a:b", "a:b", 0, 0, -1}, {"a:8 ", "a:8", 0, 0, -1}, {"[::1]", "[::1]", 0, 0, -1},
    {"a%41", "a%41", 0, 0, -1}, {"a_b-c.~d!$&'()*+,;=", "a_b-c.~d!$&'()*+,;=", 1, 0, -1}, {"a/b", "a/b", 0, 0, -1},
    {"a@b", "a@b", 0, 0, -1}, {"\xe9", "\xe9", 0, 0, -1}, {"a?", "a?", 0, 0, -1},
    {"127.0.0.1:8000", "127.0.0.1:8000", 1, 0, -1},
    {"close", "close", 1, 2, -1}, {"CLOSE", "CLOSE", 1, 2, -1}, {"cLose", "cLose", 1, 2, -1},
    {"close,", "close,", 1, 0, -1},
    {"keep-alive", "keep-alive", 1, 1, -1}, {"Keep-Alive", "Keep-Alive", 1, 1, -1},
    {"keep\ralive", "keep\ralive", 0, 0, -1},
    {"keep-aliv", "keep-aliv", 1, 0, -1}, {"keep-alive ", "keep-alive", 0, 0, -1}, {"upgrade", "upgrade", 1, 0, -1},
    {"0", "0", 1, 0, 0}, {"007", "007", 1, 0, 7}, {"999999999", "999999999", 1, 0, 999999999},
    {"1000000000", "1000000000", 1, 0, -1}, {"+1", "+1", 1, 0, -1}, {"-1", "-1", 1, 0, -1}, {"1.0", "1.0", 1, 0, -1},
    {"0x1", "0x1", 1, 0, -1}, {"1 1", "1 1", 0, 0, -1}, {"\xb2", "\xb2", 0, 0, -1}, {"1,1", "1,1", 1, 0, -1},
};

#define EACH(row, table) for (size_t row = 0; row < sizeof table / sizeof *table; row++)

static void tables_hold(void) {
    static uint32_t ends[MOST_LINES];
    EACH(row, heads) {
        int count = 0, high = 0;
        const uint8_t *data = at_the_end(heads[row].data, heads[row].size);
        CHECK(mw_scan_lines(data, heads[row].size, ends, MOST_LINES, &count, &high) == heads[row].head);
        CHECK(count == heads[row].count && high == heads[row].high);
        every_size_holds(heads[row].data, heads[row].size);
    }
    EACH(row, request_lines) {
        mw_line found = {0, 0, 0, 0, 0, 0, 0, 0};
        const uint8_t *line = at_the_end(request_lines[row].line, request_lines[row].size);
        CHECK(mw_request_line(line, request_lines[row].size, &found) == request_lines[row].usual);
        if (request_lines[row].usual) {
            CHECK((int)found.method_size == request_lines[row].method);
            CHECK((int)found.target_start == request_lines[row].method + 1);
            CHECK((int)found.target_size == request_lines[row].target);
            CHECK((int)found.path_size == request_lines[row].path);
            CHECK(found.has_query == request_lines[row].has_query);
            CHECK(found.escaped == request_lines[row].escaped);
            CHECK(found.high == request_lines[row].high);
            CHECK(found.http11 == request_lines[row].http11);
        }
        every_size_holds(request_lines[row].line, request_lines[row].size);
    }
    EACH(row, paths) {
        const size_t size = strlen(paths[row].path);
        uint8_t out[64];
        int high = UNTOUCHED;
        CHECK(mw_unescape(at_the_end(paths[row].path, size), size, out, &high) == paths[row].size);
        CHECK(memcmp(out, paths[row].decoded, paths[row].size) == 0 && high == paths[row].high);
        every_size_holds(paths[row].path, size);
    }
    EACH(row, names) {
        const size_t size = strlen(names[row].name);
        char out[MW_NAME_BYTES + 6];
        CHECK(mw_meta_variable(at_the_end(names[row].name, size), size, out) == strlen(names[row].variable));
        CHECK(memcmp(out, names[row].variable, strlen(names[row].variable)) == 0);
        every_size_holds(names[row].name, size);
    }
    EACH(row, values) {
        const size_t size = strlen(values[row].value);
        const uint8_t *value = at_the_end(values[row].value, size), *start = value, *end = value + size;
        CHECK(mw_host(value, size) == values[row].host);
        CHECK(mw_connection(value, size) == values[row].connection);
        CHECK(mw_content_length(value, size) == values[row].length);
        mw_trim(&start, &end);
        CHECK((size_t)(end - start) == strlen(values[row].trimmed));
        CHECK(memcmp(start, values[row].trimmed, strlen(values[row].trimmed)) == 0);
        every_size_holds(values[row].value, size);
    }
}

/* Each byte at each place of a head: all that the loads of 64, 16 and 8 bytes have edges for. */
static void every_byte_holds(void) {
    static const char head[] = "GET /?" FILLER " HTTP/1.1\r\nHost: a.example\r\nX-A: " FILLER "\r\n\r\n";
    const size_t size = sizeof head - 1;
    for (size_t at = 0; at < size; at++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t ends[8];
            int count;
            at_the_end(head, size);
            room[page - size + at] = (uint8_t)byte;
            lines_hold(room + page - size, size, 8, ends, &count);
        }
    }
    for (int byte = 0; byte < 256; byte++) {
        char method[] = "M / HTTP/1.1", target[] = "M /_ HTTP/1.1", query[] = "M /?_ HTTP/1.1";
        method[0] = target[3] = query[4] = (char)byte;
        request_line_holds((uint8_t *)method, sizeof method - 1);
        request_line_holds((uint8_t *)target, sizeof target - 1);
        request_line_holds((uint8_t *)query, sizeof query - 1);
        const uint8_t pair[] = {'a', (uint8_t)byte};
        meta_variable_holds(pair, 2);
        value_holds(pair, 2);
        value_holds(pair + 1, 1);
        const uint8_t escape[] = {'%', (uint8_t)byte, '1', '%', '1', (uint8_t)byte};
        unescape_holds(escape, 6);
    }
}

/* --- at random --------------------------------------------------------------------------------------------------- */

static uint64_t chance = 88172645463325252u; /* xorshift64 (Marsaglia): the same heads on each machine */

static size_t below(size_t limit) {
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return (size_t)(chance >> 11) % limit;
}

static void random_head_holds(void) {
    static const char *const pieces[] = {
        "\r\n", "\r\n\r\n", "\r", "\n", "GET / HTTP/1.1\r\n", "Host: a\r\n", ("X-A: " FILLER), "\r\nX-B:c\r\n", "\t",
        " ", ":", "%41", "?", "\xc3\xa9", FILLER, "\r\nAccept: */*\r\n",
    };
    uint8_t data[600];
    size_t size = 0;
    for (size_t count = below(14) + 1; count; count--) {
        const char *piece = pieces[below(sizeof pieces / sizeof *pieces)];
        size_t take = strlen(piece);
        if (below(4) == 0) take = below(take + 1);
        if (size + take > sizeof data) break;
        memcpy(data + size, piece, take);
        size += take;
    }
    if (size && below(4) == 0) data[below(size)] = (uint8_t)below(256);
    scanner_holds(below(2) ? at_the_end(data, size) : at_the_beginning(data, size), size);
}

int main(int arguments, char **values_given) {
    make_room();
    tables_hold();
    every_byte_holds();
    for (long count = arguments > 1 ? atol(values_given[1]) : 10000; count > 0; count--) random_head_holds();
    return 0;
}
