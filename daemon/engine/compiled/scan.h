/* The scanner of heads: bytes in, offsets and sizes out (RFC 9112, RFC 9110). No Python objects, no allocation.
 *
 * What is accepted here, the plain parser (http/head.py, http/connection.py) accepts too, with the same meaning.
 * Whatever is rare, doubtful or wrong is "look closer": the plain parser decides, so that nothing is refused in two
 * places. Limits are the caller's. Nothing outside of [data, data + size) is read.
 *
 * Lines are found 64 bytes at a time where there is SSE2, else 8 at a time in plain C; MINIWSGI_SCALAR chooses that.
 */
#ifndef MINIWSGI_SCAN_H
#define MINIWSGI_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* --- bytes ------------------------------------------------------------------------------------------------------- */

/* TOKEN: tchar (RFC 9110 section 5.6.2). TARGET: what a request target may hold; bytes above 0x7f are let through, as
 * in _REQUEST_LINE of http/head.py. HOST: reg-name (RFC 3986 section 3.2.2) without its percent-encoded octets. */
enum { MW_TOKEN = 1, MW_TARGET = 2, MW_HOST = 4 };

static const uint8_t mw_class[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* controls */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 7, 2, 1, 7, 3, 7, 7, 6, 6, 7, 7, 6, 7, 7, 2, /* SP ! " # $ % & ' ( ) * + , - . / */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 6, 2, 6, 2, 2, /* 0 to 9 : ; < = > ? */
    2, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, /* @ A to O */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 2, 2, 3, 7, /* P to Z [ \ ] ^ _ */
    3, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, /* ` a to o */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 3, 2, 7, 0, /* p to z { | } ~ DEL */
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, /* obs-text */
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
};

/* A byte of a field name, as the meta-variable has it: upper case, "-" as "_". 0: not in a name, or "_" itself. */
static const char mw_meta[256] = {
    0,   0,   0,   0,   0,   0,   0,   0,    0,   0,   0,   0,   0,   0,   0,   0,
    0,   0,   0,   0,   0,   0,   0,   0,    0,   0,   0,   0,   0,   0,   0,   0,
    0,   '!', 0,   '#', '$', '%', '&', '\'', 0,   0,   '*', '+', 0,   '_', '.', 0,
    '0', '1', '2', '3', '4', '5', '6', '7',  '8', '9', 0,   0,   0,   0,   0,   0,
    0,   'A', 'B', 'C', 'D', 'E', 'F', 'G',  'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O',
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W',  'X', 'Y', 'Z', 0,   0,   0,   '^', 0,
    '`', 'A', 'B', 'C', 'D', 'E', 'F', 'G',  'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O',
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W',  'X', 'Y', 'Z', 0,   '|', 0,   '~', 0,
};

static inline int mw_is_blank(uint8_t byte) { return byte == ' ' || byte == '\t'; }

/* The value of a hexadecimal digit, or -1. */
static inline int mw_hex(uint8_t byte) {
    if (byte >= '0' && byte <= '9') return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Whether the text is `lower`, a word in lower case, in any case. */
static inline int mw_is(const uint8_t *text, size_t size, const char *lower, size_t lower_size) {
    if (size != lower_size) return 0;
    for (size_t at = 0; at < size; at++) {
        uint8_t byte = text[at];
        if (byte >= 'A' && byte <= 'Z') byte |= 0x20;
        if (byte != (uint8_t)lower[at]) return 0;
    }
    return 1;
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

/* The same in plain C: eight bytes at a time are looked at for a control, and those with one byte by byte. */
static inline long mw_scan_lines_scalar(
    const uint8_t *data, size_t size, uint32_t *ends, int capacity, int *count, int *high) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t highs = 0;
    size_t at = 0, start = 0; /* of the line */
    int lines = 0;
    if (size > UINT32_MAX) return -1;
    while (at < size) {
        if (size - at >= 8) {
            uint64_t word, less, del;
            memcpy(&word, data + at, 8);
            less = (word - ones * 0x20) & ~word & tops; /* zero only if no byte is below 0x20 */
            del = word ^ ones * 0x7f;
            del = (del - ones) & ~del & tops; /* zero only if no byte is 0x7f */
            if (!(less | del)) {
                highs |= word & tops;
                at += 8;
                continue;
            }
        }
        /* No further than to the word's end, where whole words go on. */
        for (size_t end = size - at >= 8 ? at + 8 : size; at < end; at++) {
            uint8_t byte = data[at];
            if ((byte >= 0x20 && byte != 0x7f) || byte == '\t') {
                highs |= byte & 0x80;
                continue;
            }
            if (byte != '\r') return -1;
            if (at == start) { /* the empty line */
                if (!lines) return -1;
                if (at + 1 == size) return 0;
                if (data[at + 1] != '\n') return -1;
                *count = lines;
                *high = highs != 0;
                return (long)(at + 2);
            }
            if (lines >= capacity) return -1;
            ends[lines++] = (uint32_t)at;
            if (++at == size) return 0;
            if (data[at] != '\n') return -1;
            start = at + 1;
        }
    }
    return 0;
}

#ifdef __SSE2__

/* Of up to 64 bytes, bit by bit: controls but HTAB, DEL among them; and whether any is above 0x7f. */
typedef struct {
    uint64_t controls;
    int high;
} mw_block;

static inline void mw_look(mw_block *block, const uint8_t *bytes, unsigned drop, unsigned shift) {
    const __m128i v = _mm_loadu_si128((const __m128i *)bytes);
    const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
    const __m128i controls = _mm_or_si128(
        _mm_andnot_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\t')), low), _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
    block->controls |= (uint64_t)((unsigned)_mm_movemask_epi8(controls) >> drop) << shift;
    block->high |= _mm_movemask_epi8(v) >> drop;
}

/* The block from `at` on. Its last few bytes are read once more together with those in front of them, so that nothing
 * behind them is read. */
static inline mw_block mw_block_of(const uint8_t *data, size_t at, size_t size) {
    mw_block block = {0, 0};
    if (size - at >= 64) {
        for (unsigned part = 0; part < 64; part += 16) mw_look(&block, data + at + part, 0, part);
        return block;
    }
    unsigned part = 0, here = (unsigned)(size - at);
    for (; here - part >= 16; part += 16) mw_look(&block, data + at + part, 0, part);
    if (part == here) return block;
    if (size >= 16) {
        mw_look(&block, data + size - 16, 16 - (here - part), part);
        return block;
    }
    uint8_t padded[16];
    memset(padded, ' ', sizeof padded);
    memcpy(padded, data, size);
    mw_look(&block, padded, 0, 0);
    return block;
}

static inline long mw_scan_lines_sse2(
    const uint8_t *data, size_t size, uint32_t *ends, int capacity, int *count, int *high) {
    size_t start = 0; /* of the line */
    int lines = 0, highs = 0;
    if (size > UINT32_MAX) return -1;
    for (size_t at = 0; at < size; at += 64) {
        mw_block block = mw_block_of(data, at, size);
        uint64_t controls = block.controls;
        if (start > at) controls &= ~UINT64_C(1); /* the LF of a CR that ended the block before */
        while (controls) {
            const size_t end = at + (size_t)__builtin_ctzll(controls);
            if (data[end] != '\r') return -1;
            if (end == start) { /* the empty line */
                if (!lines) return -1;
                if (end + 1 == size) return 0;
                if (data[end + 1] != '\n') return -1;
                if (block.high) { /* in front of the end, or behind it? */
                    while (at < end) highs |= data[at++] & 0x80;
                }
                *count = lines;
                *high = highs != 0;
                return (long)(end + 2);
            }
            if (lines >= capacity) return -1;
            ends[lines++] = (uint32_t)end;
            if (end + 1 == size) return 0;
            if (data[end + 1] != '\n') return -1;
            start = end + 2;
            controls &= controls - 1; /* CR and LF */
            controls &= controls - 1;
        }
        highs |= block.high;
    }
    return 0;
}

#endif

/* Where the lines of a head end: ends[k] is the offset of line k's CR, line 0 is the request line. Returns the size of
 * the head with its empty line; 0: its end is not here; -1: look closer (a CR or LF by itself, another control but
 * HTAB, DEL, an empty first line, more than `capacity` lines, 4 GiB). *count is the number of lines without the empty
 * one; *high: some byte of the head is above 0x7f; both are set only where the size is returned. */
static inline long mw_scan_lines(
    const uint8_t *data, size_t size, uint32_t *ends, int capacity, int *count, int *high) {
#if defined(__SSE2__) && !defined(MINIWSGI_SCALAR)
    return mw_scan_lines_sse2(data, size, ends, capacity, count, high);
#else
    return mw_scan_lines_scalar(data, size, ends, capacity, count, high);
#endif
}

/* --- the request line -------------------------------------------------------------------------------------------- */

/* Sizes and offsets are of the line. path_size: of the target, up to "?" or its end. escaped: a "%" in the path.
 * high: a byte above 0x7f in the target. http11: the minor version is not 0. */
typedef struct {
    uint32_t method_size, target_start, target_size, path_size;
    uint8_t has_query, escaped, high, http11;
} mw_line;

/* 1: method SP "/"… SP HTTP/1.DIGIT (RFC 9112 section 3; `line` is without its CRLF), `found` is filled. 0: look
 * closer: malformed, another form of target (section 3.2), CONNECT, another major version. */
static inline int mw_request_line(const uint8_t *line, size_t size, mw_line *found) {
    static const char version[] = {' ', 'H', 'T', 'T', 'P', '/', '1', '.'};
    if (size < sizeof "M / HTTP/1.1" - 1 || size > UINT32_MAX) return 0;
    const uint8_t minor = line[size - 1];
    const size_t end = size - 9; /* of the target */
    if (memcmp(line + end, version, sizeof version) != 0 || minor < '0' || minor > '9') return 0;
    size_t at = 0;
    while (at < end && mw_class[line[at]] & MW_TOKEN) at++;
    if (!at || at + 1 >= end || line[at] != ' ' || line[at + 1] != '/') return 0;
    if (at == 7 && memcmp(line, "CONNECT", 7) == 0) return 0;
    found->method_size = (uint32_t)at;
    const size_t start = ++at;
    uint8_t every = MW_TARGET, some = 0;
    unsigned escaped = 0;
    for (; at < end && line[at] != '?'; at++) {
        every &= mw_class[line[at]];
        some |= line[at];
        escaped |= line[at] == '%';
    }
    found->target_start = (uint32_t)start;
    found->target_size = (uint32_t)(end - start);
    found->path_size = (uint32_t)(at - start);
    found->has_query = at < end;
    for (; at < end; at++) {
        every &= mw_class[line[at]];
        some |= line[at];
    }
    found->escaped = (uint8_t)escaped;
    found->high = some >> 7;
    found->http11 = minor != '0';
    return every != 0;
}

/* Percent-decode once, as urllib.parse.unquote_to_bytes: what is no escape stays as it is. `out` has room for `size`
 * bytes. Returns how many were written; *high: one of them is above 0x7f. */
static inline size_t mw_unescape(const uint8_t *path, size_t size, uint8_t *out, int *high) {
    size_t written = 0;
    uint8_t some = 0;
    for (size_t at = 0; at < size; at++) {
        uint8_t byte = path[at];
        if (byte == '%' && size - at > 2) {
            int first = mw_hex(path[at + 1]), second = mw_hex(path[at + 2]);
            if (first >= 0 && second >= 0) {
                byte = (uint8_t)(first << 4 | second);
                at += 2;
            }
        }
        some |= byte;
        out[written++] = byte;
    }
    *high = some >> 7;
    return written;
}

/* --- fields ------------------------------------------------------------------------------------------------------ */

enum { MW_NAME_BYTES = 64 };

/* The meta-variable of a field (RFC 3875 section 4.1.18: HTTP_X_Y, CONTENT_TYPE, CONTENT_LENGTH) into `out`, which has
 * room for size + 5 bytes; no NUL behind it. Returns its size; 0: look closer (no token, "_", Proxy, > 64 bytes). */
static inline size_t mw_meta_variable(const uint8_t *name, size_t size, char *out) {
    if (!size || size > MW_NAME_BYTES) return 0;
    memcpy(out, "HTTP_", 5);
    char *key = out + 5;
    for (size_t at = 0; at < size; at++) {
        if (!(key[at] = mw_meta[name[at]])) return 0;
    }
    if (size == 5 && memcmp(key, "PROXY", 5) == 0) return 0;
    if ((size == 12 && memcmp(key, "CONTENT_TYPE", 12) == 0) ||
        (size == 14 && memcmp(key, "CONTENT_LENGTH", 14) == 0)) {
        memmove(out, key, size);
        return size;
    }
    return size + 5;
}

/* A value without the blanks around it (OWS, RFC 9110 section 5.6.3). */
static inline void mw_trim(const uint8_t **start, const uint8_t **end) {
    while (*start < *end && mw_is_blank(**start)) ++*start;
    while (*start < *end && mw_is_blank((*end)[-1])) --*end;
}

/* 1: uri-host [ ":" port ] (RFC 9110 section 7.2); the host is not empty, escaped or an IP-literal. 0: look closer. */
static inline int mw_host(const uint8_t *value, size_t size) {
    size_t at = 0;
    while (at < size && mw_class[value[at]] & MW_HOST) at++;
    if (!at) return 0;
    if (at < size && value[at++] != ':') return 0;
    while (at < size && value[at] >= '0' && value[at] <= '9') at++;
    return at == size;
}

/* A Connection field of one token (RFC 9110 section 7.6.1), in any case: 1: keep-alive, 2: close. 0: look closer. */
static inline int mw_connection(const uint8_t *value, size_t size) {
    if (mw_is(value, size, "keep-alive", 10)) return 1;
    return mw_is(value, size, "close", 5) ? 2 : 0;
}

/* Content-Length = 1*DIGIT (RFC 9110 section 8.6), at most nine of them. -1: look closer. */
static inline int64_t mw_content_length(const uint8_t *value, size_t size) {
    int64_t length = 0;
    if (!size || size > 9) return -1;
    for (size_t at = 0; at < size; at++) {
        if (value[at] < '0' || value[at] > '9') return -1;
        length = length * 10 + (value[at] - '0');
    }
    return length;
}

#endif
