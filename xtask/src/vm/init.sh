#!/bin/busybox sh
# The guest's whole user space: file systems, modules, names for the cards, then the suite; its end is the machine's end.
export PATH=/usr/bin:/bin HOME=/tmp LC_ALL=C RUST_BACKTRACE=0 NATGW_BIN=/opt/natgw
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p /run/netns /run/lock /var
ln -s /run /var/run
ln -s /proc/self/fd /dev/fd
stty -F /dev/ttyS1 -onlcr
exec </dev/null >/dev/ttyS1 2>&1
echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
for module in virtio_pci virtio_net e1000e tun veth; do
    modprobe "$module"
done
ip link set lo up
for device in /sys/class/net/*; do
    # 52:54:00:00:00:01 is card1.
    case $(cat "$device/address") in
    52:54:00:00:00:0*)
        ip link set "${device##*/}" name "card$(sed 's/.*:0//' "$device/address")"
        ;;
    esac
done
. /etc/suite
sync
poweroff -f
