/* Calls the compiled pass with valid, bent and random arguments, each buffer as long as it says and no longer, under sanitizers.

   fuzz CALLS SEED; prints how many passes began, how many calls were accepted and refused, how many partials were given. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const uint8_t *validity, *data, *offsets;
    uint64_t validity_bytes, data_bytes, offsets_bytes;
} column;

void *bounded_new(const uint8_t *, uint64_t);
int bounded_units(void *, uint32_t, const column *);
int bounded_ordered(uint64_t, const column *, int32_t *);
int bounded_batch(void *, uint64_t, const column *, uint32_t);
int bounded_finish(void *, uint8_t *, uint64_t, uint64_t *);
void bounded_free(void *);

static uint64_t state;

static uint64_t any(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static uint64_t below(uint64_t most) { return any() % most; }

static uint64_t odd(void) {
    static const uint64_t some[] = {0, 1, 2, 3, 8, 255, 1024, 65535, 65536, 1u << 20, 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 62, 1ull << 63, ~0ull};
    return below(3) ? some[below(sizeof some / sizeof *some)] : any();
}

/* --- A specification, now and then with a word that is wrong. --- */

static uint8_t spec[4096];
static uint64_t spec_size;
static uint32_t keys, values, widths[8];

static void put(uint64_t value, int size) {
    if (!below(600)) value = odd();
    memcpy(spec + spec_size, &value, (size_t)size);
    spec_size += (uint64_t)size;
}

static void write_spec(void) {
    static const uint32_t sizes[] = {2, 4, 8};
    uint32_t measures = 1 + (uint32_t)below(5), sets = 1 + (uint32_t)below(3);
    keys = (uint32_t)below(4);
    values = 1 + (uint32_t)below(2);
    spec_size = 0;
    put(1, 4); put(keys, 4); put(values, 4); put(measures, 4); put(sets, 4); put(1 + below(4), 8); put(any(), 8); put(any(), 8);
    for (uint32_t i = 0; i < keys; i++) {
        uint32_t kind = (uint32_t)below(4), count = 2 + (uint32_t)below(5);
        widths[i] = kind == 3 ? 0 : sizes[below(3)];
        if (kind == 0 && below(2)) count = 0;
        put(kind, 4); put(widths[i], 4); put(kind == 3 ? 0 : kind == 1 ? 2 : count, 4); put(kind == 0 ? 8 : kind == 1 ? 1 : 6, 4);
        put(kind == 0 && count ? below(9) - 4 : 0, 8);
        for (uint32_t j = 0; kind == 2 && j < count; j++) {
            uint32_t size = (uint32_t)below(7);
            put(size, 4);
            for (uint32_t k = 0; k < size; k++) spec[spec_size++] = (uint8_t)('a' + below(3));
        }
    }
    for (uint32_t i = 0; i < measures; i++) {
        uint32_t kind = (uint32_t)below(7);
        int ranged = kind >= 3 && kind <= 5;
        put(kind, 4); put(kind == 1 || (kind == 0 && below(2)) ? 0xffffffff : below(values), 4); put(kind == 6 ? 1 + below(3) : 0, 4);
        put(kind == 3 || kind == 4 ? below(9) - 4 : 0, 8); put(ranged ? below(9) - 12 : 0, 8); put(ranged ? below(40) : 0, 8);
        put(kind == 5 ? 1 + below(5) : 0, 8);
    }
    for (uint32_t i = 0; i < sets; i++) { put(below(1u << keys), 4); put(1 + below(4), 4); put(below(20) ? 5000 : below(5), 4); put(below(20) ? 5000 : 0, 4); }
    if (!below(20)) spec_size = below(spec_size + 1);
    if (!below(50)) spec_size += below(20);
}

/* --- Columns in memory of exactly their length. --- */

static void *owned[64];
static int owners;

static uint8_t *memory(uint64_t size) {
    uint8_t *found = owned[owners++] = malloc(size ? size : 1);
    if (!found) exit(3);
    for (uint64_t i = 0; i < size; i++) found[i] = (uint8_t)any();
    return size ? found : NULL;
}

static void give_back(void) { while (owners) free(owned[--owners]); }

static column texts_of(uint64_t rows, uint64_t longest) {
    column c = {0};
    int32_t *offsets = (int32_t *)(void *)memory(4 * (rows + 1)), at = 0;
    for (uint64_t i = 0; i <= rows; i++) {
        offsets[i] = below(4000) ? at : (int32_t)odd();
        at += (int32_t)below(longest + 1);
    }
    c.data_bytes = (uint64_t)at;
    c.data = memory(c.data_bytes);
    for (uint64_t i = 0; i < c.data_bytes; i++) ((uint8_t *)owned[owners - 1])[i] = (uint8_t)('a' + any() % 3);
    c.offsets = (uint8_t *)offsets;
    c.offsets_bytes = 4 * (rows + 1);
    return c;
}

static column numbers_of(uint64_t rows, uint32_t width, uint64_t most) {
    column c = {0};
    uint8_t *data = memory(rows * width);
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t value = below(5000) ? below(most) : odd();
        memcpy(data + i * width, &value, width);
    }
    c.data = data;
    c.data_bytes = rows * width;
    return c;
}

static void bend(column *c, uint64_t rows) {
    if (below(2)) { c->validity_bytes = (rows + 7) / 8; c->validity = memory(c->validity_bytes); }
    if (below(600)) return;
    if (below(2)) { c->data_bytes = below(c->data_bytes + 1); if (!c->data_bytes) c->data = NULL; }
    else if (below(2)) c->offsets_bytes = below(c->offsets_bytes + 1);
    else c->validity_bytes = below(c->validity_bytes + 1);
}

int main(int arguments, char **words) {
    uint64_t calls = arguments > 1 ? strtoull(words[1], NULL, 10) : 1000, counts[4] = {0};
    state = arguments > 2 ? strtoull(words[2], NULL, 10) | 1 : 1;
    while (calls) {
        write_spec();
        uint8_t *exact = malloc(spec_size ? spec_size : 1);
        memcpy(exact, spec, spec_size);
        void *pass = bounded_new(exact, spec_size);
        free(exact);
        counts[0] += pass != NULL;
        uint32_t units = 0;
        int32_t last = 0;
        for (uint64_t left = 1 + below(30); left && calls; left--) {
            calls--;
            int code = 0;
            uint64_t turn = below(12);
            if (turn == 0 || left == 30) {
                units = (uint32_t)below(40);
                last = 0;
                column c = texts_of(units, 5);
                if (!below(80)) bend(&c, units);
                code = bounded_units(pass, units, below(50) ? &c : NULL);
            } else if (turn == 1) {
                uint64_t used = 0, room;
                code = bounded_finish(pass, NULL, 0, &used);
                if (code == 5) {
                    room = below(4) ? used : below(used + 1);
                    uint8_t *out = malloc(room ? room : 1);
                    code = bounded_finish(pass, out, room, &used);
                    counts[3] += code == 0;
                    free(out);
                }
            } else {
                uint64_t rows = below(20) ? below(60) : below(3000);
                column all[1 + 8 + 4];
                all[0] = numbers_of(rows, 4, 1);
                for (uint64_t i = 0; i < rows; i++) {
                    if (units && last < (int32_t)units - 1 && !below(4)) last++;
                    if (below(3000)) memcpy((uint8_t *)owned[owners - 1] + 4 * i, &last, 4);
                }
                bend(&all[0], rows);
                for (uint32_t i = 0; i < keys; i++) {
                    all[1 + i] = widths[i] ? numbers_of(rows, widths[i], 2) : texts_of(rows, 6);
                    bend(&all[1 + i], rows);
                }
                for (uint32_t i = 0; i < values; i++) {
                    all[1 + keys + i] = numbers_of(rows, 8, 40);
                    bend(&all[1 + keys + i], rows);
                }
                int32_t from = -1;
                if (rows) (void)bounded_ordered(rows, &all[0], &from);
                column *exact_columns = malloc(sizeof(column) * (1 + keys + values));
                memcpy(exact_columns, all, sizeof(column) * (1 + keys + values));
                code = bounded_batch(below(200) ? pass : NULL, rows, below(500) ? exact_columns : NULL, 1 + keys + values);
                free(exact_columns);
            }
            counts[code ? 2 : 1]++;
            give_back();
            if (code && below(3)) break;
        }
        bounded_free(pass);
    }
    printf("%llu %llu %llu %llu\n", (unsigned long long)counts[0], (unsigned long long)counts[1], (unsigned long long)counts[2], (unsigned long long)counts[3]);
    return 0;
}
