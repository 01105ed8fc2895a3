// What brings an attacker back: jobs, keys, shells that call out, miners.

rule cron_fetches_and_runs {
    meta:
        description = "a cron line that fetches something from the network and runs it"
    strings:
        $pipe = /(@(reboot|hourly|daily|weekly)|[\d*][\d*\/,-]{0,20}[ \t]+[\d*][\d*\/,-]{0,20}[ \t]+[\d*][\d*\/,-]{0,20}[ \t]+[\d*a-z][\da-z*\/,-]{0,20}[ \t]+[\d*a-z][\da-z*\/,-]{0,20})[ \t]+[^\n#]{0,120}\b(curl|wget|fetch|lwp-download)\b[^\n]{1,300}\|[ \t]*(sudo[ \t]+)?(\/\S{0,30}\/)?(ba|da|z|k)?sh\b/
        $later = /(@(reboot|hourly|daily|weekly)|[\d*][\d*\/,-]{0,20}[ \t]+[\d*][\d*\/,-]{0,20}[ \t]+[\d*][\d*\/,-]{0,20}[ \t]+[\d*a-z][\da-z*\/,-]{0,20}[ \t]+[\d*a-z][\da-z*\/,-]{0,20})[ \t]+[^\n#]{0,120}\b(curl|wget)\b[^\n]{1,300}(chmod[ \t]+(\+x|[0-7]{3,4})|\/(tmp|dev\/shm|var\/tmp)\/\.[^\n]{1,80};)/
        $base64 = /(@(reboot|hourly|daily|weekly)|[\d*][\d*\/,-]{0,20}[ \t]+[\d*][\d*\/,-]{0,20}[ \t]+[\d*][\d*\/,-]{0,20}[ \t]+[\d*a-z][\da-z*\/,-]{0,20}[ \t]+[\d*a-z][\da-z*\/,-]{0,20})[ \t]+[^\n#]{0,120}base64[ \t]+(-d|--decode|-D)\b[^\n]{0,80}\|[ \t]*(\/\S{0,30}\/)?(ba|da|z)?sh\b/
    condition:
        any of them
}

rule script_installs_itself {
    meta:
        description = "a script that fetches a program and puts it into cron, systemd or a shell's start-up"
    strings:
        $fetch = /\b(curl|wget)\b[^\n]{1,200}https?:\/\/[^\n]{4,200}\|[ \t]*(sudo[ \t]+)?(\/\S{0,30}\/)?(ba|da|z)?sh\b/
        $cron_1 = /\|[ \t]*crontab[ \t]+-/
        $cron_2 = />>?[ \t]*\/(etc\/cron|var\/spool\/cron)[^\s;]{0,60}/
        $quiet_1 = />[ \t]*\/dev\/null[ \t]+2>&1/
        $kill_1 = /\b(pkill|killall)[ \t]+(-9[ \t]+|-f[ \t]+)*(kdevtmpfsi|kinsing|xmrig|xmr-stak|minerd|cryptonight|sysrv)/
        $preload = />>?[ \t]*\/etc\/ld\.so\.preload/
        $chattr = /chattr[ \t]+[+-]i[a]?[ \t]+[^\n]{0,40}(\.ssh\/authorized_keys|\/etc\/(crontab|ld\.so\.preload)|\/var\/spool\/cron)/
    condition:
        filesize < 2MB and (
            ($fetch and any of ($cron_*) and $quiet_1) or ($kill_1 and any of ($cron_*)) or ($preload and ($fetch or any of ($cron_*))) or
            ($chattr and ($fetch or any of ($cron_*)))
        )
}

rule script_adds_ssh_key {
    meta:
        description = "a script that writes a fixed public key into authorized_keys"
    strings:
        $line = /\b(echo|printf)[ \t]+(-[ne]+[ \t]+)?["']?[^"'\n]{0,80}(ssh-(rsa|ed25519|dss)|ecdsa-sha2-nistp\d{3})[ \t]+AAAA[A-Za-z0-9+\/=]{40,}[^\n]{0,200}>>?[^\n]{0,80}authorized_keys/
    condition:
        $line
}

rule shell_that_calls_out {
    meta:
        description = "a command that connects a shell to a stranger's machine"
    strings:
        $bash = /\b(ba|z|da)?sh[ \t]+-i[ \t]*(>&|&>|>)[ \t]*\/dev\/(tcp|udp)\/\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\/\d{2,5}/
        $exec = /exec[ \t]+\d{1,3}<>[ \t]*\/dev\/tcp\/\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\/\d{2,5}[^\n]{0,80}(sh|while|cat)/
        $nc = /\b(nc|ncat|netcat)[ \t]+(-[a-z]+[ \t]+)*\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}[ \t]+\d{2,5}[ \t]+-[ec][ \t]*\/bin\/(ba|da)?sh/
        $fifo = /mkfifo[ \t]+(\/\S{1,60})[^\n]{0,60}\/bin\/(ba|da)?sh[ \t]+-i[^\n]{0,40}\|[ \t]*(nc|ncat|openssl)[ \t]/
        $python = /socket\.socket\([^\n]{0,200}\.connect\(\(["']\d{1,3}\.[^\n]{0,300}os\.dup2\([^\n]{0,300}(pty\.spawn|subprocess\.(call|Popen)|os\.system)/
        $perl = /use Socket;[^\n]{0,300}connect\(S,[^\n]{0,200}open\(STDIN,[^\n]{0,40}&S[^\n]{0,200}exec\(/
        $php = /fsockopen\(["']\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}["'],[ \t]*\d{2,5}\);[ \t]*(exec|shell_exec|system|passthru|proc_open)\(/
    condition:
        any of them
}

rule miner_configuration {
    meta:
        description = "what a hidden miner of cryptocurrency is told: its pool and its wallet"
    strings:
        $pool = /stratum\+(tcp|ssl):\/\/[a-z0-9.-]{4,80}:\d{2,5}/ nocase
        $wallet_1 = /\b4[0-9AB][1-9A-HJ-NP-Za-km-z]{93}\b/
        $wallet_2 = /["'](user|wallet|login)["'][ \t]*:[ \t]*["'][1-9A-HJ-NP-Za-km-z]{90,110}/
        $program = /\b(xmrig|xmr-stak|minerd|cpuminer|kdevtmpfsi)\b/ nocase
    condition:
        $pool and (any of ($wallet_*) or $program) and filesize < 4MB
}
