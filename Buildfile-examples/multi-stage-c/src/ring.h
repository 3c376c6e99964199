/* A ring of strings that keeps the last few it was given. */
#include <stddef.h>

struct ring;
struct ring *ring_new(size_t capacity);
void ring_push(struct ring *ring, const char *value);
size_t ring_length(const struct ring *ring);
const char *ring_at(const struct ring *ring, size_t index);
void ring_free(struct ring *ring);
