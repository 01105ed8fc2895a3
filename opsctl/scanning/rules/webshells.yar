// Pages of web servers that run what a stranger sends them.

rule webshell_php_runs_input {
    meta:
        description = "PHP that runs what comes with a request as code or as a command"
    strings:
        $code_1 = /\b(eval|assert|create_function)\s{0,20}\(\s{0,20}@?(stripslashes|base64_decode|gzinflate|gzuncompress|str_rot13|urldecode|hex2bin|trim)?\s{0,4}\(?\s{0,4}@?\$_(POST|GET|REQUEST|COOKIE|SERVER)\s{0,4}[\[{]/ nocase
        $code_2 = /\bpreg_replace\s{0,4}\(\s{0,4}["']([^"'\n]{1,40})[\/#~|][a-z]{0,4}e[a-z]{0,4}["']\s{0,4},\s{0,4}@?\$_(POST|GET|REQUEST|COOKIE)/ nocase
        $command = /\b(system|passthru|shell_exec|exec|popen|proc_open|pcntl_exec)\s{0,20}\(\s{0,20}@?\$_(POST|GET|REQUEST|COOKIE)\s{0,4}[\[{]/ nocase
        $backtick = /`\s{0,4}\$_(POST|GET|REQUEST|COOKIE)\[[^\]\n]{1,40}\]\s{0,4}`/ nocase
        $callee = /\$_(POST|GET|REQUEST|COOKIE)\s?\[[^\]\n]{1,40}\]\s{0,4}\(\s{0,4}@?\$_(POST|GET|REQUEST|COOKIE)\s?\[/ nocase
    condition:
        any of them
}

rule webshell_php_hides_code {
    meta:
        description = "PHP that unpacks hidden code and runs it"
    strings:
        $open = /<\?(php|=)?[\s]/ nocase
        $chain_1 = /\b(eval|assert)\s{0,20}\(\s{0,20}@?(gzinflate|gzuncompress|gzdecode|str_rot13|strrev|base64_decode|convert_uudecode|rawurldecode)\s{0,20}\(\s{0,20}@?(gzinflate|gzuncompress|gzdecode|str_rot13|strrev|base64_decode|convert_uudecode|rawurldecode)\s{0,20}\(/ nocase
        $chain_2 = /\beval\s{0,20}\(\s{0,20}["']?\?>["']?\s{0,4}\.\s{0,4}@?(gzinflate|gzuncompress|base64_decode|str_rot13)\s{0,4}\(/ nocase
        $chain_3 = /\beval\s{0,20}\(\s{0,20}base64_decode\s{0,4}\(\s{0,4}["'][A-Za-z0-9+\/=]{64}/ nocase
    condition:
        $open and any of ($chain_*)
}

rule webshell_php_known {
    meta:
        description = "a PHP web shell by name: c99, r57, WSO, b374k, weevely, Behinder, Godzilla"
    strings:
        $open = /<\?(php|=)?[\s]/ nocase
        $c99 = /\bc99(sh|shell)_[a-z]{3,}/ nocase
        $r57 = /\br57shell\b/ nocase
        $wso_1 = /\bFilesM[a]n\b/ nocase
        $wso_2 = /\bwso(Login|Ex|Footer|Header|ViewSize|Perms)\s?\(/
        $b374k = /\bb374k\b[^\n]{0,40}(shell|\$|=)/ nocase
        $behinder = /\$post\s?=\s?openssl_decrypt\s?\(\s?\$post\s?,\s?"AES128"/ nocase
        $godzilla = /function\s+encode\s?\(\s?\$D\s?,\s?\$K\s?\)/ nocase
    condition:
        $open and any of ($c99, $r57, $wso_*, $b374k, $behinder, $godzilla)
}

rule webshell_jsp {
    meta:
        description = "a JSP page that runs a command or code out of a request"
    strings:
        $page = /<%[@!\s=]/
        $tag = /<jsp:(scriptlet|declaration|directive|root)/ nocase
        $exec_1 = /getRuntime\s?\(\s?\)\s?\.\s?exec\s?\(/
        $exec_2 = /new\s+ProcessBuilder\s?\(/
        $input = /request\s?\.\s?get(Parameter|Header|Reader|InputStream|Cookies)\s?\(/
        $define = /\bdefineClass\s?\(/
        $crypt = /Cipher\s?\.\s?getInstance\s?\(\s?"AES/
        $decode = /(BASE64Decoder|Base64\s?\.\s?getDecoder|DatatypeConverter\s?\.\s?parseBase64Binary)/
    condition:
        filesize < 2MB and ($page or $tag) and $input and (any of ($exec_*) or ($define and ($crypt or $decode)))
}

rule webshell_jsp_known {
    meta:
        description = "the JSP one-liner that gives a request a shell"
    strings:
        $line = /getRuntime\s?\(\s?\)\s?\.\s?exec\s?\(\s?request\s?\.\s?getParameter\s?\(/
    condition:
        $line
}

rule webshell_aspx {
    meta:
        description = "an ASP or ASP.NET page that runs what comes with a request"
    strings:
        $page = /<%@?\s{0,4}(page|webhandler|webservice|language)\b/ nocase
        $script = /<script\s[^>\n]{0,80}runat\s?=\s?["']?server/ nocase
        $chopper = /\beval\s{0,4}\(?\s{0,4}request\s{0,4}(\.\s?(item|form|querystring|params)\s{0,4})?[\[(]/ nocase
        $execute = /\b(execute|executeglobal)\s{0,4}\(?\s{0,4}request\s{0,4}[\[(.]/ nocase
        $input = /\bRequest\s{0,2}(\.\s?(Item|Form|QueryString|Params|Headers|Cookies|InputStream|BinaryRead)\b|\[)/ nocase
        $start = /\b(Process\s?\.\s?Start\s?\(|new\s+ProcessStartInfo\b|WScript\.Shell\b)/ nocase
        $shell = /["'](cmd(\.exe)?|\/c |powershell(\.exe)?|[^"'\n]{0,60}\\cmd\.exe)/ nocase
        $load = /\bAssembly\s?\.\s?Load\s?\(/
    condition:
        filesize < 2MB and ($page or $script or extension matches /^\.(asp|aspx|ashx|asmx|cer)$/i)
        and ($chopper or $execute or ($input and $start and $shell) or ($input and $load))
}
