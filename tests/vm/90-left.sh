# After all that: no mount, no group, no interface, no namespace, no process.
check 'store is whole' 'nothing is damaged' img system check
gone() { ! ps -o args | grep -E 'img|sleep 1000' | grep -v grep; }
until_true gone
same 'no process is left' '' gone
same 'no container is left' '' img ps -aq
img volume prune -af > /dev/null
same 'no mount is left' '' grep -E '/var/lib/img|/run/img' /proc/mounts
same 'no group is left' '' sh -c 'find /sys/fs/cgroup/img /sys/fs/cgroup/bundle /sys/fs/cgroup/lab -mindepth 1 -type d 2> /dev/null'
same 'no pair of interfaces is left' '' sh -c 'ls /sys/class/net | grep -vE "^(lo|dummy0|img.*|br-.*)$"; ls -d /sys/class/net/*/brif/* 2> /dev/null'
# Every namespace is the first process's own.
strangers() { # strangers KIND...
    for kind in "$@"; do
        # Threads of the kernel have no command line, and one has mounts of its own.
        for process in /proc/[0-9]*; do
            grep -q . "$process/cmdline" 2> /dev/null && readlink "$process/ns/$kind"
        done | sort -u | grep -vxF "$(readlink /proc/1/ns/$kind)"
    done
}
same 'no namespace is left' '' strangers mnt net pid ipc uts cgroup user time
same 'no bound namespace is left' '' grep nsfs /proc/mounts
same 'no loop device is left' '' losetup -a
