#include "ring.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct ring *ring = argc > 1 ? ring_new(strtoul(argv[1], NULL, 10)) : NULL;
    if (!ring) {
        fprintf(stderr, "usage: ring CAPACITY WORD...\n");
        return 2;
    }
    for (int i = 2; i < argc; i++)
        ring_push(ring, argv[i]);
    for (size_t i = 0; i < ring_length(ring); i++)
        printf("%s%s", i ? " " : "", ring_at(ring, i));
    puts("");
    ring_free(ring);
    return 0;
}
