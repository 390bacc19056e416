#!/bin/bash
# boot.sh DIRECTORY CGROUPS CONTROLLERS BIND...: the lab's PID 1, from an unshared shell to systemd.
#
# Started by lab.py in new PID, mount, network, IPC and UTS namespaces. The root is an overlay over the host's, its
# upper layer a tmpfs; DIRECTORY/seed is copied into it. BIND is HOST_DIRECTORY:PLACE_IN_THE_LAB. CGROUPS are the
# host's cgroups to live in, one a hierarchy; CONTROLLERS names the v1 hierarchies, if systemd is
# to have some.
set -eu
lab=$1 cgroups=$2 controllers=$3
read -r host_pid _ </proc/self/stat # /proc is still the host's
[ $$ = 1 ] && [ "$host_pid" != 1 ]  # else this would change the host
if [ "${LAB_IN_CGROUP:-}" != yes ]; then
  for cgroup in $cgroups; do echo 0 >"$cgroup/cgroup.procs"; done
  LAB_IN_CGROUP=yes exec unshare --cgroup -- bash "$0" "$@"
fi
shift 3

mount --make-rprivate /
mount -t tmpfs -o size=1g,mode=755 lab "$lab/mount"
root=$lab/mount/root
mkdir "$lab/mount/upper" "$lab/mount/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$lab/mount/upper,workdir=$lab/mount/work" lab "$root"

# The kernel's own files: what is the host's is read-only, or not there.
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro,nosuid,nodev,noexec "$root/proc/sys"
for name in sysrq-trigger kcore kmsg; do
  [ ! -e "$root/proc/$name" ] || mount --bind /dev/null "$root/proc/$name"
done
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
if [ -n "$controllers" ]; then
  # Every hierarchy: systemd mounts those it misses, and would make its cgroups at their top.
  mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs "$root/sys/fs/cgroup"
  mkdir "$root/sys/fs/cgroup/unified"
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup/unified"
  for controller in $controllers; do
    name=${controller#name=}
    option=$controller
    [ "$name" = "$controller" ] || option=none,$controller
    mkdir "$root/sys/fs/cgroup/$name"
    mount -t cgroup -o "nosuid,nodev,noexec,$option" cgroup "$root/sys/fs/cgroup/$name"
  done
else
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
fi
mount -t tmpfs -o mode=755,nosuid,noexec tmpfs "$root/dev"
for device in null zero full random urandom tty; do cp -a "/dev/$device" "$root/dev/"; done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s null "$root/dev/console"
ln -s /proc/self/fd "$root/dev/fd"
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${stream%:*}" "$root/dev/${stream#*:}"; done
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"

# Of the host's units none but systemd's own, and of these none that is slow or means the machine.
units=$root/etc/systemd/system
rm -rf "$units" "$root/etc/fstab" "$root/etc/init.d" "$root"/etc/rc?.d "$root/var/log/journal"
mkdir -p "$units" "$root/etc/tmpfiles.d" "$root/etc/systemd/journald.conf.d"
for unit in dev-hugepages.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
  sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount \
  systemd-{remount-fs,sysctl,modules-load,random-seed,update-utmp,update-utmp-runlevel,firstboot,pstore}.service \
  systemd-{logind,user-sessions,timesyncd,networkd,resolved,udevd,udev-trigger,hwdb-update}.service \
  systemd-journald-audit.socket systemd-tmpfiles-clean.timer getty.target console-getty.service; do
  ln -s /dev/null "$units/$unit"
done
ln -sf /dev/null "$root/etc/tmpfiles.d/tmp.conf" # it would empty /tmp
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nForwardToConsole=no\nAudit=no\n' \
  >"$root/etc/systemd/journald.conf.d/lab.conf"

cp -a "$lab/seed/." "$root/"
chroot "$root" systemd-sysusers
for bind in "$@"; do
  mkdir -p "$root${bind#*:}"
  mount --bind "${bind%%:*}" "$root${bind#*:}"
done
echo "$host_pid" >"$lab/pid.new"
mv "$lab/pid.new" "$lab/pid"

cd "$root"
mkdir -p mnt
pivot_root . mnt
umount -l /mnt # the host's mounts are gone from here on
mount --make-rshared /
hostname lab
kept_from_it=sys_module,sys_time,sys_rawio,sys_boot,syslog,wake_alarm,audit_control,audit_read,mac_admin,mac_override
exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  setpriv --bounding-set="-${kept_from_it//,/,-}" \
  /lib/systemd/systemd --system --unit=multi-user.target --show-status=no
