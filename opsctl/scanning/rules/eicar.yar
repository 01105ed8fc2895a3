// The test file that every scanner knows; harmless.

rule eicar_test_file {
    meta:
        description = "the harmless file that scanners are tested with"
    strings:
        $text = /X5O!P%@AP\[4\\PZX54\(P\^\)7CC\)7\}\$[E]ICAR-[S]TANDARD-[A]NTIVIRUS-[T]EST-FILE!\$H\+H\*/
    condition:
        $text
}
