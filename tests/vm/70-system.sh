# A container that boots busybox's init, with a group that is its own to divide.
mkdir -p /tmp/system
cat > /tmp/system/Buildfile <<'B'
FROM busybox
RUN mkdir -p /etc/init.d /sbin && ln -sf /bin/busybox /sbin/init && \
    printf '::sysinit:/bin/echo booted\n::respawn:/bin/sleep 1000\n::shutdown:/bin/echo going-down\n' > /etc/inittab
B
img build -q -t system /tmp/system > /dev/null
up() { [ "$(img logs boot | grep -c booted)" = "$1" ] && img exec boot pidof sleep; }
img run -d --system --name boot --network none -m 64m --restart always system > /dev/null
until_true up 1
same 'the group is its own' 'memory' img exec boot sh -c \
    'cd /sys/fs/cgroup && mkdir init unit && for p in $(cat cgroup.procs); do echo $p > init/cgroup.procs 2> /dev/null; done; echo +memory > cgroup.subtree_control && echo 33554432 > unit/memory.max && cat cgroup.subtree_control'
same 'it can read its limit' 67108864 img exec boot cat /sys/fs/cgroup/memory.max
img exec boot sh -c 'echo max > /sys/fs/cgroup/memory.max'
same 'where it is' '0::/init' img exec boot cat /proc/self/cgroup
same 'exec into a divided group' in img exec boot echo in
same 'its limit holds' 67108864 file_of boot memory.max
img update -m 80m boot > /dev/null
same 'its new limit' 83886080 file_of boot memory.max
same 'it can read its new limit' 83886080 img exec boot cat /sys/fs/cgroup/memory.max
img pause boot > /dev/null
same 'all of it is paused' 'frozen 1' sh -c "grep frozen $(group_of boot)/img.payload/init/cgroup.events"
img unpause boot > /dev/null
img exec boot reboot > /dev/null 2>&1
until_true up 2
same 'rebooted' 1 img inspect --format '{{.RestartCount}}' boot
img exec boot poweroff > /dev/null 2>&1
same 'powered off' 0 img wait boot
check 'by its own way' going-down img logs boot
img rm boot > /dev/null
