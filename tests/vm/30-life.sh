# The life of a container on version 2: frozen, killed, counted, started again, asked for its health, entered.
background box
frozen() { sed -n 's/^frozen //p' "$(group_of box)/cgroup.events"; }
img pause box > /dev/null
same paused 1 frozen
same 'paused in inspect' paused img inspect --format '{{.State.Status}}' box
refused 'exec while it is paused' paused img exec box true
img unpause box > /dev/null
same unpaused 0 frozen
same 'paused and stopped' 137 sh -c 'img pause box > /dev/null; img stop -t 0 box > /dev/null; img inspect --format "{{.State.ExitCode}}" box'
img start box > /dev/null

same 'exec lies in the group' '0::/' img exec box cat /proc/self/cgroup
img exec -d box sleep 500
img exec -d box sh -c 'sleep 500 & wait'
many() { [ "$(wc -l < "$(group_of box)/cgroup.procs")" = 4 ]; }
until_true many
check top 'sleep 500' img top box
same 'top counts' 5 sh -c 'img top box -eo pid,args | wc -l'
same stats 4 img stats --no-stream --format '{{.PIDs}}' box
check 'stats of memory' ' / ' img stats --no-stream --format '{{.MemUsage}}' box
img kill --all box > /dev/null
same 'killed, all of it' 137 img wait box
same 'its group has gone' gone sh -c '[ -d /sys/fs/cgroup/img/'"$(img inspect --format '{{.Id}}' box)"' ] || echo gone'
img rm box > /dev/null

# Signals to all, a process that was forked away included.
img run -d --name many --network none busybox sh -c 'trap "echo one" USR1; (trap "echo two" USR1; while :; do sleep 0.1; done) & while :; do sleep 0.1; done' > /dev/null
both() { img logs many | grep -q one && img logs many | grep -q two; }
sleep 1
img kill --all -s USR1 many > /dev/null
until_true both
img rm -f many > /dev/null

# More than it may have.
img run --name greedy --network none -m 32m busybox sh -c 'head -c 100m /dev/zero | tail' > /dev/null 2>&1
same 'out of memory in inspect' true img inspect --format '{{.State.OOMKilled}}' greedy
img start greedy > /dev/null
same 'out of memory at its end' 137 img wait greedy
img rm greedy > /dev/null
check 'no more processes' "can't fork" img run --rm --network none --pids-limit 3 busybox sh -c 'sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait'

# Again, but not for ever.
img run -d --name again --network none --restart=on-failure:2 busybox sh -c 'echo begun; exit 4' > /dev/null
exited() { [ "$(img inspect --format '{{.State.Status}} {{.RestartCount}}' again)" = 'exited 2' ]; }
until_true exited
same 'restarted twice' 3 sh -c 'img logs again | grep -c begun'
same 'with its exit code' 4 img inspect --format '{{.State.ExitCode}}' again
img rm again > /dev/null

# Health, conditions, events.
img run -d --name ill --network none --health-cmd 'test -e /well' --health-interval 300ms --health-retries 2 busybox sleep 1000 > /dev/null
same 'wait until unhealthy' unhealthy img wait --condition unhealthy -t 60 ill
img exec ill touch /well
same 'wait until healthy' healthy img wait --condition healthy -t 60 ill
img pause ill > /dev/null
same 'wait until paused' paused img wait --condition paused ill
img unpause ill > /dev/null
same 'wait until running' running img wait --condition running ill
img rm -f ill > /dev/null
happened() { img events --stream=false --since 10m --filter container=ill --format '{{.Action}}'; }
for event in create start 'health_status: unhealthy' 'health_status: healthy' pause unpause die destroy; do
    check "event $event" "$event" happened
done

# A copy with other limits.
img run --name original --network none -m 64m -c 512 busybox sh -c 'echo written > /file' > /dev/null
img clone --memory 80m original copied > /dev/null
img start copied > /dev/null
img wait copied > /dev/null
img cp copied:/file /tmp/cloned
same 'a clone has its files' written cat /tmp/cloned
same 'and its limits' '83886080 512' img inspect --format '{{.HostConfig.Memory}} {{.HostConfig.CpuShares}}' copied
img rm original copied > /dev/null

# Users of its own need id-mapped mounts of overlays.
refused 'a user namespace' 'needs Linux 6.15' img run --rm --network none --userns auto busybox true
