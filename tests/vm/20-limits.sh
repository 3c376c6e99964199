# Every limit read back from version 2's own files, in the container and on the machine; those of version 1 refused.
limits() { # limits FILE... -- FLAG...: what these files say in a container with these flags
    files=
    while [ "$1" != -- ]; do files="$files /sys/fs/cgroup/$1"; shift; done
    shift
    img run --rm --network none "$@" busybox sh -c "cat $files"
}
same 'memory without a word of swap' '67108864
67108864' limits memory.max memory.swap.max -- -m 64m
same 'memory and swap' '67108864
33554432' limits memory.max memory.swap.max -- -m 64m --memory-swap 96m
same 'swap without limit' max limits memory.swap.max -- -m 64m --memory-swap -1
same 'memory reservation' 33554432 limits memory.low -- --memory-reservation 32m
same 'processor quota' '30000 60000' limits cpu.max -- --cpu-quota 30000 --cpu-period 60000
same processors '150000 100000' limits cpu.max -- --cpus 1.5
same 'shares of the default' 100 limits cpu.weight -- -c 1024
same 'half of the shares' 50 limits cpu.weight -- -c 512
same 'processor set' '1
0' limits cpuset.cpus cpuset.mems -- --cpuset-cpus 1 --cpuset-mems 0
same processes 50 limits pids.max -- --pids-limit 50
same 'processes unless told' 4096 limits pids.max --
same 'processes without limit' max limits pids.max -- --pids-limit -1
same 'huge pages' 67108864 limits hugetlb.2MB.max -- --hugetlb-limit 2MB=64m
same 'a file by its name' 50331648 limits memory.high -- --cgroup-conf memory.high=50331648
same 'idle scheduling' 1 limits cpu.idle -- --cgroup-conf cpu.idle=1

# Two that never rest on one processor: 1024 to 512 is two to one. One that is idle gets next to nothing.
spin='while :; do :; done'
usage() { sed -n 's/^usage_usec //p' "$(group_of "$1")/cpu.stat"; }
compete() { # compete FLAG-OF-ONE FLAG-OF-OTHER [CHANGE-OF-OTHER]: tenths of the second's time that the first gets
    img run -d --name one --network none --cpuset-cpus 1 $1 busybox sh -c "$spin" > /dev/null
    img run -d --name two --network none --cpuset-cpus 1 $2 busybox sh -c "$spin" > /dev/null
    [ -z "$3" ] || img update "$3" two > /dev/null
    one=$(usage one) two=$(usage two)
    sleep 5
    one=$(($(usage one) - one)) two=$(($(usage two) - two))
    img rm -f one two > /dev/null
    echo $((one * 10 / (two + 1)))
}
between() { # between LOW HIGH COMMAND...
    low=$1 high=$2; shift 2
    got=$("$@")
    [ "$got" -ge "$low" ] && [ "$got" -le "$high" ] && echo yes || echo "$got tenths"
}
same 'two to one' yes between 17 23 compete '-c 1024' '-c 512'
same 'an idle one gives way' yes between 100 1000000000 compete '-c 1024' '-c 1024' --cgroup-conf=cpu.idle=1

# Block devices: a loop device, whose scheduler weighs groups.
truncate -s 8388608 /tmp/disk
disk=$(losetup -f)
losetup "$disk" /tmp/disk
number=$(cat "/sys/block/${disk#/dev/}/dev")
echo bfq > "/sys/block/${disk#/dev/}/queue/scheduler"
same 'rates of a device' "$number rbps=1048576 wbps=2097152 riops=100 wiops=200" limits io.max -- \
    --device-read-bps "$disk:1m" --device-write-bps "$disk:2m" --device-read-iops "$disk:100" --device-write-iops "$disk:200"
check 'weight of block I/O' 'default 300' limits io.bfq.weight -- --blkio-weight 300
check 'weight for a device' "$number 400" limits io.bfq.weight -- --blkio-weight-device "$disk:400"
slow() { # how many seconds the read of 2 MB at 1 MB a second takes
    begin=$(date +%s)
    img run --rm --network none --device "$disk" --device-read-bps "$disk:1m" busybox \
        dd if="$disk" of=/dev/null bs=64k count=32 iflag=direct 2> /dev/null
    [ $(($(date +%s) - begin)) -ge 1 ] && echo slowed
}
same 'a rate that is felt' slowed slow
losetup -d "$disk"

refused swappiness 'no swappiness' img run --rm -m 64m --memory-swappiness 10 busybox true
refused 'waiting for memory' 'cgroup v2 cannot' img run --rm -m 64m --oom-kill-disable busybox true
refused 'real-time' 'real-time' img run --rm --cpu-rt-runtime 1000 busybox true
refused 'real-time period' 'eal-time' img run --rm --cpu-rt-period 1000000 busybox true
refused 'processors that are not there' 'no CPU 7' img run --rm --cpuset-cpus 7 busybox true
refused 'less swap than memory' 'less than' img run --rm -m 64m --memory-swap 32m busybox true
refused 'a file that is no limit' 'cgroup.procs' img run --rm --cgroup-conf cgroup.procs=0 busybox true

# Where the group lies, and who sees it.
same 'its own root' '0::/' in_box 'cat /proc/self/cgroup'
check 'the machine'"'"'s view' '0::/img/' img run --rm --network none --cgroupns host busybox cat /proc/self/cgroup
check 'a parent of choice' '0::/lab/deep/' img run --rm --network none --cgroupns host --cgroup-parent /lab/deep -m 64m busybox \
    cat /proc/self/cgroup
rmdir /sys/fs/cgroup/lab/deep /sys/fs/cgroup/lab
check 'the group is read-only' 'Read-only' in_box 'mkdir /sys/fs/cgroup/x'

# Changed as it runs.
background live -m 64m
img update -m 96m --memory-swap 128m -c 2048 --cpus 0.7 --pids-limit 33 --cpuset-cpus 1 --memory-reservation 16m live > /dev/null
state() { for file in memory.max memory.swap.max memory.low cpu.weight cpu.max pids.max cpuset.cpus; do file_of live $file; done; }
same 'limits changed live' '100663296
33554432
16777216
200
70000 100000
33
1' state
same 'seen from inside' 33 img exec live cat /sys/fs/cgroup/pids.max
img update --cgroup-conf memory.high=80000000 live > /dev/null
same 'a file changed live' 79998976 file_of live memory.high
refused 'swappiness live' 'no swappiness' img update --memory-swappiness 3 live
img restart -t 0 live > /dev/null
same 'kept over a restart' '100663296
33554432
16777216
200
70000 100000
33
1' state

# Files by either version's name.
same 'get by name' 33 img cgroup get live pids.max
check 'get by old name' 100663296 img cgroup get live memory.limit_in_bytes
check 'memory and swap by old name' 134217728 img cgroup get live memory.memsw.limit_in_bytes
check 'shares by old name' 2048 img cgroup get live cpu.shares
check 'quota by old name' 70000 img cgroup get live cpu.cfs_quota_us
img cgroup set live cpu.shares 512
img cgroup set live memory.soft_limit_in_bytes 8388608
same 'set by old name' 50 file_of live cpu.weight
same 'set by old name too' 8388608 file_of live memory.low
img cgroup -n live cpu.cfs_period_us 50000
same 'in the way of LXC' '70000 50000' file_of live cpu.max
refused 'swappiness by name' 'swappiness' img cgroup set live memory.swappiness 1
img cgroup set live freezer.state FROZEN
same 'frozen by old name' 1 file_of live cgroup.freeze
check 'thawed by old name' FROZEN img cgroup get live freezer.state
img cgroup set live freezer.state THAWED
same 'and thawed' 0 file_of live cgroup.freeze
img rm -f live > /dev/null
