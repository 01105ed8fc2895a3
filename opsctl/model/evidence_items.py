"""What is collected of a host, in the order in which it fades: what only memory holds first, what lies on disks last (RFC 3227).

Every command only reads. The first of its alternatives whose program is there is run.
"""

from __future__ import annotations

from opsctl.model.values import value


@value
class Asked:
    """A command whose output is kept. ``tries``: argument lists, the best first; ``seconds`` it may take.

    ``personal``: it is likely to hold personal data, whose retention ends at a date. ``most`` bytes are kept, where that is
    said of this one alone.
    """

    key: str
    about: str
    tries: tuple[tuple[str, ...], ...]
    seconds: float = 30.0
    personal: bool = False
    most: int | None = None


@value
class Logs:
    """Log files that are kept whole where they were written to within the window, rotated and compressed ones too.

    ``globs`` are patterns of a shell; ``type`` is a type of log of the protocol's list (``log_types``), or empty.
    """

    key: str
    about: str
    globs: tuple[str, ...]
    type: str = ""
    personal: bool = True
    windowed: bool = True


def _sh(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text)


def _systemd(words: str) -> tuple[str, ...]:
    return _sh(f"[ -d /run/systemd/system ] || {{ echo 'systemd does not run there' >&2; exit 127; }}; exec systemctl {words} --no-pager --full")


_PROC = ("for p in /proc/[0-9]*; do printf '%s ' \"${p#/proc/}\"; tr '\\0' ' ' <$p/cmdline 2>/dev/null; echo; done")

DEVICE = _sh(
    "cd /sys/class/dmi/id 2>/dev/null && for f in sys_vendor product_name product_serial product_uuid chassis_type; do "
    "[ -r $f ] && echo \"$f: $(cat $f)\"; done; for i in /sys/class/net/*; do [ -r $i/address ] && [ ${i##*/} != lo ] && echo \"mac: ${i##*/} $(cat $i/address)\"; done; "
    "[ -r /etc/machine-id ] && echo \"machine_id: $(cat /etc/machine-id)\"; echo \"hostname: $(uname -n)\"; echo \"kernel: $(uname -srvm)\"; "
    "sed -n 's/^PRETTY_NAME=\"\\{0,1\\}\\([^\"]*\\).*/system: \\1/p' /etc/os-release 2>/dev/null; echo \"user: $(id -un)\"; echo \"epoch: $(date +%s)\"")
"""Who a host says it is, as ``key: value`` lines."""

VOLATILE: tuple[Asked, ...] = (
    Asked("clock", "Date, time and time since start of the host", (_sh("date -u '+%Y-%m-%dT%H:%M:%SZ'; date; cat /proc/uptime"),)),
    Asked("processes", "Processes", (
        ("ps", "axwwo", "pid,ppid,pgid,sid,uid,user,lstart,tty,stat,rss,args"), ("ps", "-ef"), ("ps", "w"), _sh(_PROC)), personal=True),
    Asked("process-links", "Program file, folder and root of each process, deleted ones too",
          (_sh("for p in /proc/[0-9]*; do for l in exe cwd root; do t=$(readlink $p/$l 2>/dev/null) && echo \"${p#/proc/} $l $t\"; done; done"),)),
    Asked("open-files", "Open files of each process", (("lsof", "-nPwb", "+c0"), _sh("ls -ln /proc/[0-9]*/fd 2>/dev/null")), personal=True),
    Asked("sockets", "Sockets with their processes", (("ss", "-atunwxpeiO"), ("netstat", "-anpe"), ("netstat", "-an"),
                                                      _sh("cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6"))),
    Asked("connections", "Connection tracking", (("conntrack", "-L", "-o", "extended"), ("cat", "/proc/net/nf_conntrack"))),
    Asked("neighbours", "Neighbours on the network (ARP, NDP)", (("ip", "-s", "neighbour"), ("cat", "/proc/net/arp"))),
    Asked("addresses", "Network interfaces and addresses", (("ip", "-d", "-s", "address"), ("ifconfig", "-a"), ("cat", "/proc/net/dev"))),
    Asked("routes", "Routes of every table, and rules", (_sh("command -v ip >/dev/null || exit 127; ip rule; ip route show table all; ip -6 route show table all"),
                                                          ("route", "-n"), ("cat", "/proc/net/route"))),
    Asked("packet-filter", "Packet filter rules with counters", (("nft", "list", "ruleset"), ("iptables-save", "-c"))),
    Asked("logins", "Who is logged in", (("w", "-i"), ("who", "-aH"), ("who",)), personal=True),
    Asked("logins-before", "Logins before, with addresses", (("last", "-Fwi", "-n", "5000"), ("last",)), personal=True),
    Asked("logins-failed", "Failed logins before", (("lastb", "-Fwi", "-n", "5000"), ("lastb",)), personal=True),
    Asked("modules", "Kernel modules", (("cat", "/proc/modules"), ("lsmod",))),
    Asked("kernel-messages", "Messages of the kernel", (("dmesg", "-T"), ("dmesg",))),
    Asked("mounts", "Mounted file systems", (("cat", "/proc/self/mountinfo"), ("mount",))),
    Asked("timers", "Timers of systemd", (_systemd("list-timers --all"),)),
    Asked("schedules", "Schedules of cron, anacron and at", (_sh(
        "for f in /etc/crontab /etc/anacrontab /etc/cron.*/* /var/spool/cron/* /var/spool/cron/crontabs/* /var/spool/cron/atjobs/*; do "
        "[ -f \"$f\" ] || continue; echo \"==> $f\"; ls -ln \"$f\"; cat \"$f\"; done"),), personal=True),
    Asked("units", "Units of systemd as they stand", (_systemd("list-units --all --plain"), ("service", "--status-all"))),
    Asked("unit-files", "Unit files of systemd and whether they start by themselves", (("systemctl", "list-unit-files", "--no-pager", "--full"),)),
    Asked("accounts", "Accounts and groups of the host, without passwords", (_sh("cat /etc/passwd /etc/group"),), personal=True),
    Asked("device", "Make, model, serial number, addresses and system of the host", (DEVICE,)),
)
"""``volatile``: what a restart or an hour takes away, and what tells of it."""

PACKAGES: tuple[Asked, ...] = (
    Asked("packages", "Installed packages", (("dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture} ${Status}\\n"), ("rpm", "-qa"), ("apk", "info", "-v"))),
    Asked("package-verification", "Files of packages that are not as they were installed", (("dpkg", "-V"), ("rpm", "-Va"), ("apk", "audit")), seconds=900.0),
)

LOGS: tuple[Logs, ...] = (
    Logs("auth-logs", "Authentication", ("/var/log/auth.log*", "/var/log/secure*", "/var/log/sudo*.log*", "/var/log/faillog"), "ssh"),
    Logs("login-records", "Login records (wtmp, btmp, lastlog)", ("/var/log/wtmp*", "/var/log/btmp*", "/var/log/lastlog*", "/run/utmp")),
    Logs("audit-logs", "Audit trail of the kernel", ("/var/log/audit/audit.log*",), "critical-system-events"),
    Logs("web-logs", "Web servers", ("/var/log/nginx/*", "/var/log/apache2/*", "/var/log/httpd/*", "/var/log/lighttpd/*", "/var/log/caddy/*",
                                     "/var/log/tomcat*/*", "/opt/tomcat*/logs/*"), "web-server"),
    Logs("proxy-logs", "Proxies", ("/var/log/haproxy*", "/var/log/squid/*"), "proxy-server"),
    Logs("system-logs", "System events", ("/var/log/syslog*", "/var/log/messages*", "/var/log/kern.log*", "/var/log/daemon.log*", "/var/log/cron*",
                                          "/var/log/dpkg.log*", "/var/log/apt/*.log*", "/var/log/yum.log*", "/var/log/dnf*.log*"), "critical-system-events"),
    Logs("database-logs", "Database servers", ("/var/log/postgresql/*", "/var/lib/pgsql/data/log/*", "/var/log/mysql/*", "/var/log/mariadb/*"), "database-server"),
    Logs("firewall-logs", "Packet filters", ("/var/log/ufw.log*", "/var/log/firewalld*", "/var/log/fail2ban.log*"), "firewall"),
    Logs("mail-logs", "Mail servers", ("/var/log/mail*.log*", "/var/log/maillog*", "/var/log/exim4/*"), "mail-server"),
    Logs("ftp-logs", "FTP servers", ("/var/log/vsftpd.log*", "/var/log/proftpd/*", "/var/log/xferlog*"), "ftp-server"),
    Logs("vpn-logs", "VPN", ("/var/log/openvpn*", "/var/log/openvpn/*"), "vpn"),
)
"""Where Debian, Ubuntu and the Red Hat family keep them; ``type`` is one of the protocol's list (``log_types``)."""


def journal_since(epoch: int) -> Asked:
    """What systemd's journal holds since a moment (seconds since 1970)."""
    return Asked("journal", "Journal of systemd within the window",
                 (("journalctl", "--no-pager", "--utc", "-q", "-o", "short-iso-precise", "--since", f"@{epoch}"),), seconds=600.0, personal=True)
