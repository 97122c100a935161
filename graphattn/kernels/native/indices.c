/* Pairs (row, column) are copied and looked through, and the numbers of two indices compared: by pieces, which threads share.

   Signs and bits are gathered instead of asked for one by one, so that many numbers are looked at with one instruction. */

#include "indices.h"

enum { AT_ONCE = 4096 }; /* numbers after which it is asked whether to go on */

/* The sign of the result is set if x is no index of `size` things: below 0 or above size - 1. */
INLINE uint64_t outside(int64_t x, int64_t size) { return (uint64_t)x | ((uint64_t)(size - 1) - (uint64_t)x); }

/* The sign of the result is set if (row, col) goes before the pair that stands before it; all are in range. */
INLINE uint64_t descends(int64_t row_before, int64_t col_before, int64_t row, int64_t col) {
    const uint64_t rise = (uint64_t)row - (uint64_t)row_before, col_rise = (uint64_t)col - (uint64_t)col_before;
    const uint64_t same_row = (rise - 1) & ~rise; /* sign set: rise is 0 */
    return rise | (same_row & col_rise);
}

INLINE int some_outside(const Pairs *w, int64_t first, int64_t last, int is_64) {
    for (int64_t start = first; start < last; start += AT_ONCE) {
        const int64_t end = last - start < AT_ONCE ? last : start + AT_ONCE;
        uint64_t signs = 0;
        for (int64_t i = start; i < end; i++)
            signs |= outside(index_at(w->row, i, is_64), w->num_rows) | outside(index_at(w->col, i, is_64), w->num_cols);
        if (signs >> 63) return 1;
    }
    return 0;
}

/* The sign of the result is set if one of the pairs first ... last - 1 goes before the one before it. */
INLINE uint64_t falls(const void *row, const void *col, int64_t first, int64_t last, int is_64) {
    uint64_t signs = 0;
    for (int64_t i = first; i < last; i++)
        signs |= descends(index_at(row, i - 1, is_64), index_at(col, i - 1, is_64), index_at(row, i, is_64), index_at(col, i, is_64));
    return signs;
}

/* Pairs first ... last - 1 and the one before them. */
INLINE int some_descend(const Pairs *w, int64_t first, int64_t last, int is_64) {
    for (int64_t start = first > 0 ? first : 1; start < last; start += AT_ONCE) {
        const int64_t end = last - start < AT_ONCE ? last : start + AT_ONCE;
        if (falls(w->row, w->col, start, end, is_64) >> 63) return 1;
    }
    return 0;
}

/* Pairs first ... last - 1. Each number is read once, for it may be another one then: what is found is true of the copy. */
INLINE int64_t copy(const Copying *w, int64_t first, int64_t last, int is_64, int copy_is_64) {
    void *copied_row = (char *)w->copy + w->num_edges * (copy_is_64 ? sizeof(int64_t) : sizeof(int32_t));
    int64_t found = IS_SORTED;
    for (int64_t start = first; start < last; start += AT_ONCE) {
        const int64_t end = last - start < AT_ONCE ? last : start + AT_ONCE;
        uint64_t signs = 0;
        for (int64_t i = start; i < end; i++) {
            const int64_t col = index_at(w->index, i, is_64), row = index_at(w->index, w->num_edges + i, is_64);
            signs |= outside(row, w->num_rows) | outside(col, w->num_cols);
            put_index(w->copy, i, col, copy_is_64);
            put_index(copied_row, i, row, copy_is_64);
        }
        if (signs >> 63) return IS_OUTSIDE;
        if (found == IS_SORTED && falls(copied_row, w->copy, start > first ? start : first + 1, end, copy_is_64) >> 63) found = FALLS;
    }
    return found;
}

INLINE int some_differ(const Comparison *w, int64_t first, int64_t last, int is_64) {
    for (int64_t start = first; start < last; start += AT_ONCE) {
        const int64_t end = last - start < AT_ONCE ? last : start + AT_ONCE;
        uint64_t bits = 0;
        for (int64_t i = start; i < end; i++) bits |= (uint64_t)w->shown[i] ^ (uint64_t)index_at(w->stored, i, is_64);
        if (bits) return 1;
    }
    return 0;
}

void EXPORTED(pairs_outside)(const Pairs *w, int64_t first, int64_t last, int64_t piece) {
    w->found[piece] = w->is_64 ? some_outside(w, first, last, 1) : some_outside(w, first, last, 0);
}

void EXPORTED(pairs_descend)(const Pairs *w, int64_t first, int64_t last, int64_t piece) {
    w->found[piece] = w->is_64 ? some_descend(w, first, last, 1) : some_descend(w, first, last, 0);
}

/* Where a piece begins, its first pair may go before the last one of the piece before it: nobody has looked. */
void EXPORTED(pairs_copied)(const Copying *w, int64_t first, int64_t last, int64_t piece) {
    if (!w->is_64)
        w->found[piece] = copy(w, first, last, 0, 0);
    else
        w->found[piece] = w->copy_is_64 ? copy(w, first, last, 1, 1) : copy(w, first, last, 1, 0);
}

void EXPORTED(numbers_differ)(const Comparison *w, int64_t first, int64_t last, int64_t piece) {
    w->found[piece] = w->is_64 ? some_differ(w, first, last, 1) : some_differ(w, first, last, 0);
}
