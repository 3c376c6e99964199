#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    printf("hello %s, from user %d\n", argc > 1 ? argv[1] : "nobody", (int)getuid());
    printf("is there a shell? %s\n", access("/bin/sh", X_OK) == 0 ? "yes" : "no");
    return 0;
}
