/* Decides what each privacy unit contributes to each group: Arrow columns in, the bytes of one partial out.

   docs/proofs/bounding.md argues from what is said here; tests/unit/test_query_kernel.py holds the slow version in Python.
   aggregate.py packs the specification and checks every buffer before it comes here; what costs nothing is checked again.

   A unit's contribution is a function of its own rows and the seed:
     group   of a row: the canonical bytes of its key values; for each u8 0 (NULL), or u8 1, u32 BE length, bytes. Codes are addresses
             only: they never enter a hash.
     choice  of a unit with more than L0 groups: the L0 with the least (rank, bytes), where
             rank = SipHash-2-4(RANK, SipHash(UNIT, unit's text) || SipHash(GROUP, bytes)), words little-endian.
     parts   of a kept group with n rows, of which h hold a value v clamped to [low, high]:
             units 1 (with a value: 1 if h > 0), rows min(n, cap), nonnull min(h, cap),
             sum S of v - centre, squares S of (v - centre)^2, bins S = rows in the bin: S if h <= cap, else floor(S * cap / h),
             distinct: the k values with the least SipHash(SAMPLE, unit's || group's hash || value as 8 bytes BE), ties by the bytes.
   Keys 0.. of SipHash are (SipHash(seed, u8 2i), SipHash(seed, u8 2i + 1)).

   Memory is linear in L0, in groups that some unit kept, and (bins) in the rows of one unit: of a unit's other groups few are held at a time.
   Every error leaves the pass refusing all that follows. No globals, no callbacks, no library but malloc and memcpy. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "partials and SipHash words are little-endian"
#endif
#ifndef RANK_BITS
#define RANK_BITS 64 /* tests make ranks collide */
#endif

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 unsigned_wide;

enum { OK, ORDER_BROKEN, MALFORMED, TOO_MANY_GROUPS, NO_MEMORY, NO_ROOM };
enum { KEY_INTEGER, KEY_TRUTH, KEY_CODE, KEY_TEXT };
enum { UNITS, ROWS, NONNULL, SUM, SQUARES, BINS, DISTINCT };
enum { UNIT, GROUP, RANK, SAMPLE, VALUE, VALUE_2, ADDRESS, SIP_KEYS };
enum { MAX_KEYS = 16, MAX_VALUES = 64, MAX_MEASURES = 64, MAX_SETS = 16, MAX_CELLS = 1 << 20, MAX_BINS = 1024, MAX_SAMPLE = 1024, CHUNK = 256, WAITING = 64 };
enum { MAX_KEY_BYTES = 65535, VALUE_HEAD = 5 };
#define VERSION 1u
#define NONE UINT32_MAX
#define REJECTED (UINT32_MAX - 1)
#define LARGEST (((int64_t)1 << 62) - 1)
#define MAX_MEMORY ((uint64_t)1 << 34) /* of one array; below it no product of sizes wraps */

typedef struct {
    const uint8_t *validity, *data, *offsets;
    uint64_t validity_bytes, data_bytes, offsets_bytes;
} column;

typedef struct {
    uint32_t kind, width, count, max_bytes; /* width 0: text; count 0: any whole number */
    int64_t low;
    uint32_t *starts; /* codes: count + 1 offsets into texts */
    uint8_t *texts;
} key;

typedef struct {
    uint32_t kind, value, k, columns, column, lane, sample; /* sample: where its values begin in an entry's samples */
    int64_t centre, low, high, cap;
    uint64_t step;
} measure;

typedef struct { /* a group of the current unit */
    uint64_t address, hash; /* hash 0: not known yet */
    int64_t rows;
    uint32_t cell, size, next, log;
} entry;

typedef struct { uint64_t rank; uint32_t entry; } place;
typedef struct { int64_t held; wide sum; } part;
typedef struct { uint64_t rank, value; } sample;
typedef struct { uint32_t next, column; } note;            /* one row in one bin */
typedef struct { uint64_t address, at; uint32_t size; } group; /* a group that some unit kept; its bytes in the arena */
typedef struct { uint64_t high, low; uint32_t group, measure; } record;

typedef struct {
    uint32_t keys[MAX_KEYS], width, cells, most, room, limit, key_room; /* cells 0: by bytes */
    uint64_t record_limit;
    int32_t unit;
    uint64_t unit_hash;
    int unit_hashed;
    /* the current unit */
    entry *entries;
    part *parts;
    sample *samples;
    place *order; /* entries in use, the first `ranked` with their rank, then free ones */
    uint32_t *sampled, used, ranked, last;
    uint8_t *texts;
    uint32_t *slot, *rejected, rejects; /* by cell; which cells were let go */
    uint32_t *head, mask;              /* by bytes: chains of entries */
    note *notes;
    uint64_t notes_used, notes_room;
    /* all units */
    uint64_t *cell_hash;
    uint32_t *cell_group;
    group *groups;
    uint64_t groups_used, groups_room, totals_room;
    wide *totals;
    uint8_t *arena;
    uint64_t arena_used, arena_room;
    uint32_t *table;
    uint64_t table_size;
    record *records;
    uint64_t records_used, records_room;
    uint32_t *record_table;
    uint64_t record_table_size;
} set;

typedef struct { int64_t held, value; } cut; /* of one row in one lane: 1 if there is a value, and what it adds */

typedef struct {
    uint64_t sip[SIP_KEYS][2];
    uint32_t keys, values, measures, sets, columns, samples, lanes, listed; /* listed: measures that keep more than a sum */
    int64_t cap;
    key key[MAX_KEYS];
    measure measure[MAX_MEASURES];
    uint32_t lane[MAX_MEASURES]; /* the measure whose values a lane adds; measures that only count share one */
    cut *cuts;  /* of one chunk: row by row, lane by lane */
    uint32_t *measure_of;
    int64_t *counts;
    set set[MAX_SETS];
    int failed, needs_texts;
    uint64_t rows;
    uint32_t units;
    int32_t last_unit;
    int32_t *offsets;
    uint8_t *texts;
    uint64_t offsets_room, texts_room;
    uint8_t scratch[2][MAX_KEY_BYTES];
} pass;

/* --- Bytes. ------------------------------------------------------------------------------------------------------- */

#define TURN(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
typedef struct { uint64_t a, b, c, d; } sip;

static inline sip sip_begun(const uint64_t k[2]) {
    return (sip){k[0] ^ 0x736f6d6570736575u, k[1] ^ 0x646f72616e646f6du, k[0] ^ 0x6c7967656e657261u, k[1] ^ 0x7465646279746573u};
}

static inline sip sip_turned(sip s, int rounds) {
    while (rounds--) {
        s.a += s.b; s.c += s.d; s.b = TURN(s.b, 13) ^ s.a; s.d = TURN(s.d, 16) ^ s.c; s.a = TURN(s.a, 32);
        s.c += s.b; s.a += s.d; s.b = TURN(s.b, 17) ^ s.c; s.d = TURN(s.d, 21) ^ s.a; s.c = TURN(s.c, 32);
    }
    return s;
}

static inline sip sip_word(sip s, uint64_t m) {
    s.d ^= m;
    s = sip_turned(s, 2);
    s.a ^= m;
    return s;
}

static inline uint64_t sip_ended(sip s, uint64_t last) {
    s = sip_word(s, last);
    s.c ^= 0xff;
    s = sip_turned(s, 4);
    return s.a ^ s.b ^ s.c ^ s.d;
}

static uint64_t siphash(const uint64_t k[2], const uint8_t *data, uint64_t size) {
    uint64_t i, m, last = size << 56;
    sip s = sip_begun(k);
    for (i = 0; size - i >= 8; i += 8) { memcpy(&m, data + i, 8); s = sip_word(s, m); }
    for (; i < size; i++) last |= (uint64_t)data[i] << (8 * (i & 7));
    return sip_ended(s, last);
}

static inline uint64_t siphash_words(const uint64_t k[2], const uint64_t *words, uint32_t count) {
    sip s = sip_begun(k);
    for (uint32_t i = 0; i < count; i++) s = sip_word(s, words[i]);
    return sip_ended(s, (uint64_t)(8 * count) << 56);
}

/* Where a key lies in the tables: an address and nothing else, keyed so that no data can make their chains long. */
static inline uint64_t address_of(const pass *p, const uint8_t *data, uint64_t size) {
    const uint64_t *k = p->sip[ADDRESS];
    uint64_t found = k[0] ^ size, m;
    for (; size >= 8; data += 8, size -= 8) {
        memcpy(&m, data, 8);
        unsigned_wide product = (unsigned_wide)(m ^ k[1]) * (found ^ 0x9e3779b97f4a7c15u);
        found = (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    for (m = 0; size--;) m = m << 8 | data[size];
    unsigned_wide product = (unsigned_wide)(m ^ k[1]) * (found ^ 0x9e3779b97f4a7c15u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline void put_be32(uint8_t *at, uint32_t value) { value = __builtin_bswap32(value); memcpy(at, &value, 4); }
static inline void put_be64(uint8_t *at, uint64_t value) { value = __builtin_bswap64(value); memcpy(at, &value, 8); }

static int compared(const uint8_t *a, uint32_t a_size, const uint8_t *b, uint32_t b_size) {
    uint32_t both = a_size < b_size ? a_size : b_size;
    int found = both ? memcmp(a, b, both) : 0;
    return found ? found : (a_size > b_size) - (a_size < b_size);
}

static int grown(void *pointer, uint64_t *room, uint64_t need, uint64_t each) {
    void *memory;
    uint64_t more = *room ? *room : 64;
    if (need <= *room) return 1;
    if (need > MAX_MEMORY / each) return 0;
    while (more < need) more *= 2;
    memcpy(&memory, pointer, sizeof memory);
    if (!(memory = realloc(memory, more * each))) return 0;
    memcpy(pointer, &memory, sizeof memory);
    *room = more;
    return 1;
}

static void *zeros(uint64_t count, uint64_t each) { return count > MAX_MEMORY / each ? NULL : calloc(count ? count : 1, each); }

static uint32_t *nones(uint64_t count) {
    uint32_t *found = zeros(count, 4);
    if (found) memset(found, 255, count * 4);
    return found;
}

/* A stable merge sort of indices. */
static void sort(uint32_t *order, uint32_t *spare, uint64_t count, const void *of, int (*before)(const void *, uint32_t, uint32_t)) {
    for (uint64_t run = 1; run < count; run *= 2) {
        for (uint64_t low = 0; low < count; low += 2 * run) {
            uint64_t middle = low + run < count ? low + run : count, high = low + 2 * run < count ? low + 2 * run : count;
            for (uint64_t at = low, i = low, j = middle; at < high; at++)
                spare[at] = i < middle && (j >= high || !before(of, order[j], order[i])) ? order[i++] : order[j++];
        }
        memcpy(order, spare, count * 4);
    }
}

/* --- Keys. -------------------------------------------------------------------------------------------------------- */

static inline int holds(const column *c, uint64_t row) { return !c->validity || (c->validity[row >> 3] >> (row & 7) & 1); }

static inline int64_t whole(const column *c, uint64_t row, uint32_t width) {
    int16_t small; int32_t middle; int64_t large;
    if (width == 2) { memcpy(&small, c->data + 2 * row, 2); return small; }
    if (width == 4) { memcpy(&middle, c->data + 4 * row, 4); return middle; }
    memcpy(&large, c->data + 8 * row, 8);
    return large;
}

static uint32_t put_whole(const key *k, int64_t value, uint8_t *out) {
    uint32_t size;
    if (k->kind == KEY_CODE) {
        size = k->starts[value + 1] - k->starts[value];
        if (size) memcpy(out + VALUE_HEAD, k->texts + k->starts[value], size);
    } else {
        if (k->kind == KEY_TRUTH) out[VALUE_HEAD] = (uint8_t)value;
        else put_be64(out + VALUE_HEAD, (uint64_t)value);
        size = k->kind == KEY_TRUTH ? 1 : 8;
    }
    out[0] = 1;
    put_be32(out + 1, size);
    return VALUE_HEAD + size;
}

/* The canonical bytes of a cell: mixed radix, the first key most significant, NULL the last digit. */
static uint32_t cell_bytes(const pass *p, const set *s, uint32_t cell, uint8_t *out) {
    uint32_t digits[MAX_KEYS], size = 0;
    for (uint32_t i = s->width; i--;) {
        uint32_t radix = p->key[s->keys[i]].count + 1;
        digits[i] = cell % radix;
        cell /= radix;
    }
    for (uint32_t i = 0; i < s->width; i++) {
        const key *k = &p->key[s->keys[i]];
        if (digits[i] == k->count) out[size++] = 0;
        else size += put_whole(k, k->low + (int64_t)digits[i], out + size);
    }
    return size;
}

/* Cells of some rows; REJECTED where a number is outside its declared range. */
static int cells_of(const pass *p, const set *s, const column *keys, uint64_t from, uint32_t rows, uint32_t *cell) {
    memset(cell, 0, rows * 4);
    for (uint32_t j = 0; j < s->width; j++) {
        const key k = p->key[s->keys[j]];
        const column c = keys[s->keys[j]];
        for (uint32_t i = 0; i < rows; i++) {
            uint64_t digit = k.count;
            if (holds(&c, from + i)) {
                digit = (uint64_t)whole(&c, from + i, k.width) - (uint64_t)k.low;
                if (digit >= k.count) {
                    if (k.kind != KEY_INTEGER) return MALFORMED;
                    cell[i] = REJECTED;
                }
            }
            if (cell[i] != REJECTED) cell[i] = cell[i] * (k.count + 1) + (uint32_t)digit;
        }
    }
    return OK;
}

/* Canonical bytes of one row; *size NONE where a number is outside its declared range. */
static int row_bytes(const pass *p, const set *s, const column *keys, uint64_t row, uint8_t *out, uint32_t *size) {
    uint32_t at = 0;
    for (uint32_t j = 0; j < s->width; j++) {
        const key *k = &p->key[s->keys[j]];
        const column *c = &keys[s->keys[j]];
        if (!holds(c, row)) { out[at++] = 0; continue; }
        if (k->kind == KEY_TEXT) {
            int32_t start, end;
            memcpy(&start, c->offsets + 4 * row, 4);
            memcpy(&end, c->offsets + 4 * row + 4, 4);
            if (start < 0 || end < start || (uint64_t)end > c->data_bytes || (uint32_t)(end - start) > k->max_bytes) return MALFORMED;
            out[at] = 1;
            put_be32(out + at + 1, (uint32_t)(end - start));
            if (end > start) memcpy(out + at + VALUE_HEAD, c->data + start, (uint32_t)(end - start));
            at += VALUE_HEAD + (uint32_t)(end - start);
            continue;
        }
        int64_t value = whole(c, row, k->width);
        if (k->count && (uint64_t)value - (uint64_t)k->low >= k->count) {
            if (k->kind != KEY_INTEGER) return MALFORMED;
            *size = NONE;
            return OK;
        }
        at += put_whole(k, value, out + at);
    }
    *size = at;
    return OK;
}

/* --- Choice of groups (R1). --------------------------------------------------------------------------------------- */

static const uint8_t *entry_bytes(pass *p, const set *s, uint32_t e, int scratch, uint32_t *size) {
    if (!s->cells) { *size = s->entries[e].size; return s->texts + (uint64_t)e * s->key_room; }
    *size = cell_bytes(p, s, s->entries[e].cell, p->scratch[scratch]);
    return p->scratch[scratch];
}

static uint64_t unit_hash(pass *p, set *s) {
    if (!s->unit_hashed) {
        uint32_t start = (uint32_t)p->offsets[s->unit], size = (uint32_t)p->offsets[s->unit + 1] - start;
        s->unit_hash = siphash(p->sip[UNIT], p->texts + start, size);
        s->unit_hashed = 1;
    }
    return s->unit_hash;
}

static uint64_t group_hash(pass *p, set *s, uint32_t e) {
    entry *found = &s->entries[e];
    if (found->hash) return found->hash; /* a hash that is 0 is computed each time */
    if (s->cells && (found->hash = s->cell_hash[found->cell])) return found->hash;
    uint32_t size;
    const uint8_t *bytes = entry_bytes(p, s, e, 0, &size);
    found->hash = siphash(p->sip[GROUP], bytes, size);
    if (s->cells) s->cell_hash[found->cell] = found->hash;
    return found->hash;
}

static int later(pass *p, const set *s, uint32_t a, uint32_t b) {
    uint32_t a_size, b_size;
    const uint8_t *first = entry_bytes(p, s, a, 0, &a_size), *second = entry_bytes(p, s, b, 1, &b_size);
    return compared(first, a_size, second, b_size) > 0;
}

static inline int worse(pass *p, const set *s, place a, place b) {
    return a.rank != b.rank ? a.rank > b.rank : later(p, s, a.entry, b.entry);
}

/* Restores the heap of the first `most` in s->order, whose first is the worst, after the one at `at` has changed. */
static inline void sift(pass *p, set *s, uint32_t at) {
    place *heap = s->order, moved = heap[at];
    for (uint32_t child; (child = 2 * at + 1) < s->most; at = child) {
        if (child + 1 < s->most && worse(p, s, heap[child + 1], heap[child])) child++;
        if (!worse(p, s, heap[child], moved)) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* Brings the L0 groups of least rank to the front of s->order. */
static void chosen(pass *p, set *s) {
    const sip unit = sip_word(sip_begun(p->sip[RANK]), unit_hash(p, s));
    place *order = s->order;
    for (uint32_t i = s->ranked; i < s->used; i++) {
        uint64_t hash = s->cells ? s->cell_hash[s->entries[order[i].entry].cell] : 0;
        if (!hash) hash = group_hash(p, s, order[i].entry);
        order[i].rank = sip_ended(sip_word(unit, hash), (uint64_t)16 << 56) >> (64 - RANK_BITS);
    }
    for (uint32_t i = s->most / 2; i--;) sift(p, s, i);
    for (uint32_t i = s->most; i < s->used; i++) {
        if (!worse(p, s, order[0], order[i])) continue;
        place worst = order[0];
        order[0] = order[i];
        order[i] = worst;
        sift(p, s, 0);
    }
}

/* Makes room: lets go of all groups of the unit but the chosen. One that returns is worse than those, and goes again. */
static void let_go(pass *p, set *s) {
    chosen(p, s);
    for (uint32_t i = s->most; i < s->used; i++) {
        const uint32_t e = s->order[i].entry;
        if (s->cells) {
            s->slot[s->entries[e].cell] = REJECTED;
            s->rejected[s->rejects++] = s->entries[e].cell;
        } else {
            uint32_t *link = &s->head[s->entries[e].address & s->mask];
            while (*link != e) link = &s->entries[*link].next;
            *link = s->entries[e].next;
        }
    }
    s->used = s->ranked = s->most;
    s->last = NONE;
}

/* An empty entry for a group that the current unit has not got. */
static uint32_t new_entry(pass *p, set *s) {
    if (s->used == s->room) let_go(p, s);
    uint32_t e = s->order[s->used++].entry;
    s->entries[e] = (entry){.log = NONE};
    part *at = s->parts + (uint64_t)e * p->lanes;
    for (const part *end = at + p->lanes; at < end; at++) *at = (part){0, 0};
    if (p->samples) memset(s->sampled + (uint64_t)e * p->measures, 0, p->measures * 4);
    return e;
}

static uint32_t entry_of_cell(pass *p, set *s, uint32_t cell) {
    uint32_t e = s->slot[cell];
    if (e != NONE) return e;
    e = new_entry(p, s);
    s->entries[e].cell = cell;
    return s->slot[cell] = e;
}

static uint32_t entry_of_bytes(pass *p, set *s, uint32_t size) {
    const uint8_t *bytes = p->scratch[0];
    uint32_t e = s->last;
    if (e != NONE && s->entries[e].size == size && !memcmp(s->texts + (uint64_t)e * s->key_room, bytes, size)) return e;
    uint64_t address = address_of(p, bytes, size);
    for (e = s->head[address & s->mask]; e != NONE; e = s->entries[e].next)
        if (s->entries[e].address == address && s->entries[e].size == size && !memcmp(s->texts + (uint64_t)e * s->key_room, bytes, size))
            return s->last = e;
    e = new_entry(p, s);
    s->entries[e].address = address;
    s->entries[e].size = size;
    memcpy(s->texts + (uint64_t)e * s->key_room, bytes, size);
    s->entries[e].next = s->head[address & s->mask];
    s->head[address & s->mask] = e;
    return s->last = e;
}

/* --- One row. ----------------------------------------------------------------------------------------------------- */

/* What each lane takes from some rows: 1, a value clamped and centred (squared), its bin, or itself. */
static void cut_rows(pass *p, const column *values, uint64_t from, uint32_t rows) {
    for (uint32_t j = 0; j < p->lanes; j++) {
        const measure m = p->measure[p->lane[j]];
        const column c = values[m.value];
        const uint32_t step = p->lanes;
        cut *end = p->cuts + (uint64_t)rows * step + j, *out;
        for (out = p->cuts + j; out < end; out += step) *out = (cut){1, 1};
        if (m.kind > NONNULL) {
            const uint8_t *at = c.data + 8 * from;
            for (out = p->cuts + j; out < end; out += step, at += 8) memcpy(&out->value, at, 8);
        }
        if (m.kind > NONNULL && m.kind < DISTINCT) {
            const int64_t low = m.low, high = m.high, centre = m.centre;
            for (out = p->cuts + j; out < end; out += step) {
                int64_t value = out->value;
                value = value < low ? low : value;
                value = value > high ? high : value;
                out->value = value - centre;
            }
        }
        if (m.kind == SQUARES)
            for (out = p->cuts + j; out < end; out += step) out->value *= out->value;
        if (m.kind == BINS)
            for (out = p->cuts + j; out < end; out += step) out->value = (int64_t)(((uint64_t)out->value - (uint64_t)m.low) / m.step);
        if (c.validity)
            for (uint32_t i = 0; i < rows; i++)
                if (!holds(&c, from + i)) p->cuts[(uint64_t)i * step + j] = (cut){0, 0};
    }
}

static void sampled(pass *p, set *s, uint32_t e, uint32_t m, uint64_t value) {
    sample *kept = s->samples + (uint64_t)e * p->samples + p->measure[m].sample;
    uint32_t *count = s->sampled + (uint64_t)e * p->measures + m, low = 0, high = *count;
    uint64_t words[3] = {unit_hash(p, s), group_hash(p, s, e), __builtin_bswap64(value)};
    uint64_t rank = siphash_words(p->sip[SAMPLE], words, 3) >> (64 - RANK_BITS);
    while (low < high) {
        uint32_t at = (low + high) / 2;
        if (kept[at].rank == rank && kept[at].value == value) return;
        if (kept[at].rank < rank || (kept[at].rank == rank && kept[at].value < value)) low = at + 1;
        else high = at;
    }
    if (low == p->measure[m].k) return;
    if (*count < p->measure[m].k) ++*count;
    memmove(kept + low + 1, kept + low, (*count - 1 - low) * sizeof *kept);
    kept[low] = (sample){rank, value};
}

/* Bins are noted and distinct values sampled, row by row. */
static int listed(pass *p, set *s, uint32_t e, const cut *cuts) {
    for (uint32_t m = 0; m < p->measures; m++) {
        const cut found = cuts[p->measure[m].lane];
        if (p->measure[m].kind < BINS || !found.held) continue;
        if (p->measure[m].kind == DISTINCT) { sampled(p, s, e, m, (uint64_t)found.value); continue; }
        if (s->notes_used >= NONE || !grown(&s->notes, &s->notes_room, s->notes_used + 1, sizeof(note))) return NO_MEMORY;
        s->notes[s->notes_used] = (note){s->entries[e].log, p->measure[m].column + (uint32_t)found.value};
        s->entries[e].log = (uint32_t)s->notes_used++;
    }
    return OK;
}

/* --- One unit: its kept groups are added to the totals. ----------------------------------------------------------- */

static wide scaled(wide sum, int64_t held, int64_t cap) {
    if (held <= cap) return sum;
    wide quotient = sum * cap / held;
    return quotient - (quotient * held > sum * cap); /* C truncates: a quotient above the exact one is one too many */
}

static int same_group(const set *s, const group *g, uint64_t address, const uint8_t *bytes, uint32_t size) {
    return g->address == address && g->size == size && (!size || !memcmp(s->arena + g->at, bytes, size));
}

/* The index of a group among those that count, added if it is new. */
static int kept_group(pass *p, set *s, uint32_t e, uint32_t *index) {
    uint64_t address = s->entries[e].address, at = 0;
    if (s->cells && (*index = s->cell_group[s->entries[e].cell]) != NONE) return OK;
    if (!s->cells) {
        if (2 * (s->groups_used + 1) > s->table_size) {
            uint64_t size = s->table_size ? 2 * s->table_size : 256;
            uint32_t *table = nones(size);
            if (!table) return NO_MEMORY;
            for (uint32_t i = 0; i < s->groups_used; i++) {
                for (at = s->groups[i].address & (size - 1); table[at] != NONE;) at = (at + 1) & (size - 1);
                table[at] = i;
            }
            free(s->table);
            s->table = table;
            s->table_size = size;
        }
        const uint8_t *bytes = s->texts + (uint64_t)e * s->key_room;
        for (at = address & (s->table_size - 1); (*index = s->table[at]) != NONE; at = (at + 1) & (s->table_size - 1))
            if (same_group(s, &s->groups[*index], address, bytes, s->entries[e].size)) return OK;
    }
    uint32_t size;
    const uint8_t *bytes = entry_bytes(p, s, e, 0, &size);
    if (s->groups_used >= s->limit) return TOO_MANY_GROUPS;
    if (!grown(&s->groups, &s->groups_room, s->groups_used + 1, sizeof(group))) return NO_MEMORY;
    if (!grown(&s->totals, &s->totals_room, (s->groups_used + 1) * p->columns, sizeof(wide))) return NO_MEMORY;
    if (!grown(&s->arena, &s->arena_room, s->arena_used + size, 1)) return NO_MEMORY;
    *index = (uint32_t)s->groups_used++;
    if (size) memcpy(s->arena + s->arena_used, bytes, size);
    s->groups[*index] = (group){address, s->arena_used, size};
    s->arena_used += size;
    if (p->columns) memset(s->totals + (uint64_t)*index * p->columns, 0, p->columns * sizeof(wide));
    if (s->cells) s->cell_group[s->entries[e].cell] = *index;
    else s->table[at] = *index;
    return OK;
}

static uint64_t record_at(const set *s, const record *r) {
    uint64_t at = (r->high ^ r->group * 0x9e3779b97f4a7c15u ^ r->measure) & (s->record_table_size - 1);
    for (uint32_t i; (i = s->record_table[at]) != NONE; at = (at + 1) & (s->record_table_size - 1)) {
        const record *other = &s->records[i];
        if (other->high == r->high && other->low == r->low && other->group == r->group && other->measure == r->measure) break;
    }
    return at;
}

static int recorded(pass *p, set *s, uint32_t index, uint32_t m, uint64_t value) {
    uint64_t canonical = __builtin_bswap64(value), at;
    record found = {siphash_words(p->sip[VALUE], &canonical, 1), siphash_words(p->sip[VALUE_2], &canonical, 1), index, m};
    if (2 * (s->records_used + 1) > s->record_table_size) {
        uint64_t size = s->record_table_size ? 2 * s->record_table_size : 256;
        uint32_t *table = nones(size);
        if (!table) return NO_MEMORY;
        free(s->record_table);
        s->record_table = table;
        s->record_table_size = size;
        for (uint32_t i = 0; i < s->records_used; i++) s->record_table[record_at(s, &s->records[i])] = i;
    }
    if (s->record_table[at = record_at(s, &found)] != NONE) return OK;
    if (s->records_used >= s->record_limit) return TOO_MANY_GROUPS;
    if (!grown(&s->records, &s->records_room, s->records_used + 1, sizeof(record))) return NO_MEMORY;
    s->records[s->records_used] = found;
    s->record_table[at] = (uint32_t)s->records_used++;
    return OK;
}

static int contributed(pass *p, set *s, uint32_t e) {
    const part *parts = s->parts + (uint64_t)e * p->lanes;
    uint32_t index;
    int problem = kept_group(p, s, e, &index);
    if (problem) return problem;
    wide *totals = s->totals + (uint64_t)index * p->columns;
    for (uint32_t m = 0; m < p->measures; m++) {
        const measure *of = &p->measure[m];
        int64_t held = of->value == NONE ? s->entries[e].rows : parts[of->lane].held;
        if (of->kind <= NONNULL) totals[of->column] += held < of->cap ? held : of->cap;
        else if (of->kind <= SQUARES) totals[of->column] += scaled(parts[of->lane].sum, held, of->cap);
    }
    if (!p->listed) return OK;
    for (uint32_t m = 0; m < p->measures; m++) {
        if (p->measure[m].kind != DISTINCT) continue;
        const sample *kept = s->samples + (uint64_t)e * p->samples + p->measure[m].sample;
        for (uint32_t i = 0; i < s->sampled[(uint64_t)e * p->measures + m]; i++)
            if ((problem = recorded(p, s, index, m, kept[i].value))) return problem;
    }
    for (uint32_t i = s->entries[e].log; i != NONE; i = s->notes[i].next) p->counts[s->notes[i].column]++;
    for (uint32_t i = s->entries[e].log; i != NONE; i = s->notes[i].next) {
        uint32_t c = s->notes[i].column;
        if (p->counts[c]) totals[c] += scaled(p->counts[c], parts[p->measure[p->measure_of[c]].lane].held, p->cap);
        p->counts[c] = 0;
    }
    return OK;
}

static int unit_ended(pass *p, set *s) {
    const uint32_t kept = s->used < s->most ? s->used : s->most;
    if (s->used > kept) chosen(p, s);
    for (uint32_t i = 0; i < kept; i++) {
        int problem = contributed(p, s, s->order[i].entry);
        if (problem) return problem;
    }
    for (uint32_t i = 0; i < s->used; i++) {
        const entry *of = &s->entries[s->order[i].entry];
        if (s->cells) s->slot[of->cell] = NONE;
        else s->head[of->address & s->mask] = NONE;
    }
    for (uint32_t i = 0; i < s->rejects; i++) s->slot[s->rejected[i]] = NONE;
    s->used = s->ranked = s->rejects = 0;
    s->notes_used = 0;
    s->unit_hashed = 0;
    s->last = NONE;
    s->unit = -1;
    return OK;
}

/* --- The specification. ------------------------------------------------------------------------------------------- */

typedef struct { const uint8_t *at; uint64_t left; int short_; } reader;

static void take(reader *r, void *out, uint64_t size) {
    if (size > r->left) { r->short_ = 1; memset(out, 0, size); return; }
    if (size) memcpy(out, r->at, size);
    r->at += size;
    r->left -= size;
}

static uint32_t take32(reader *r) { uint32_t found; take(r, &found, 4); return found; }
static uint64_t take64(reader *r) { uint64_t found; take(r, &found, 8); return found; }

static int read_key(reader *r, key *k) {
    k->kind = take32(r);
    k->width = take32(r);
    k->count = take32(r);
    k->max_bytes = take32(r);
    k->low = (int64_t)take64(r);
    if (r->short_ || k->kind > KEY_TEXT || k->count >= MAX_CELLS || k->max_bytes > MAX_KEY_BYTES) return 0;
    if (k->kind == KEY_TEXT) return !k->width && !k->count && !k->low;
    if (k->width != 2 && k->width != 4 && k->width != 8) return 0;
    if (k->kind == KEY_INTEGER) return k->max_bytes == 8 && (k->count ? k->low <= INT64_MAX - (int64_t)k->count : !k->low);
    if (k->low || !k->count) return 0;
    if (k->kind == KEY_TRUTH) return k->count == 2 && k->max_bytes == 1;
    uint64_t room = 0;
    if (!(k->starts = zeros((uint64_t)k->count + 1, 4))) return 0;
    for (uint32_t i = 0; i < k->count; i++) {
        uint32_t size = take32(r);
        if (r->short_ || size > k->max_bytes || size > r->left || k->starts[i] > UINT32_MAX / 2) return 0;
        k->starts[i + 1] = k->starts[i] + size;
        if (!grown(&k->texts, &room, (uint64_t)k->starts[i + 1] + 1, 1)) return 0;
        take(r, k->texts + k->starts[i], size);
    }
    return !r->short_;
}

static int read_measure(reader *r, pass *p, uint32_t index) {
    measure *m = &p->measure[index];
    m->kind = take32(r);
    m->value = take32(r);
    m->k = take32(r);
    m->centre = (int64_t)take64(r);
    m->low = (int64_t)take64(r);
    m->high = (int64_t)take64(r);
    m->step = take64(r);
    if (r->short_ || m->kind > DISTINCT) return 0;
    if (m->value == NONE ? m->kind > ROWS : m->kind == ROWS || m->value >= p->values) return 0;
    if (m->kind == DISTINCT ? !m->k || m->k > MAX_SAMPLE : m->k) return 0;
    m->columns = m->kind == DISTINCT ? 0 : 1;
    if (m->kind >= SUM && m->kind <= BINS) {
        if (m->low > m->high || m->low < -LARGEST || m->high > LARGEST || m->centre < -LARGEST || m->centre > LARGEST) return 0;
        wide below = (wide)m->centre - m->low, above = (wide)m->high - m->centre;
        wide reach = (below < 0 ? -below : below) > (above < 0 ? -above : above) ? below : above;
        if (reach < 0) reach = -reach;
        if (m->kind == BINS) {
            uint64_t last = m->step ? ((uint64_t)m->high - (uint64_t)m->low) / m->step : MAX_BINS;
            if (last >= MAX_BINS || m->centre) return 0;
            m->columns = (uint32_t)last + 1;
        } else if (m->step || reach > LARGEST / p->cap || (m->kind == SQUARES && reach && reach > LARGEST / p->cap / reach)) return 0;
    } else if (m->low || m->high || m->centre || m->step) return 0;
    m->column = p->columns;
    m->sample = p->samples;
    p->columns += m->columns;
    p->samples += m->k;
    m->cap = m->kind == UNITS ? 1 : p->cap;
    if (m->value != NONE) {
        for (m->lane = 0; m->lane < p->lanes; m->lane++) { /* a count takes the lane of any other count of its column */
            const measure *other = &p->measure[p->lane[m->lane]];
            if (m->kind <= NONNULL && other->kind <= NONNULL && other->value == m->value) break;
        }
        if (m->lane == p->lanes) p->lane[p->lanes++] = index;
    }
    p->listed += m->kind >= BINS;
    return p->columns <= UINT16_MAX;
}

static int read_set(reader *r, pass *p, set *s) {
    uint64_t cells = 1, room = 0;
    uint32_t mask = take32(r);
    s->most = take32(r);
    s->limit = take32(r);
    s->record_limit = take32(r);
    if (r->short_ || mask >> p->keys || !s->most || s->most > MAX_CELLS || !s->limit || s->limit >= REJECTED || s->record_limit >= REJECTED) return 0;
    for (uint32_t i = 0; i < p->keys; i++) {
        if (!(mask >> i & 1)) continue;
        const key *k = &p->key[i];
        s->keys[s->width++] = i;
        room += VALUE_HEAD + k->max_bytes;
        cells = k->count && cells ? cells * (k->count + 1) : 0;
        if (cells > MAX_CELLS) cells = 0;
    }
    if (room > MAX_KEY_BYTES) return 0;
    s->key_room = (uint32_t)room;
    s->cells = (uint32_t)cells;
    if (cells && s->most > cells) s->most = (uint32_t)cells;
    p->needs_texts |= !cells || s->most < cells || p->samples;
    s->unit = -1;
    s->last = NONE;
    s->room = cells && cells < 2 * (uint64_t)s->most + WAITING ? (uint32_t)cells : 2 * s->most + WAITING;
    uint64_t entries = s->room, heads = 1;
    while (heads < entries) heads *= 2;
    s->mask = (uint32_t)heads - 1;
    s->entries = zeros(entries, sizeof(entry));
    s->order = zeros(entries, sizeof(place));
    for (uint32_t i = 0; s->order && i < s->room; i++) s->order[i].entry = i;
    s->parts = zeros(entries * p->lanes, sizeof(part));
    s->sampled = zeros(p->samples ? entries * p->measures : 0, 4);
    s->samples = zeros(entries * p->samples, sizeof(sample));
    s->texts = zeros(cells ? 0 : entries * s->key_room, 1);
    s->head = nones(cells ? 0 : heads);
    s->slot = nones(cells);
    s->rejected = zeros(cells, 4);
    s->cell_hash = zeros(cells, 8);
    s->cell_group = nones(cells);
    return s->entries && s->order && s->parts && s->sampled && s->samples && s->texts && s->head && s->slot && s->rejected && s->cell_hash && s->cell_group;
}

void bounded_free(void *state) {
    pass *p = state;
    if (!p) return;
    for (uint32_t i = 0; i < MAX_KEYS; i++) { free(p->key[i].starts); free(p->key[i].texts); }
    for (uint32_t i = 0; i < MAX_SETS; i++) {
        set *s = &p->set[i];
        void *all[] = {s->entries, s->parts, s->samples, s->sampled, s->order, s->texts, s->slot, s->rejected, s->head, s->notes, s->cell_hash,
                       s->cell_group, s->groups, s->totals, s->arena, s->table, s->records, s->record_table};
        for (uint32_t j = 0; j < sizeof all / sizeof *all; j++) free(all[j]);
    }
    free(p->measure_of);
    free(p->counts);
    free(p->cuts);
    free(p->offsets);
    free(p->texts);
    free(p);
}

/* A pass for this specification (aggregate.specification says its bytes); NULL where it is refused or memory is short. */
void *bounded_new(const uint8_t *specification, uint64_t size) {
    reader r = {specification, specification ? size : 0, 0};
    uint64_t seed[2], cap;
    pass *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    uint32_t version = take32(&r);
    p->keys = take32(&r);
    p->values = take32(&r);
    p->measures = take32(&r);
    p->sets = take32(&r);
    cap = take64(&r);
    seed[0] = take64(&r);
    seed[1] = take64(&r);
    int good = !r.short_ && version == VERSION && p->keys <= MAX_KEYS && p->values <= MAX_VALUES && p->measures && p->measures <= MAX_MEASURES;
    good = good && p->sets && p->sets <= MAX_SETS && cap && cap <= UINT32_MAX;
    p->cap = (int64_t)cap;
    for (uint8_t i = 0; i < 2 * SIP_KEYS; i++) p->sip[i / 2][i % 2] = siphash(seed, &i, 1);
    for (uint32_t i = 0; good && i < p->keys; i++) good = read_key(&r, &p->key[i]);
    for (uint32_t i = 0; good && i < p->measures; i++) good = read_measure(&r, p, i);
    for (uint32_t i = 0; good && i < p->sets; i++) good = read_set(&r, p, &p->set[i]);
    good = good && !r.left && (p->measure_of = zeros(p->columns, 4)) && (p->counts = zeros(p->columns, 8)) && (p->cuts = zeros(CHUNK * p->lanes, sizeof(cut)));
    for (uint32_t m = 0; good && m < p->measures; m++)
        for (uint32_t c = 0; c < p->measure[m].columns; c++) p->measure_of[p->measure[m].column + c] = m;
    if (good) return p;
    bounded_free(p);
    return NULL;
}

/* --- Blocks and batches. ------------------------------------------------------------------------------------------ */

static int block_ended(pass *p) {
    for (uint32_t i = 0; i < p->sets; i++) {
        int problem = unit_ended(p, &p->set[i]);
        if (problem) return p->failed = problem;
    }
    p->units = 0;
    p->last_unit = -1;
    return OK;
}

static int is_whole(const column *c, uint64_t rows, uint32_t width) {
    if (c->validity && c->validity_bytes < (rows + 7) / 8) return 0;
    if (width) return c->data && c->data_bytes / width >= rows;
    return c->offsets && c->offsets_bytes / 4 > rows && (c->data || !c->data_bytes);
}

/* Begins a block whose units have the ordinals 0..count-1. Their texts (UTF-8) are copied; texts may be NULL where no set can have a
   unit with more groups than it keeps and nothing distinct is counted. */
int bounded_units(void *state, uint32_t count, const column *texts) {
    pass *p = state;
    int32_t before = 0, found;
    if (!p) return MALFORMED;
    if (p->failed || block_ended(p)) return p->failed;
    if (count > INT32_MAX) return p->failed = MALFORMED;
    if (p->needs_texts && count) {
        if (!texts || texts->validity || texts->data_bytes > INT32_MAX || !is_whole(texts, count, 0)) return p->failed = MALFORMED;
        if (!grown(&p->offsets, &p->offsets_room, (uint64_t)count + 1, 4)) return p->failed = NO_MEMORY;
        if (!grown(&p->texts, &p->texts_room, texts->data_bytes + 1, 1)) return p->failed = NO_MEMORY;
        for (uint64_t i = 0; i <= count; i++) {
            memcpy(&found, texts->offsets + 4 * i, 4);
            if (found < before || (uint64_t)found > texts->data_bytes) return p->failed = MALFORMED;
            p->offsets[i] = before = found;
        }
        if (texts->data_bytes) memcpy(p->texts, texts->data, texts->data_bytes);
    }
    p->units = count;
    return OK;
}

static int count_rows(pass *p, set *s, const column *keys, const int32_t *units, uint64_t from, uint32_t rows) {
    uint32_t cell[CHUNK], e, size;
    const uint32_t lanes = p->lanes;
    int problem;
    if (s->cells && (problem = cells_of(p, s, keys, from, rows, cell))) return problem;
    for (uint32_t i = 0; i < rows; i++) {
        if (units[i] < 0) continue;
        if (units[i] != s->unit) {
            if ((problem = unit_ended(p, s))) return problem;
            s->unit = units[i];
        }
        if (s->cells) {
            if (cell[i] == REJECTED) continue;
            e = entry_of_cell(p, s, cell[i]);
            if (e == REJECTED) continue;
        } else {
            if ((problem = row_bytes(p, s, keys, from + i, p->scratch[0], &size))) return problem;
            if (size == NONE) continue;
            e = entry_of_bytes(p, s, size);
        }
        const cut *cuts = p->cuts + (uint64_t)i * lanes;
        part *to = s->parts + (uint64_t)e * lanes;
        s->entries[e].rows++;
        for (const cut *of = cuts, *end = of + lanes; of < end; of++, to++) {
            to->held += of->held;
            to->sum += of->value;
        }
        if (p->listed && (problem = listed(p, s, e, cuts))) return problem;
    }
    return OK;
}

/* Whether unit ordinals never decrease; *last carries the greatest from batch to batch and begins at -1. */
int bounded_ordered(uint64_t rows, const column *unit, int32_t *last) {
    if (!last || !unit || !is_whole(unit, rows, 4)) return MALFORMED;
    for (uint64_t i = 0; i < rows; i++) {
        if (!holds(unit, i)) continue;
        int32_t found = (int32_t)whole(unit, i, 4);
        if (found < *last) return ORDER_BROKEN;
        *last = found;
    }
    return OK;
}

/* Adds rows of the block: `count` columns are the unit (int32 ordinal, never decreasing; a row without one is nobody's),
   keys, values (int64). */
int bounded_batch(void *state, uint64_t rows, const column *columns, uint32_t count) {
    pass *p = state;
    int32_t units[CHUNK];
    if (!p) return MALFORMED;
    if (p->failed || !rows) return p->failed;
    if (!columns || count != 1 + p->keys + p->values || rows > UINT32_MAX) return p->failed = MALFORMED;
    if ((p->rows += rows) > (uint64_t)LARGEST || !is_whole(columns, rows, 4)) return p->failed = MALFORMED;
    for (uint32_t i = 0; i < p->keys; i++)
        if (!is_whole(columns + 1 + i, rows, p->key[i].width)) return p->failed = MALFORMED;
    for (uint32_t i = 0; i < p->values; i++)
        if (!is_whole(columns + 1 + p->keys + i, rows, 8)) return p->failed = MALFORMED;
    for (uint64_t from = 0; from < rows; from += CHUNK) {
        uint32_t some = rows - from < CHUNK ? (uint32_t)(rows - from) : CHUNK;
        for (uint32_t i = 0; i < some; i++) {
            if (!holds(columns, from + i)) { units[i] = -1; continue; }
            units[i] = (int32_t)whole(columns, from + i, 4);
            if (units[i] < 0 || (uint32_t)units[i] >= p->units) return p->failed = MALFORMED;
            if (units[i] < p->last_unit) return p->failed = ORDER_BROKEN;
            p->last_unit = units[i];
        }
        cut_rows(p, columns + 1 + p->keys, from, some);
        for (uint32_t i = 0; i < p->sets; i++) {
            int problem = count_rows(p, &p->set[i], columns + 1, units, from, some);
            if (problem) return p->failed = problem;
        }
    }
    return OK;
}

/* --- The partial. ------------------------------------------------------------------------------------------------- */

static int group_before(const void *of, uint32_t a, uint32_t b) {
    const set *s = of;
    const group *first = &s->groups[a], *second = &s->groups[b];
    return compared(s->arena + first->at, first->size, s->arena + second->at, second->size) < 0;
}

static int record_before(const void *of, uint32_t a, uint32_t b) {
    const record *first = (const record *)of + a, *second = (const record *)of + b;
    if (first->measure != second->measure) return first->measure < second->measure;
    if (first->group != second->group) return first->group < second->group;
    return first->high != second->high ? first->high < second->high : first->low < second->low;
}

static uint8_t *put(uint8_t *out, const void *data, uint64_t size) { memcpy(out, data, size); return out + size; }

/* u32 groups, u16 width, u16 key lengths, keys strictly increasing, int64 columns; for each distinct measure u64 count, (u32 group,
   16-byte hash) strictly increasing. All little-endian but the hashes. */
static uint8_t *put_set(const pass *p, set *s, uint32_t *order, uint32_t *spare, uint8_t *out) {
    uint32_t count = (uint32_t)s->groups_used, at = 0;
    uint16_t width = (uint16_t)p->columns;
    out = put(put(out, &count, 4), &width, 2);
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    sort(order, spare, count, s, group_before);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t size = (uint16_t)s->groups[order[i]].size;
        out = put(out, &size, 2);
    }
    for (uint32_t i = 0; i < count; i++)
        if (s->groups[order[i]].size) out = put(out, s->arena + s->groups[order[i]].at, s->groups[order[i]].size);
    for (uint32_t c = 0; c < p->columns; c++)
        for (uint32_t i = 0; i < count; i++) {
            wide total = s->totals[(uint64_t)order[i] * p->columns + c];
            int64_t shown = total > LARGEST ? LARGEST : total < -LARGEST ? -LARGEST : (int64_t)total;
            out = put(out, &shown, 8);
        }
    for (uint32_t i = 0; i < count; i++) spare[order[i]] = i;
    for (uint32_t i = 0; i < s->records_used; i++) s->records[i].group = spare[s->records[i].group];
    count = (uint32_t)s->records_used;
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    sort(order, spare, count, s->records, record_before);
    for (uint32_t m = 0; m < p->measures; m++) {
        if (p->measure[m].kind != DISTINCT) continue;
        uint64_t some = 0;
        while (at + some < count && s->records[order[at + some]].measure == m) some++;
        for (out = put(out, &some, 8); some--; at++) {
            const record *found = &s->records[order[at]];
            out = put(out, &found->group, 4);
            put_be64(out, found->high);
            put_be64(out + 8, found->low);
            out += 16;
        }
    }
    return out;
}

/* The partial of all blocks so far. *used is its size; NO_ROOM, and nothing is lost, where `room` is less. It is the last call. */
int bounded_finish(void *state, uint8_t *out, uint64_t room, uint64_t *used) {
    pass *p = state;
    uint64_t size = 6, most = 0, kinds = 0;
    if (!p || !used) return MALFORMED;
    *used = 0;
    if (p->failed || block_ended(p)) return p->failed;
    for (uint32_t m = 0; m < p->measures; m++) kinds += p->measure[m].kind == DISTINCT;
    for (uint32_t i = 0; i < p->sets; i++) {
        const set *s = &p->set[i];
        size += 6 + s->groups_used * (2 + 8 * (uint64_t)p->columns) + s->arena_used + 8 * kinds + 20 * s->records_used;
        most = s->groups_used > most ? s->groups_used : most;
        most = s->records_used > most ? s->records_used : most;
    }
    *used = size;
    if (!out || room < size) return NO_ROOM;
    uint32_t *order = zeros(most, 4), *spare = zeros(most, 4);
    if (order && spare) {
        uint8_t sets = (uint8_t)p->sets;
        out = put(put(out, "BNYP\x02", 5), &sets, 1);
        for (uint32_t i = 0; i < p->sets; i++) out = put_set(p, &p->set[i], order, spare, out);
    }
    p->failed = order && spare ? MALFORMED : NO_MEMORY; /* nothing may follow */
    free(order);
    free(spare);
    return p->failed == NO_MEMORY ? NO_MEMORY : OK;
}
