# What everybody does: import, run, exec, stop, build.
img doctor
check import sha256: img import /busybox.tar busybox
check run hello img run --rm --network none busybox echo hello
check 'exit code' 'code 3' sh -c 'img run --rm --network none busybox sh -c "exit 3"; echo code $?'
check 'no host path' 'none' in_box 'grep " / overlay" /proc/mounts | grep -q var/lib && echo shown || echo none'
limits='cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpuset.cpus.effective'
check limits '67108864
50000 100000
50
0' img run --rm --network none -m 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 busybox sh -c "$limits"
check 'out of memory' 'ran out of memory (limit 32m)' img run --rm --network none -m 32m busybox sh -c 'head -c 100m /dev/zero | tail'
check 'refused device' 'not permitted' in_box 'mknod /dev/kmsg c 1 11 && head -c 1 /dev/kmsg'
check 'read-only root' 'Read-only' img run --rm --network none --read-only busybox touch /x
img run -d --name box --network none busybox sh -c 'while sleep 0.2; do echo tick; done' > /dev/null
sleep 1
check exec etc img exec box ls /
check logs tick img logs box
check stop box img stop -t 1 box
check diff 'A /new' sh -c 'img run --name changed --network none busybox touch /new; img diff changed'
check bridge 'inet 10.' img run --rm busybox ip addr show eth0
img run -d -p 8080:80 --name web busybox sh -c 'echo served > /index.html; httpd -f -p 80 -h /' > /dev/null
sleep 1
check 'published port' served busybox wget -qO- http://127.0.0.1:8080/
img rm -f web box changed > /dev/null
mkdir -p /tmp/context
echo content > /tmp/context/file
cat > /tmp/context/Buildfile <<'B'
FROM busybox AS made
WORKDIR /work
COPY file .
RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --mount=type=bind,from=busybox,source=/bin,target=/bins ls /bins/sh && cat file > copy
FROM scratch
COPY --from=made /work/copy /
B
check build sha256: img build -q -t built /tmp/context
check 'what was built' 'content' sh -c 'mkdir /tmp/flat; img save built > /tmp/built.tar; img create --name flat built /x > /dev/null; img cp flat:/copy /tmp/flat/; cat /tmp/flat/copy'
img rm flat > /dev/null
check 'store is whole' 'nothing is damaged' img system check
