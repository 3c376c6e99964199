# Devices by BPF, sizes, volumes, mounts put into what runs.
null='head -c 1 /dev/zero | wc -c'
same 'devices of the default' 1 in_box "$null"
truncate -s 4194304 /tmp/plate
plate=$(losetup -f)
losetup "$plate" /tmp/plate
refused 'a device that was not given' 'not permitted' in_box "mknod /dev/plate b 7 ${plate#/dev/loop}; head -c 1 /dev/plate"
same 'a device' 1 img run --rm --network none --device "$plate:/dev/plate" busybox sh -c 'head -c 1 /dev/plate | wc -c'
same 'a device to read only' '1
refused' img run --rm --network none --device "$plate:/dev/plate:r" busybox sh -c \
    'head -c 1 /dev/plate | wc -c; (echo > /dev/plate) 2> /dev/null || echo refused'
rule() { img run --rm --network none --device-cgroup-rule "$1" busybox sh -c "mknod /dev/plate b 7 ${plate#/dev/loop}; head -c 1 /dev/plate | wc -c"; }
same 'a rule' 1 rule 'b 7:* rwm'
check 'a rule for another' 'not permitted' rule 'b 8:* rwm'
background held --device-cgroup-rule 'b 7:* rm'
same 'exec has the rules' '1
refused' img exec held sh -c \
    "mknod /dev/plate b 7 ${plate#/dev/loop}; head -c 1 /dev/plate | wc -c; (echo > /dev/plate) 2> /dev/null || echo refused"
img rm -f held > /dev/null
check 'all devices' 1 img run --rm --network none --privileged -q busybox sh -c "mknod /dev/plate b 7 ${plate#/dev/loop}; head -c 1 /dev/plate | wc -c"
losetup -d "$plate"

check 'a size' 'No space left' img run --rm --network none --storage-opt size=16m busybox dd if=/dev/zero of=/big bs=1M count=30
same 'within the size' 8388608 img run --rm --network none --storage-opt size=16m busybox sh -c 'dd if=/dev/zero of=/big bs=1M count=8 2> /dev/null; stat -c %s /big'

# A volume takes over what the image has there, once.
same 'copy-up' /bin/busybox img run --rm --network none -v kept:/bin busybox ls /bin/busybox
img run --rm --network none -v kept:/v busybox sh -c 'echo written > /v/file; ls /v | wc -l' > /dev/null
same 'a volume stays' written img run --rm --network none -v kept:/v:ro busybox cat /v/file
check 'a volume to read' 'Read-only' img run --rm --network none -v kept:/v:ro busybox touch /v/new
img volume rm kept > /dev/null
check 'a volume in memory' 'tmpfs' img run --rm --network none --mount type=tmpfs,target=/m,tmpfs-size=1m busybox grep /m /proc/mounts

# Into a container that runs, and out again.
mkdir -p /tmp/shared
echo shared > /tmp/shared/file
background live
img update --mount-add type=bind,source=/tmp/shared,target=/mnt/shared live > /dev/null
same 'mounted live' shared img exec live cat /mnt/shared/file
img update --mount-add type=tmpfs,target=/mnt/memory live > /dev/null
check 'memory mounted live' tmpfs img exec live grep /mnt/memory /proc/mounts
img update --mount-rm /mnt/shared live > /dev/null
same 'taken out live' 0 img exec live sh -c 'grep -c /mnt/shared /proc/mounts'
img rm -f live > /dev/null
check 'an image as a mount' busybox img run --rm --network none --mount type=image,source=busybox,target=/other busybox ls /other/bin/busybox
