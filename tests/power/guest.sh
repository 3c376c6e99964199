#!/bin/busybox sh
# What is done on the disk whose power is cut. Each line is a command of img; when it has said success its number is written
# into the last MiB of the disk, past the file system, so that the log of the disk's writes knows when that was.
export PATH=/bin HOME=/root NO_COLOR=1 IMG_ROOT=/data/store IMG_RUNROOT=/run/img IMG_CONFIG=/config.toml
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir -p /dev/pts /data
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup /sys/fs/cgroup
for module in /modules/*.ko; do insmod "$module" || echo "FAILED load $module"; done
ip link set lo up
mount -t ext4 /dev/vda /data || echo "FAILED mount"
size=$(cat /sys/block/vda/size)
number=0
docker-registry serve /registry.yml > /registry.log 2>&1 &
for try in $(seq 300); do wget -q -O /dev/null http://127.0.0.1:5000/v2/ && break; sleep 0.1; done
# shellcheck disable=SC2013
while read -r line; do
    case $line in '' | '#'*) continue ;; esac
    number=$((number + 1))
    if sh -c "$line" < /dev/null > /out 2>&1; then
        printf '%-4095s\n' "img-power success $number" > /mark
        dd if=/mark of=/dev/vda bs=4096 count=1 seek=$((size / 8 - 256 + number)) conv=notrunc oflag=direct 2> /dev/null ||
            echo "FAILED mark $number"
        echo "done $number"
    else
        echo "FAILED $number: $line"
        cat /out
    fi
done < /commands
echo "end of commands"
poweroff -f
