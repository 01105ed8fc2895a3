// What ransomware leaves: notes, names and marks of encrypted files, and notes in databases.

import "math"

rule ransom_note {
    meta:
        description = "a text that says files were encrypted or stolen, and how to pay or to reach who did it"
    strings:
        $done_1 = /(all )?(of )?your (\w+ ){0,3}(files|data|documents|servers|network|systems|backups|databases)( \w+){0,6} (has been|have been|were|was|are|is) (\w+ ){0,2}(encrypted|locked|stolen|exfiltrated|downloaded)/ ascii wide nocase
        $done_2 = /(we|we've|we have) (\w+ ){0,2}(encrypted|stolen|downloaded|exfiltrated) (\w+ ){0,4}(files|data|documents|servers|network|systems|databases|information)/ ascii wide nocase
        $way_1 = /[a-z2-7]{16,56}\.onion/ ascii wide nocase
        $way_2 = "tor browser" ascii wide nocase
        $way_3 = "torproject.org" ascii wide nocase
        $way_4 = /(onionmail|protonmail|proton|tutanota|tuta|cock|mail2tor|airmail|aol|msgsafe|cyberfear|keemail)\.(org|com|me|io|li|cc)\b/ ascii wide nocase
        $way_5 = /\b(tox|qtox|session) (id|chat|messenger)/ ascii wide nocase
        $pay_1 = /bitcoins?\b/ ascii wide nocase
        $pay_2 = /\bmonero\b/ ascii wide nocase
        $pay_3 = /\b(\d+(\.\d+)?) ?(btc|xmr)\b/ ascii wide nocase
        $pay_4 = /(decryption|decrypt|private|unique|personal) (key|tool|software|id)\b/ ascii wide nocase
        $pay_5 = /decryptor\b/ ascii wide nocase
        $threat_1 = /do not (try to )?(rename|modify|decrypt|delete|recover|restore)/ ascii wide nocase
        $threat_2 = /(leak|publish|sell|disclose) (\w+ ){0,3}(data|files|documents|information)/ ascii wide nocase
    condition:
        filesize < 512KB and any of ($done_*) and any of ($way_*) and 1 of ($pay_*, $threat_*)
}

rule ransom_note_in_database {
    meta:
        description = "a table or row that asks for money for a database that was taken away"
    strings:
        $name_1 = /[P]LEASE_READ_ME(_[A-Z]+)?/ nocase
        $name_2 = /READ_?ME_TO_[R]ECOVER(_YOUR_DATA)?/ nocase
        $name_3 = /RECOVER_[Y]OUR_DATA/ nocase
        $text_1 = /to recover your (lost )?(database|data|db)/ nocase
        $text_2 = /your (database|db|data) (is|has been|was|were) (downloaded and )?(backed up|dumped|deleted|downloaded)/ nocase
        $text_3 = /all your data (is|was|has been) (backed up|deleted|stolen|downloaded)/ nocase
        $pay_1 = /\b\d(\.\d+)? ?(BTC|bitcoins?)\b/ nocase
        $pay_2 = /\b(bc1[02-9ac-hj-np-z]{20,60}|[13][1-9A-HJ-NP-Za-km-z]{25,34})\b/
    condition:
        any of ($pay_*) and (2 of ($text_*) or (any of ($name_*) and any of ($text_*)))
}

rule encrypted_by_name {
    meta:
        description = "a file name that known ransomware gives to what it has encrypted"
    condition:
        extension matches /^\.(lockbit[0-9]?|hljknskoq|abcd_lockbit|akira|akiranew|powerranges|blackbasta|basta|alphv|blackcat|conti|ryk|royal_w|royal_u|rhysida|medusalocker|bianlian|trigona|_locked|8base|elbie|eking|faust|phobos|devos|makop|mkp|dharma|cezar|wallet_dharma|wncry|wncryt|wcry|wnry|locky|zepto|osiris_locky|cerber[0-9]?|crypt14_ransom|cryptolocker|cryptowall|ctbl|teslacrypt|gdcb|krab|sodinokibi|revil|clop|cl0p|ciop|c_i_0p|egregor|nefilim|nephilim|netwalker|mailto_nw|ragnarok|ragnar_[0-9a-f]{8}|doppelpaymer|doppeled|hive_enc|hello_kitty|babyk|babuk|avos2?|avoslinux|monti|puuuk|deadbolt|ech0raix|qnapcrypt|djvus?|djvuq|stopransom|lilith|hunters_int|inc_ransom|qilin|ransomhub|cactus|cts[0-9]|lynx|embargo|safepay|dragonforce_encrypted|interlock|medusa)$/i
        or filename matches /\.id[-\[][0-9A-F]{8}(-[0-9]{4})?\]?\.\[[^\]]{1,80}@[^\]]{1,80}\]\.[a-z0-9_]{2,20}$/i
        or filename matches /\.\[[^\]]{1,80}@[^\]]{1,80}\]\.[a-z0-9_]{2,20}$/i
}

rule encrypted_by_name_and_content {
    meta:
        description = "a file name that ransomware uses, and content that is no longer of any known sort"
    condition:
        extension matches /^\.(encrypted|crypted|crypt|crypto|locked|lock|lck|crypz|cryp1|ecc|ezz|exx|vvv|xxx|ttt|micro|mp3_enc|odin|thor|aesir|zzzzz|arrow|bip|combo|gamma|hive|royal|play|snatch|inc|args|ransom|pays|paid|hacked|pwned|darkness|8|maze)$/i
        and filesize >= 2KB
        and math.entropy(0, 2048) > 7.8
        and uint32be(0) != 0x53616c74  // Salted__: openssl enc, which people use themselves
        and uint32be(0) != 0x6167652d  // age-encryption.org
        and uint32be(0) != 0x504b0304  // zip
        and uint16be(0) != 0x1f8b and uint32be(0) != 0x28b52ffd and uint32be(0) != 0xfd377a58 and uint32be(0) != 0x425a6839
        and uint32be(0) != 0x377abcaf and uint32be(0) != 0x25504446 and uint32be(0) != 0x89504e47 and uint16be(0) != 0xffd8
        and uint8(0) & 0xfc != 0x84 and uint8(0) != 0xc1 and uint8(0) != 0xc3  // OpenPGP: gpg
}

rule encrypted_by_mark {
    meta:
        description = "a mark that known ransomware writes into what it has encrypted"
    strings:
        $wannacry = "WANACRY!"
        $ryuk_1 = "HERMES"
        $ryuk_2 = "RYUKTM"
        $stop = "{36A698B9-D67C-4E07-BE82-0EC5B14B4DF5}"
    condition:
        $wannacry at 0
        or (filesize > 512 and any of ($ryuk_*) in (filesize - 300 .. filesize) and math.entropy(0, 512) > 7.3)
        or (filesize > 100 and $stop in (filesize - 60 .. filesize))
}
