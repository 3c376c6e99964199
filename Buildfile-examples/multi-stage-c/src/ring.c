#include "ring.h"
#include <stdlib.h>

struct ring {
    size_t capacity, start, length;
    const char *values[];
};

struct ring *ring_new(size_t capacity)
{
    struct ring *ring = capacity ? malloc(sizeof *ring + capacity * sizeof *ring->values) : NULL;
    if (ring) {
        ring->capacity = capacity;
        ring->start = ring->length = 0;
    }
    return ring;
}

void ring_push(struct ring *ring, const char *value)
{
    ring->values[(ring->start + ring->length) % ring->capacity] = value;
    if (ring->length < ring->capacity)
        ring->length++;
    else
        ring->start = (ring->start + 1) % ring->capacity;
}

size_t ring_length(const struct ring *ring)
{
    return ring->length;
}

const char *ring_at(const struct ring *ring, size_t index)
{
    return index < ring->length ? ring->values[(ring->start + index) % ring->capacity] : NULL;
}

void ring_free(struct ring *ring)
{
    free(ring);
}
