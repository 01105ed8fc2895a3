"""What the machines of the lab of isolation run: the lab's own PID 1, that of a machine, its sshd, what is plugged into it."""

from __future__ import annotations

# PID 1 of the lab: makes the networks, starts the machines, buries orphans.
INIT = r"""
set -e
place=$1
mount --bind "$place" /mnt
mount -t tmpfs lab /run
mount -t tmpfs lab /media
cp -a /etc/. /media/ 2>/dev/null || :
mkdir -p /media/opsctl /media/systemd/system /run/netns
cp /mnt/etc/* /media/
chmod 0440 /media/sudoers; chmod 0640 /media/shadow
mount --bind /media /etc
ip link set lo up
ip link add wire type bridge
ip link set wire up
ip -batch /mnt/links
while read -r name; do
    nsenter --net="/run/netns/$name" -- unshare --mount --pid --uts --fork --kill-child --mount-proc \
        --propagation "$2" sh /mnt/machine "$name" &
done </mnt/names
echo ready >/mnt/ready
sleep infinity &
while :; do wait || :; done
"""

# PID 1 of one machine.
MACHINE = r"""
set -e
exec >"/mnt/$1/init.log" 2>&1
mount -t sysfs lab /sys
mount -t tmpfs lab /run
mount -t tmpfs -o mode=1777 lab /tmp
mount --bind "/mnt/$1/opsctl" /etc/opsctl
mount --bind "/mnt/$1/units" /etc/systemd/system
mkdir -p /run/sshd /run/netns
hostname "$1"
for each in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 >"$each"; done
ip -batch "/mnt/$1/network"
echo ready >"/mnt/$1/ready"
sleep infinity &
while :; do wait || :; done
"""

SSHD = """\
Port 22
HostKey {folder}/key
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PidFile none
MaxStartups 100
SetEnv PATH={folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
{more}
"""

# As docker lays them: NAT for what leaves, a published port, chains of its own in FORWARD.
BOX = r"""
set -e
ip netns add box
ip link add docker0 type bridge
ip addr add 172.17.0.1/16 dev docker0
ip -6 addr add fd17::1/64 dev docker0 nodad
ip link set docker0 up
ip link add vethbox type veth peer name eth0 netns box
ip link set vethbox master docker0 up
ip -n box addr add 172.17.0.2/16 dev eth0
ip -n box -6 addr add fd17::2/64 dev eth0 nodad
ip -n box link set lo up
ip -n box link set eth0 up
ip -n box route add default via 172.17.0.1
ip -n box -6 route add default via fd17::1
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
for tables in iptables-nft:172.17.0.0/16:172.17.0.2:80 'ip6tables-nft:fd17::/64:[fd17::2]:80'; do
    program=${tables%%:*} rest=${tables#*:}
    case $program in ip6*) net=fd17::/64 to='[fd17::2]:80' one=fd17::2 ;; *) net=172.17.0.0/16 to=172.17.0.2:80 one=172.17.0.2 ;; esac
    $program -N DOCKER
    $program -N DOCKER-USER
    $program -A DOCKER-USER -j RETURN
    $program -A FORWARD -j DOCKER-USER
    $program -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    $program -A FORWARD -o docker0 -j DOCKER
    $program -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
    $program -A DOCKER -d $one ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
    $program -t nat -A POSTROUTING -s $net ! -o docker0 -j MASQUERADE
    $program -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination $to
done
setsid ip netns exec box sleep infinity </dev/null >/dev/null 2>&1 &
"""

CHILD = r"""
set -e
ip netns add child
ip link add mv0 link eth0 type macvlan mode bridge
ip link set mv0 netns child name eth0
ip -n child link set lo up
ip -n child addr add {address}/17 dev eth0
ip -n child -6 addr add {address6}/64 dev eth0 nodad
ip -n child link set eth0 up
setsid ip netns exec child sleep infinity </dev/null >/dev/null 2>&1 &
"""
