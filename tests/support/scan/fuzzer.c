/* The promises under coverage guidance, for clang -fsanitize=fuzzer; see tests/fuzz/scanner.py. */
#include "promises.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size ? size : 1); /* libFuzzer's own buffer may be larger than the input */
    CHECK(exact != NULL);
    if (size) memcpy(exact, data, size);
    scanner_holds(exact, size);
    free(exact);
    return 0;
}
