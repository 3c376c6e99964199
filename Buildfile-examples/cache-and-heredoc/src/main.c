#include <stdio.h>
#include <stdlib.h>

long add(long a, long b);

int main(int argc, char **argv)
{
    long sum = 0;
    for (int i = 1; i < argc; i++)
        sum = add(sum, strtol(argv[i], NULL, 10));
    printf("sum: %ld\n", sum);
    return 0;
}
