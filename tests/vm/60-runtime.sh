# img-runtime: a bundle with limits through its whole life.
bundle=/tmp/bundle
mkdir -p "$bundle/rootfs"
tar -xf /busybox.tar -C "$bundle/rootfs"
cat > "$bundle/config.json" <<'J'
{"ociVersion": "1.2.0", "root": {"path": "rootfs"}, "hostname": "bundle",
 "process": {"cwd": "/", "args": ["sleep", "1000"], "env": ["PATH=/bin:/usr/bin:/sbin"], "user": {"uid": 0, "gid": 0},
  "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]}},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
  {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
  {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
  {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"]}],
 "linux": {"cgroupsPath": "/bundle/one",
  "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}, {"type": "cgroup"}],
  "resources": {"memory": {"limit": 67108864, "swap": 100663296, "reservation": 33554432},
   "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"}, "pids": {"limit": 40},
   "unified": {"memory.high": "60817408"}, "devices": [{"allow": false, "access": "rwm"}]}}}
J
of_bundle() { for file in "$@"; do cat "/sys/fs/cgroup/bundle/one/$file"; done; }
img-runtime run -d -b "$bundle" one
same 'limits of a bundle' '67108864
33554432
33554432
60817408
50
50000 100000
0
40' of_bundle memory.max memory.swap.max memory.low memory.high cpu.weight cpu.max cpuset.cpus pids.max
check 'state of a bundle' '"running"' img-runtime state one
same 'exec in a bundle' '0::/' img-runtime exec one cat /proc/self/cgroup
same 'the limit seen inside' 67108864 img-runtime exec one cat /sys/fs/cgroup/memory.max
check 'its group is read-only' 'Read-only' img-runtime exec one mkdir /sys/fs/cgroup/x
img-runtime pause one
same 'a bundle paused' 1 of_bundle cgroup.freeze
img-runtime resume one
same 'a bundle resumed' 0 of_bundle cgroup.freeze
img-runtime update --memory 83886080 --memory-swap 125829120 --cpu-share 2048 --pids-limit 30 one
same 'a bundle updated' '83886080
41943040
200
30' of_bundle memory.max memory.swap.max cpu.weight pids.max
check 'events of a bundle' '"limit":83886080' img-runtime events --stats one
check 'processes of a bundle' 'sleep 1000' img-runtime ps one
img-runtime kill one KILL
stopped() { img-runtime state one | grep -q '"stopped"'; }
until_true stopped
img-runtime delete one
same 'nothing of a bundle is left' gone sh -c '[ -e /sys/fs/cgroup/bundle/one ] || echo gone'
check 'and no state' '[]' sh -c 'img-runtime list -f json | sed "s/null/[]/"'
rmdir /sys/fs/cgroup/bundle
same 'run to its end' 'exit 7' sh -c 'cd '"$bundle"'; sed -i "s/\"sleep\", \"1000\"/\"sh\", \"-c\", \"exit 7\"/" config.json; img-runtime run two; echo exit $?'
rmdir /sys/fs/cgroup/bundle
refused 'a cgroup by systemd' 'systemd' img-runtime --systemd-cgroup run -b "$bundle" three
sed -i 's/"memory": {/"memory": {"swappiness": 10, /' "$bundle/config.json"
refused 'swappiness of a bundle' 'swappiness' img-runtime run -b "$bundle" four
rm -rf "$bundle"
