//! The parsers: the examples of Docker's manual, what must be refused and with which hint, and properties over any text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use oci_spec::runtime::PosixRlimitType;
use proptest::prelude::*;

use super::*;

fn hint<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().hint().expect("a hint")
}

fn reason<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("1024", 1024),
        ("512m", 512 << 20),
        ("512M", 512 << 20),
        ("512MB", 512 << 20),
        ("512MiB", 512 << 20),
        ("1.5g", 3 << 29),
        ("64 k", 64 << 10),
        ("7b", 7),
        ("2t", 2 << 40),
        ("0.1k", 102),
    ] {
        assert_eq!(size("size", text).unwrap(), bytes, "{text}");
    }
    for text in
        ["99999999999999999999p", "", "m", "-1", "1x", "1.5.2g", "1e3", "ib", "1ib", "9999999999p", "0x10", "1mm", "١"]
    {
        assert!(size("size", text).is_err(), "{text}");
    }
    assert_eq!(reason(size("memory", "5 apples")), "invalid memory `5 apples`: not a size");
    assert_eq!(memory_swap("-1").unwrap(), -1);
    assert_eq!(memory_swap("1g").unwrap(), 1 << 30);
    assert!(memory_swap("-2").is_err());
}

#[test]
fn processors() {
    assert_eq!(cpus("1.5").unwrap(), 1_500_000_000);
    assert_eq!(cpus(".5").unwrap(), 500_000_000);
    for text in ["0", "0.001", "-1", "two", "", ".", "1,5", "1000000"] {
        assert!(cpus(text).is_err(), "{text}");
    }
    assert_eq!(cpu_list("CPUs", "0-2,7, 1").unwrap(), [0, 1, 2, 7]);
    for text in ["", "3-1", "a", "1-", "-1", "1--2", "1,,2", "99999", "+1"] {
        assert!(cpu_list("CPUs", text).is_err(), "{text}");
    }
}

#[test]
fn durations() {
    for (text, milliseconds) in
        [("10s", 10_000), ("1h30m", 5_400_000), ("1.5s", 1_500), ("100ms", 100), ("0", 0), ("1m0.5s", 60_500)]
    {
        assert_eq!(duration("timeout", text).unwrap(), Duration::from_millis(milliseconds), "{text}");
    }
    assert_eq!(duration("timeout", "3us").unwrap(), Duration::from_micros(3));
    for text in ["", "s", "10", "1d", "-1s", "1s1", "99999999h", "1 s"] {
        assert!(duration("timeout", text).is_err(), "{text}");
    }
    assert_eq!(hint(duration("timeout", "10")), "did you mean `10s`?");
}

#[test]
fn ports() {
    let one = |address, host, container, protocol| vec![PortMapping { address, host, container, protocol }];
    let any4 = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let any6 = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));
    assert_eq!(port("80").unwrap(), one(None, HostPort::Any, 80, Protocol::Tcp));
    assert_eq!(port("8080:80").unwrap(), one(None, HostPort::One(8080), 80, Protocol::Tcp));
    assert_eq!(port("127.0.0.1:53:53/UDP").unwrap(), one(any4, HostPort::One(53), 53, Protocol::Udp));
    assert_eq!(port("127.0.0.1::80").unwrap(), one(any4, HostPort::Any, 80, Protocol::Tcp));
    assert_eq!(port("[::1]:8080:80").unwrap(), one(any6, HostPort::One(8080), 80, Protocol::Tcp));
    assert_eq!(port(":80").unwrap(), one(None, HostPort::Any, 80, Protocol::Tcp));
    assert_eq!(port("8000-9000:80").unwrap(), one(None, HostPort::Between(8000, 9000), 80, Protocol::Tcp));
    let range = port("8000-8002:80-82/sctp").unwrap();
    assert_eq!((range.len(), range[2].host, range[2].container), (3, HostPort::One(8002), 82));
    assert_eq!(port("7000-7003").unwrap().len(), 4);
    assert_eq!(port("0:80").unwrap()[0].host, HostPort::Any, "as docker has it");
    for text in [
        "",
        "80:0",
        "65536",
        "80:70-60",
        "8000-8003:80-81",
        "1.2.3:80:80",
        "a:80",
        "80/icmp",
        "80:80:80:80",
        "::1:80:80",
        "80-",
        "+80",
    ] {
        assert!(port(text).is_err(), "{text}");
    }
    assert_eq!(hint(port("127.0.0.1:80")), "did you mean `127.0.0.1::80`?");
    assert_eq!(hint(port("::1:80:80")), "as [::1]:80:80");
    assert_eq!(
        reason(port("8000-8003:80-81")),
        "invalid port mapping `8000-8003:80-81`: 4 host ports for 2 container ports"
    );
    assert_eq!(expose("80-81/udp").unwrap(), [(80, Protocol::Udp), (81, Protocol::Udp)]);
}

#[test]
fn volumes() {
    let bind = volume("/src:/dst:ro,z,rslave").unwrap();
    assert_eq!((bind.kind, bind.source.as_deref(), bind.target.as_str()), (MountKind::Bind, Some("/src"), "/dst"));
    assert!(bind.read_only && !bind.create_source);
    assert_eq!((bind.relabel, bind.propagation), (Some(Relabel::Shared), Some(Propagation::RSlave)));
    assert_eq!(volume("./a:/b").unwrap().kind, MountKind::Bind);
    let named = volume("data:/var/lib:nocopy").unwrap();
    assert!(named.kind == MountKind::Volume && named.no_copy && !named.read_only && !named.create_source);
    let anonymous = volume("/data").unwrap();
    assert_eq!((anonymous.kind, anonymous.source), (MountKind::Volume, None));
    assert!(volume("/a:/b:O").unwrap().overlay && volume("/a:/b:U").unwrap().chown);
    assert_eq!(volume("/a:/b:noexec").unwrap().options, ["noexec"]);
    for text in [
        "",
        "a",
        ":/b",
        "/a:b",
        "/a:/",
        "/a:/../b",
        "/a:/b:ro,rw",
        "/a:/b:rx",
        "a/b:/c",
        "x:/c",
        "/a:/b:ro:z",
        "v:/b:rshared",
        "/a:/b:O,ro",
    ] {
        assert!(volume(text).is_err(), "{text}");
    }
    assert_eq!(hint(volume("/data:ro")), "did you mean `/data:/data:ro`?");
    assert_eq!(hint(volume("a/b:/c")), "for a directory of the host write `./a/b` or its full path");
    assert_eq!(hint(volume("/a:/b:nocpy")), "did you mean `nocopy`?");
}

#[test]
fn long_mounts() {
    let bind = mount("type=bind,src=/a,dst=/b,readonly,bind-propagation=rshared,bind-recursive=writable").unwrap();
    assert!(bind.kind == MountKind::Bind && bind.read_only && !bind.create_source);
    assert_eq!((bind.propagation, bind.recursion), (Some(Propagation::RShared), BindRecursion::Writable));
    let volume =
        mount("source=v1,target=/d,volume-opt=type=nfs,\"volume-opt=o=addr=1.2.3.4,rw\",volume-nocopy=true").unwrap();
    assert_eq!(volume.kind, MountKind::Volume);
    assert_eq!(volume.volume_options, [("type".into(), "nfs".into()), ("o".into(), "addr=1.2.3.4,rw".into())]);
    let tmpfs = mount("type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap();
    assert_eq!((tmpfs.tmpfs_size, tmpfs.tmpfs_mode), (Some(64 << 20), Some(0o1770)));
    let image = mount("type=image,src=alpine,dst=/i,image-subpath=etc").unwrap();
    assert!(!mount("type=image,src=a,dst=/b,rw").unwrap().read_only);
    let file = mount("type=image-file,src=/d.img,dst=/d,offset=1m,idmap=uids=0-5-1#gids=0-5-1").unwrap();
    assert_eq!((file.kind, file.options.as_slice()), (MountKind::DiskImage, &["offset=1048576".to_owned()][..]));
    assert!(image.read_only && image.subpath.as_deref() == Some("etc"));
    assert!(!mount("type=bind,src=/a,dst=/b,ro=false").unwrap().read_only);
    for (text, why) in [
        ("type=bind,dst=/b", "needs a source"),
        ("type=bind,src=/a", "says nowhere"),
        ("type=tmpfs,src=/a,dst=/b", "takes no source"),
        ("src=/a,dst=/b", "not the name of a volume"),
        ("type=bind,src=/a,dst=/b,volume-nocopy", "does not go with type=bind"),
        ("type=bind,src=/a,src=/c,dst=/b", "given twice"),
        ("type=bind,src=/a,dst=/b,", "a field is empty"),
        ("type=nfs,src=/a,dst=/b", "`nfs` is not known"),
        ("type=bind,src=/a,dst=/b,reedonly", "`reedonly` is not known"),
        ("type=bind,\"src=/a", "not closed"),
        ("type=bind,src=/a,dst=/b,bind-recursive=readonly", "needs readonly"),
        ("type=volume,src=vv,dst=/b,volume-subpath=../x", "does not lie inside"),
        ("type=tmpfs,dst=/b,tmpfs-mode=99", "not a mode"),
    ] {
        let error = reason(mount(text));
        assert!(error.contains(why), "{text}: {error}");
    }
    assert_eq!(hint(mount("type=bind,src=/a,dst=/b,reedonly")), "did you mean `readonly`?");
}

#[test]
fn memory_file_systems() {
    let plain = tmpfs("/run").unwrap();
    assert_eq!((plain.kind, plain.target.as_str(), plain.tmpfs_size), (MountKind::Tmpfs, "/run", None));
    let full = tmpfs("/run:size=64m,mode=755,uid=5,exec,ro,nr_inodes=1k").unwrap();
    assert_eq!((full.tmpfs_size, full.tmpfs_mode, full.read_only), (Some(64 << 20), Some(0o755), true));
    assert_eq!(full.options, ["uid=5", "exec", "nr_inodes=1k"]);
    assert_eq!(tmpfs("/a:size=50%").unwrap().options, ["size=50%"]);
    for text in ["", "run", "/", "/a:size=x", "/a:foo", "/a:uid=root", "/a:size=200%", "/a:mode=8"] {
        assert!(tmpfs(text).is_err(), "{text}");
    }
}

#[test]
fn devices() {
    let path = |host: &str, container: &str, access: &str| DeviceRequest::Path {
        host: host.into(),
        container: container.into(),
        access: access.into(),
    };
    assert_eq!(device("/dev/sda").unwrap(), path("/dev/sda", "/dev/sda", "rwm"));
    assert_eq!(device("/dev/sda:/dev/xvda").unwrap(), path("/dev/sda", "/dev/xvda", "rwm"));
    assert_eq!(device("/dev/sda:r").unwrap(), path("/dev/sda", "/dev/sda", "r"));
    assert_eq!(device("/dev/sda:/dev/xvda:rw").unwrap(), path("/dev/sda", "/dev/xvda", "rw"));
    assert_eq!(device("nvidia.com/gpu=all").unwrap(), DeviceRequest::Cdi("nvidia.com/gpu=all".into()));
    for text in ["sda", "/dev/a:/dev/b:x", "/dev/a:b", "/dev/a:/b:r:w", "a/=b", ""] {
        assert!(device(text).is_err(), "{text}");
    }
    let rule = device_rule("c 1:3 rwm").unwrap();
    assert_eq!((rule.kind, rule.major, rule.minor, rule.access.as_str()), ('c', Some(1), Some(3), "rwm"));
    assert_eq!(device_rule("a *:* rwm").unwrap().major, None);
    for text in ["c 1:3", "x 1:3 r", "c 1 r", "c 1:b r", "c 1:3 z", ""] {
        assert!(device_rule(text).is_err(), "{text}");
    }
    assert_eq!(throttle("rate", "/dev/sda:1mb", true).unwrap(), ("/dev/sda".into(), 1 << 20));
    assert!(throttle("rate", "/dev/sda:1mb", false).is_err() && throttle("rate", "/dev/sda:0", true).is_err());
    assert_eq!(weight_device("/dev/sda:500").unwrap(), ("/dev/sda".into(), 500));
    assert!(weight_device("/dev/sda:5").is_err());
}

#[test]
fn ulimits() {
    let limit = |text| ulimit(text).unwrap().unwrap();
    assert_eq!(limit("nofile=1024:4096"), Ulimit { kind: PosixRlimitType::RlimitNofile, soft: 1024, hard: 4096 });
    assert_eq!(limit("core=-1").hard, u64::MAX);
    assert_eq!(ulimit("host").unwrap(), None);
    for text in ["nofile", "nofile=", "nofile=9:1", "nofiles=5", "core=-2", "nofile=1:2:3"] {
        assert!(ulimit(text).is_err(), "{text}");
    }
    assert_eq!(hint(ulimit("nofiles=5")), "did you mean `nofile`?");
}

#[test]
fn signals() {
    for (text, number) in
        [("TERM", 15), ("sigkill", 9), ("9", 9), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmax-1", 63), ("64", 64)]
    {
        assert_eq!(signal(text).unwrap(), number, "{text}");
    }
    for text in ["", "0", "65", "-1", "SIGFOO", "RTMIN+31", "RTMAX+1", "RTMINX"] {
        assert!(signal(text).is_err(), "{text}");
    }
    assert_eq!(hint(signal("TREM")), "did you mean `SIGTERM`?");
    assert_eq!(
        (signal_name(15), signal_name(37), signal_name(6)),
        ("SIGTERM".into(), "SIGRTMIN+3".into(), "SIGABRT".into())
    );
}

#[test]
fn restart_policies() {
    assert_eq!(restart("no").unwrap(), RestartPolicy::No);
    assert_eq!(restart("on-failure:5").unwrap(), RestartPolicy::OnFailure(Some(5)));
    assert_eq!(restart("on-failure").unwrap(), RestartPolicy::OnFailure(None));
    assert_eq!(restart("unless-stopped").unwrap(), RestartPolicy::UnlessStopped);
    for text in ["allways", "always:3", "on-failure:x", "on-failure:-1"] {
        assert!(restart(text).is_err(), "{text}");
    }
    assert_eq!(hint(restart("allways")), "did you mean `always`?");
}

#[test]
fn keys_that_detach() {
    assert_eq!(detach_keys("ctrl-p,ctrl-q").unwrap(), [16, 17]);
    assert_eq!(detach_keys("a,CTRL-],ctrl-@").unwrap(), [b'a', 29, 0]);
    assert!(detach_keys("").unwrap().is_empty());
    for text in ["ctrl-", "ab", "ctrl-1", "a,,b", "é"] {
        assert!(detach_keys(text).is_err(), "{text}");
    }
}

#[test]
fn environments() {
    let host = [("HOME", "/root"), ("LC_ALL", "C"), ("LC_TIME", "de")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(environment("A=b=c", &host).unwrap(), [("A".into(), "b=c".into())]);
    assert_eq!(environment("HOME", &host).unwrap(), [("HOME".into(), "/root".into())]);
    assert_eq!(environment("NONE", &host).unwrap(), []);
    assert_eq!(environment("LC_*", &host).unwrap().len(), 2);
    assert_eq!(environment("A=", &host).unwrap(), [("A".into(), String::new())]);
    assert!(environment("=x", &host).is_err());
    let file = b"\xef\xbb\xbf# comment\n\n  A=1\r\nB='quoted'\nHOME\nMISSING\nC=x=y \n";
    let read = environment_file("f", file, &host).unwrap();
    let read: Vec<(&str, &str)> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(read, [("A", "1"), ("B", "'quoted'"), ("HOME", "/root"), ("C", "x=y ")]);
    assert!(reason(environment_file("f", b"A=1\nexport B=2\n", &host)).contains("line 2: the name `export B`"));
    assert!(reason(environment_file("f", b"A=\xff", &host)).contains("line 1 is not UTF-8"));
    assert_eq!(key_value("label", "a=b=c").unwrap(), ("a".into(), "b=c".into()));
    assert_eq!(key_value("label", "a").unwrap(), ("a".into(), String::new()));
    assert!(key_value("label", "=b").is_err());
}

#[test]
fn security_options() {
    let parse = |flags: &[&str]| SecurityOptions::parse(flags.iter().copied());
    let all = parse(&[
        "no-new-privileges",
        "seccomp=/etc/p.json",
        "systempaths=unconfined",
        "mask=/a:/b",
        "unmask=ALL",
        "apparmor=p",
        "label=type:x_t",
        "proc-opts=hidepid=2",
        "writable-cgroups=true",
    ])
    .unwrap();
    assert!(all.no_new_privileges && all.system_paths_unconfined && all.writable_cgroups);
    assert_eq!(all.seccomp, SeccompChoice::File("/etc/p.json".into()));
    assert_eq!((all.mask, all.unmask), (vec!["/a".to_owned(), "/b".to_owned()], vec!["ALL".to_owned()]));
    assert_eq!(
        (all.apparmor.as_deref(), all.labels, all.proc_options),
        (Some("p"), vec!["type:x_t".to_owned()], vec!["hidepid=2".to_owned()])
    );
    assert_eq!(parse(&["seccomp:unconfined"]).unwrap().seccomp, SeccompChoice::Unconfined);
    assert!(!parse(&["no-new-privileges:false"]).unwrap().no_new_privileges);
    for flag in [
        "seccomp",
        "systempaths=x",
        "mask=a",
        "mask=ALL",
        "label=foo",
        "label=type:",
        "nope=1",
        "no-new-privileges=maybe",
        "",
    ] {
        assert!(parse(&[flag]).is_err(), "{flag}");
    }
    assert!(parse(&["label=disable", "label=type:x"]).is_err());
    assert_eq!(hint(parse(&["no-new-privilege"])), "did you mean `no-new-privileges`?");
}

proptest! {
    /// No text makes a parser panic, and what is accepted keeps its promises.
    #[test]
    fn any_text_is_parsed_or_refused(text in "[-0-9a-zA-Z:/.,=\\[\\]*\"~+ é]{0,40}") {
        if let Ok(mappings) = port(&text) {
            prop_assert!(!mappings.is_empty() && mappings.iter().all(|mapping| mapping.container > 0));
        }
        for request in [volume(&text), mount(&text), tmpfs(&text)].into_iter().flatten() {
            prop_assert!(request.target.starts_with('/') && !request.target.split('/').any(|part| part == ".."));
        }
        if let Ok(bytes) = size("size", &text) { prop_assert!(i64::try_from(bytes).is_ok()); }
        if let Ok(list) = cpu_list("CPUs", &text) { prop_assert!(list.is_sorted() && list.len() <= 8192); }
        if let Ok(number) = signal(&text) { prop_assert!((1..=64).contains(&number)); }
        let _ = (cpus(&text), duration("d", &text), device(&text), device_rule(&text), ulimit(&text));
        let _ = (restart(&text), detach_keys(&text), key_value("k", &text), environment(&text, &[]));
        let _ = (environment_file("f", text.as_bytes(), &[]), expose(&text), memory_swap(&text), throttle("t", &text, true));
        let _ = SecurityOptions::parse([text.as_str()]);
    }

    #[test]
    fn sizes_of_whole_units_are_exact(number in 0u64..4096, unit in 0usize..5) {
        let text = format!("{number}{}", ["b", "k", "M", "gb", "TiB"][unit]);
        prop_assert_eq!(size("size", &text).unwrap(), number << (10 * unit));
    }

    #[test]
    fn ports_that_are_written_are_read(host in 1u16.., container in 1u16.., udp: bool) {
        let text = format!("{host}:{container}/{}", if udp { "udp" } else { "tcp" });
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        let expect = vec![PortMapping { address: None, host: HostPort::One(host), container, protocol }];
        prop_assert_eq!(port(&text).unwrap(), expect);
    }

    #[test]
    fn signal_names_lead_back(number in 1i32..=64) {
        prop_assert_eq!(signal(&signal_name(number)).unwrap(), number);
    }
}
