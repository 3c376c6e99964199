# Runs inside the virtual machine that scripts/vm boots, before the files beside it. Each check prints ok or FAILED; the
# script counts both.
check() { # check WHAT WANTED COMMAND...: what it prints contains WANTED
    what=$1 wanted=$2; shift 2
    got=$("$@" 2>&1)
    case "$got" in
    *"$wanted"*) echo "ok      $what" ;;
    *) echo "FAILED  $what: wanted '$wanted', got: $got" ;;
    esac
}
same() { # same WHAT WANTED COMMAND...: it prints WANTED and nothing else
    what=$1 wanted=$2; shift 2
    got=$("$@" 2>&1)
    case "$got" in
    "$wanted") echo "ok      $what" ;;
    *) echo "FAILED  $what: wanted '$wanted', got: $got" ;;
    esac
}
refused() { # refused WHAT WHY COMMAND...: it fails and says WHY
    what=$1 wanted=$2; shift 2
    if got=$("$@" 2>&1); then
        echo "FAILED  $what: not refused: $got"
        return
    fi
    case "$got" in
    *"$wanted"*) echo "ok      $what is refused" ;;
    *) echo "FAILED  $what: wanted '$wanted', got: $got" ;;
    esac
}
until_true() { # until_true COMMAND...: waits half a minute for it to succeed
    for _ in $(seq 150); do
        "$@" > /dev/null 2>&1 && return
        sleep 0.2
    done
    echo "FAILED  waited in vain for: $*"
}
in_box() { img run --rm --network none busybox sh -c "$1"; }
group_of() { echo "/sys/fs/cgroup/img/$(img inspect --format '{{.Id}}' "$1")"; }
file_of() { cat "$(group_of "$1")/$2"; }
background() { # background NAME FLAG...: a container that sleeps
    name=$1; shift
    img run -d --name "$name" --network none "$@" busybox sleep 1000 > /dev/null || echo "FAILED  start $name $*"
}
