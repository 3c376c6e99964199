/*
 * The floor: what starting a container costs when a program does nothing but ask the kernel for it.
 *
 *   floor [--v1 DIR]... [--v2 DIR] [--bridge NAME ADDRESS/LEN GATEWAY] [--without PART]... LOWER STATE PROGRAM [ARGUMENT]...
 *
 * Whole-process honest: it makes the same namespaces, mounts, masks, groups, network, capabilities and filter as
 * `img run --rm`, over a write layer on the same file system, runs PROGRAM, waits for it and removes what it made. It
 * keeps no record, no log and no name, checks nothing, and trusts its arguments; what `img` takes longer is the price of
 * those. LOWER is an unpacked root file system, STATE a folder for the write layer, --v1 and --v2 folders in which a
 * group is made (v1 groups are joined by the child writing 0 to `tasks`, the v2 group by clone3). --without leaves out what
 * other sandboxes do not make, so that each PART's price is seen: `overlay` (LOWER itself is the root), `files` (the three
 * of /etc), `masks` (those of /proc and /sys), `kernel` (sysfs, cgroup2, mqueue and the shm mount), `filter`, and
 * `privileges` (capabilities stay).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(call) do { if ((call) < 0) fail(#call, __LINE__); } while (0)

static void fail(const char *call, int line)
{
    dprintf(2, "floor: line %d: %s: %s\n", line, call, strerror(errno));
    _exit(125);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        fail(path, __LINE__);
    close(fd);
}

/* ---- network: one message makes the pair, the bridge port and the far end in the container's namespace ---- */

struct message {
    struct nlmsghdr header;
    char body[1024];
};

static void *add(struct message *m, const void *data, size_t size)
{
    char *at = (char *)m + NLMSG_ALIGN(m->header.nlmsg_len);
    if (data)
        memcpy(at, data, size);
    else
        memset(at, 0, size);
    m->header.nlmsg_len = NLMSG_ALIGN(m->header.nlmsg_len) + size;
    return at;
}

static struct rtattr *attribute(struct message *m, int type, const void *data, size_t size)
{
    struct rtattr head = { .rta_len = RTA_LENGTH(size), .rta_type = type };
    struct rtattr *at = add(m, &head, sizeof head);
    if (size)
        add(m, data, size);
    return at;
}

static void end_of(struct message *m, struct rtattr *nest)
{
    nest->rta_len = (char *)m + m->header.nlmsg_len - (char *)nest;
}

static void begin(struct message *m, int type, int flags)
{
    memset(m, 0, sizeof *m);
    m->header.nlmsg_len = NLMSG_HDRLEN;
    m->header.nlmsg_type = type;
    m->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
}

static void ask(int sock, struct message *m, int line)
{
    char answer[4096];
    if (send(sock, m, m->header.nlmsg_len, 0) < 0 || recv(sock, answer, sizeof answer, 0) < 0)
        fail("netlink", line);
    struct nlmsghdr *header = (struct nlmsghdr *)answer;
    int error = header->nlmsg_type == NLMSG_ERROR ? ((struct nlmsgerr *)NLMSG_DATA(header))->error : 0;
    if (error) {
        errno = -error;
        fail("netlink answer", line);
    }
}

static void make_pair(const char *bridge, pid_t child)
{
    char name[IFNAMSIZ];
    snprintf(name, sizeof name, "fl%d", child);
    uint32_t master = if_nametoindex(bridge), pid = child;
    struct message m;
    begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg up = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP }, far = { 0 };
    add(&m, &up, sizeof up);
    attribute(&m, IFLA_IFNAME, name, strlen(name) + 1);
    attribute(&m, IFLA_MASTER, &master, sizeof master);
    struct rtattr *info = attribute(&m, IFLA_LINKINFO, NULL, 0);
    attribute(&m, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = attribute(&m, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *peer = attribute(&m, VETH_INFO_PEER, NULL, 0);
    add(&m, &far, sizeof far);
    attribute(&m, IFLA_IFNAME, "eth0", 5);
    attribute(&m, IFLA_NET_NS_PID, &pid, sizeof pid);
    end_of(&m, peer);
    end_of(&m, data);
    end_of(&m, info);
    int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    ask(sock, &m, __LINE__);
    close(sock);
}

static void link_up(int sock, unsigned index)
{
    struct message m;
    begin(&m, RTM_NEWLINK, 0);
    struct ifinfomsg up = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
    add(&m, &up, sizeof up);
    ask(sock, &m, __LINE__);
}

static void set_up_inside(char *address, const char *gateway)
{
    int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    link_up(sock, 1);
    if (address) {
        unsigned index = if_nametoindex("eth0");
        struct in_addr own, next;
        char *slash = strchr(address, '/');
        char plain[INET_ADDRSTRLEN] = { 0 };
        memcpy(plain, address, slash - address);
        inet_pton(AF_INET, plain, &own);
        inet_pton(AF_INET, gateway, &next);
        link_up(sock, index);
        struct message m;
        begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
        struct ifaddrmsg at = { .ifa_family = AF_INET, .ifa_prefixlen = atoi(slash + 1), .ifa_index = index };
        add(&m, &at, sizeof at);
        attribute(&m, IFA_LOCAL, &own, sizeof own);
        ask(sock, &m, __LINE__);
        begin(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
        struct rtmsg route = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT,
                               .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST };
        add(&m, &route, sizeof route);
        attribute(&m, RTA_GATEWAY, &next, sizeof next);
        ask(sock, &m, __LINE__);
    }
    close(sock);
}

/* ---- the root file system ---- */

static char left_out[256];

/* Whether a part is made. */
static int with(const char *part)
{
    return !strstr(left_out, part);
}

static void mount_root(const char *lower, const char *state)
{
    if (!with("overlay")) {
        CHECK(mount(lower, lower, NULL, MS_BIND | MS_REC, NULL));
        CHECK(chdir(lower));
        return;
    }
    char upper[4096], work[4096];
    snprintf(upper, sizeof upper, "%s/upper", state);
    snprintf(work, sizeof work, "%s/work", state);
    int fs = fsopen("overlay", FSOPEN_CLOEXEC);
    CHECK(fs);
    CHECK(fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", lower, 0));
    CHECK(fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", upper, 0));
    CHECK(fsconfig(fs, FSCONFIG_SET_STRING, "workdir", work, 0));
    /* The write layer of a container that is removed at its end: nobody waits for it to reach the disk. */
    CHECK(fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0));
    CHECK(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    int root = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    CHECK(root);
    CHECK(move_mount(root, "", AT_FDCWD, lower, MOVE_MOUNT_F_EMPTY_PATH));
    close(fs);
    close(root);
    CHECK(chdir(lower));
}

static void device(const char *name, int minor)
{
    CHECK(mknod(name, S_IFCHR | 0666, makedev(minor ? 1 : 5, minor)));
}

/* The container's own hostname, resolv.conf and hosts; LOWER has empty files to mount them on. */
static const char *const own_files[] = { "etc/hostname", "etc/resolv.conf", "etc/hosts" };
static char own_paths[3][4096];

static void write_own_files(const char *folder)
{
    CHECK(mkdir(folder, 0700));
    static const char *const texts[] = { "floor\n", "nameserver 127.0.0.1\n", "127.0.0.1 localhost\n" };
    for (size_t i = 0; i < sizeof own_files / sizeof *own_files; i++) {
        snprintf(own_paths[i], sizeof own_paths[i], "%s/%s", folder, strrchr(own_files[i], '/') + 1);
        int fd = open(own_paths[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, texts[i], strlen(texts[i])) < 0)
            fail(own_paths[i], __LINE__);
        close(fd);
    }
}

static const unsigned long no = MS_NOSUID | MS_NODEV | MS_NOEXEC;

static void mask(void)
{
    static const char *const files[] = { "proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list",
                                         "proc/sched_debug", "proc/interrupts" };
    static const char *const folders[] = { "proc/acpi", "proc/scsi", "sys/firmware", "sys/devices/virtual/powercap" };
    static const char *const read_only[] = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (mount("dev/null", files[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
            fail(files[i], __LINE__);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (mount("tmpfs", folders[i], "tmpfs", no | MS_RDONLY, "size=0k") < 0 && errno != ENOENT)
            fail(folders[i], __LINE__);
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
        if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) < 0) {
            if (errno == ENOENT)
                continue;
            fail(read_only[i], __LINE__);
        }
        CHECK(mount(NULL, read_only[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | no, NULL));
    }
}

static void mount_rest(int has_v2)
{
    CHECK(mount("proc", "proc", "proc", no, NULL));
    if (with("kernel"))
        CHECK(mount("sysfs", "sys", "sysfs", no | MS_RDONLY, NULL));
    if (has_v2 && with("kernel"))
        CHECK(mount("cgroup", "sys/fs/cgroup", "cgroup2", no | MS_RDONLY, NULL));
    CHECK(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    umask(0);
    device("dev/null", 3);
    device("dev/zero", 5);
    device("dev/full", 7);
    device("dev/random", 8);
    device("dev/urandom", 9);
    device("dev/tty", 0);
    umask(022);
    CHECK(mkdir("dev/pts", 0755) | mkdir("dev/shm", 01777) | mkdir("dev/mqueue", 0755));
    CHECK(symlink("/proc/self/fd", "dev/fd") | symlink("/proc/self/fd/0", "dev/stdin"));
    CHECK(symlink("/proc/self/fd/1", "dev/stdout") | symlink("/proc/self/fd/2", "dev/stderr"));
    CHECK(symlink("pts/ptmx", "dev/ptmx") | symlink("/proc/kcore", "dev/core"));
    CHECK(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    if (with("kernel")) {
        CHECK(mount("shm", "dev/shm", "tmpfs", no, "mode=1777,size=65536k"));
        CHECK(mount("mqueue", "dev/mqueue", "mqueue", no, NULL));
    }
    for (size_t i = 0; with("files") && i < sizeof own_files / sizeof *own_files; i++)
        CHECK(mount(own_paths[i], own_files[i], NULL, MS_BIND, NULL));
    if (with("masks"))
        mask();
    CHECK(syscall(SYS_pivot_root, ".", "."));
    CHECK(umount2(".", MNT_DETACH));
    CHECK(chdir("/"));
}

/* ---- privileges ---- */

static void drop_capabilities(void)
{
    const uint64_t keep = 0xa80425fbULL;
    for (int cap = 0; cap <= 40; cap++)
        if (!(keep >> cap & 1))
            CHECK(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0));
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2] = { { keep, keep, 0 }, { keep >> 32, keep >> 32, 0 } };
    CHECK(syscall(SYS_capset, &header, data));
}

/* A filter of the size of the default one as ranges: the refused calls one by one, the rest allowed. */
static void install_filter(void)
{
    static const unsigned short refused[] = { SYS_acct, SYS_add_key, SYS_bpf, SYS_clock_settime, SYS_create_module,
        SYS_delete_module, SYS_finit_module, SYS_get_kernel_syms, SYS_get_mempolicy, SYS_init_module, SYS_ioperm,
        SYS_iopl, SYS_kcmp, SYS_kexec_file_load, SYS_kexec_load, SYS_keyctl, SYS_lookup_dcookie, SYS_mbind, SYS_mount,
        SYS_move_pages, SYS_nfsservctl, SYS_open_by_handle_at, SYS_perf_event_open, SYS_pivot_root, SYS_query_module,
        SYS_quotactl, SYS_reboot, SYS_request_key, SYS_set_mempolicy, SYS_setns, SYS_settimeofday, SYS_swapoff,
        SYS_swapon, SYS_sysfs, SYS__sysctl, SYS_umount2, SYS_unshare, SYS_uselib, SYS_userfaultfd, SYS_ustat,
        SYS_vhangup, SYS_fsopen, SYS_fsmount, SYS_open_tree, SYS_io_uring_setup };
    enum { COUNT = sizeof refused / sizeof *refused };
    struct sock_filter code[COUNT + 8];
    int n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < COUNT; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused[i], COUNT - i, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    struct sock_fprog program = { n, code };
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

int main(int count, char **words)
{
    const char *v1[16], *v2 = NULL, *bridge = NULL, *gateway = NULL;
    char *address = NULL;
    int v1_count = 0, at = 1;
    for (; at < count && !strncmp(words[at], "--", 2); at++) {
        if (!strcmp(words[at], "--v1") && v1_count < 16)
            v1[v1_count++] = words[++at];
        else if (!strcmp(words[at], "--v2"))
            v2 = words[++at];
        else if (!strcmp(words[at], "--bridge"))
            bridge = words[++at], address = words[++at], gateway = words[++at];
        else if (!strcmp(words[at], "--without"))
            strncat(left_out, words[++at], sizeof left_out - strlen(left_out) - 1);
    }
    if (count - at < 3) {
        dprintf(2, "usage: floor [--v1 DIR]... [--v2 DIR] [--bridge NAME ADDRESS/LEN GATEWAY] [--without PART]... "
                   "LOWER STATE PROGRAM...\n");
        return 125;
    }
    const char *lower = words[at], *state = words[at + 1];
    char **program = words + at + 2, path[4096], group[17][4096];

    if (with("overlay")) {
        CHECK(mkdir(state, 0700));
        snprintf(path, sizeof path, "%s/upper", state);
        CHECK(mkdir(path, 0755));
        snprintf(path, sizeof path, "%s/work", state);
        CHECK(mkdir(path, 0700));
    }
    int pid_of_us = getpid();
    char own[64];
    snprintf(own, sizeof own, "/run/floor%d", pid_of_us);
    if (with("files"))
        write_own_files(own);
    for (int i = 0; i < v1_count; i++) {
        snprintf(group[i], sizeof group[i], "%s/floor%d", v1[i], pid_of_us);
        CHECK(mkdir(group[i], 0755));
        if (strstr(v1[i], "/pids")) {
            snprintf(path, sizeof path, "%.4000s/pids.max", group[i]);
            write_file(path, "4096");
        } else if (strstr(v1[i], "/memory")) {
            snprintf(path, sizeof path, "%.4000s/memory.limit_in_bytes", group[i]);
            write_file(path, "67108864");
        } else if (strstr(v1[i], "/cpu")) {
            snprintf(path, sizeof path, "%.4000s/cpu.cfs_quota_us", group[i]);
            write_file(path, "100000");
        }
    }
    int v2_fd = -1, go[2];
    if (v2) {
        snprintf(group[16], sizeof group[16], "%s/floor%d", v2, pid_of_us);
        CHECK(mkdir(group[16], 0755));
        CHECK(v2_fd = open(group[16], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    CHECK(pipe2(go, O_CLOEXEC));

    struct clone_args how = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                 (v2 ? CLONE_INTO_CGROUP : 0),
        .exit_signal = SIGCHLD,
        .cgroup = v2 ? v2_fd : 0,
    };
    pid_t child = syscall(SYS_clone3, &how, sizeof how);
    CHECK(child);
    if (child == 0) {
        for (int i = 0; i < v1_count; i++) {
            snprintf(path, sizeof path, "%.4000s/tasks", group[i]);
            write_file(path, "0");
        }
        CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
        mount_root(lower, state);
        mount_rest(v2 != NULL);
        CHECK(sethostname("floor", 5));
        char byte;
        close(go[1]);
        if (bridge && read(go[0], &byte, 1) != 1)
            fail("the network never came", __LINE__);
        set_up_inside(address, gateway);
        CHECK(setsid());
        CHECK(setgroups(0, NULL));
        CHECK(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC));
        if (with("filter"))
            install_filter(); /* needs CAP_SYS_ADMIN, as no-new-privileges is off */
        if (with("privileges"))
            drop_capabilities();
        char *environment[] = { "PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/root", "HOSTNAME=floor", NULL };
        execve(program[0], program, environment);
        fail(program[0], __LINE__);
    }
    if (bridge) {
        make_pair(bridge, child);
        CHECK(write(go[1], "", 1));
    }
    int status;
    CHECK(waitpid(child, &status, 0));
    for (int i = 0; i < v1_count; i++)
        CHECK(rmdir(group[i]));
    if (v2)
        CHECK(rmdir(group[16]));
    static const char *const left[] = { "work/work/incompat/volatile/dirty", "work/work/incompat/volatile",
                                        "work/work/incompat", "work/work", "work", "upper" };
    for (size_t i = 0; with("overlay") && i < sizeof left / sizeof *left; i++) {
        snprintf(path, sizeof path, "%s/%s", state, left[i]);
        CHECK(remove(path));
    }
    if (with("overlay"))
        CHECK(rmdir(state));
    if (with("files")) {
        for (size_t i = 0; i < sizeof own_files / sizeof *own_files; i++)
            CHECK(unlink(own_paths[i]));
        CHECK(rmdir(own));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
