"""Worked examples of sources of kind ``command``, for the page on every configuration key."""

COMMANDS = '''\
## Databases that opsctl does not know: worked examples

A source of kind `command` runs the dump program of any database, and stores what it writes. The program is a list of
words, never a shell line. It runs as the user that opsctl runs as, in an environment of `PATH`, `HOME`, `LANG=C.UTF-8`
and what `environment:` adds; `runuser -u NAME --` before it makes it another user's. Exit code 0 is a success and any
other a failure (20); one that hangs is ended after `limit`, and all that it started with it.

opsctl cannot look into such a dump. **Bytes proven, rows not**: a restore shows that exactly the bytes of the dump came
back, and the program says whether they made a database. `backup run`, `backup show`, `verify`, `restore set` and
`status` say so. Try a restore.

- **To standard output**: leave `spool` out. A dump of no bytes, one without its `trailer`, one below `at_least`, and one
  whose program failed leave nothing in the repository.
- **Into files**: with `spool`, opsctl makes the folder `DIRECTORY/opsctl-SOURCE` (mode 0700, given to `owner`), runs the
  program with that path for `${spool}`, stores the folder, and removes it whatever happens; what a kill left is removed
  by the next run. The path never changes, so that a database can be told of it once.
- **Back**: `opsctl restore set BACKUP --into DIR --database SOURCE=NAME` runs `restore:` with NAME for `${target}` and
  the dump on standard input, or in `${spool}`. Without `--database` the dump lands in DIR as a file or a folder.

The three below are written from the products' manuals and have not been run against them here.

### Oracle: Data Pump

Once, as an administrator of the database: `CREATE DIRECTORY opsctl AS '/u02/spool/opsctl-portal-oracle'`, and
`GRANT READ, WRITE ON DIRECTORY opsctl` to the user. `/@PORTAL` logs in with the wallet of the system user `oracle`
(external password store), so that no password is in any command line. `expdp` ends with 5 where it *completed with
warnings*, which is a failure here.

```yaml
sources:
  portal-oracle:
    kind: command
    environment: {ORACLE_HOME: /u01/app/oracle/product/19/dbhome_1, TNS_ADMIN: /home/oracle/wallet}
    spool: {directory: /u02/spool, owner: oracle, free: 80GiB}
    argv: [runuser, -u, oracle, --, /u01/app/oracle/product/19/dbhome_1/bin/expdp, /@PORTAL, directory=OPSCTL,
           dumpfile=portal_%U.dmp, filesize=8G, logfile=portal.log, schemas=ENAGAR, flashback_time=SYSTIMESTAMP]
    restore: [runuser, -u, oracle, --, /u01/app/oracle/product/19/dbhome_1/bin/impdp, /@PORTAL, directory=OPSCTL,
              dumpfile=portal_%U.dmp, nologfile=yes, "remap_schema=ENAGAR:${target}"]
    at_least: {files: 2, bytes: 1GiB}
    limit: 6h
```

### SQL Server: sqlcmd

The server writes the file, as the system user `mssql`. `sqlcmd` finds its password in `SQLCMDPASSWORD`; `-b` makes it
fail where a statement fails. `MOVE` needs the logical names of the database's files (`RESTORE FILELISTONLY` lists them).

```yaml
sources:
  portal-mssql:
    kind: command
    password_file: keys/portal-mssql-password
    password_variable: SQLCMDPASSWORD
    spool: {directory: /var/opt/mssql/spool, owner: mssql, free: 40GiB}
    argv: [/opt/mssql-tools18/bin/sqlcmd, -S, localhost, -U, opsctl, -b, -Q,
           "BACKUP DATABASE [enagar] TO DISK = N'${spool}/enagar.bak' WITH COPY_ONLY, CHECKSUM, FORMAT"]
    restore: [/opt/mssql-tools18/bin/sqlcmd, -S, localhost, -U, opsctl, -b, -Q,
              "RESTORE DATABASE [${target}] FROM DISK = N'${spool}/enagar.bak' WITH CHECKSUM,
              MOVE N'enagar' TO N'/var/opt/mssql/data/${target}.mdf',
              MOVE N'enagar_log' TO N'/var/opt/mssql/data/${target}_log.ldf'"]
    at_least: {files: 1, bytes: 100MiB}
    limit: 4h
```

### SAP HANA: hdbsql

`-U OPSCTL` is a key of the system user's secure store (`hdbuserstore SET OPSCTL …`), which lies below its `HOME`. The
server writes the files, as `hdbadm`. `RECOVER DATA` needs a connection to the system database, and makes the tenant
`${target}` from the backup; the tenant has to be there and stopped.

```yaml
sources:
  portal-hana:
    kind: command
    environment: {HOME: /usr/sap/HDB/home}
    spool: {directory: /hana/spool, owner: hdbadm, free: 200GiB}
    argv: [runuser, -u, hdbadm, --, /usr/sap/HDB/HDB00/exe/hdbsql, -U, OPSCTL,
           "BACKUP DATA USING FILE ('${spool}/', 'portal')"]
    restore: [runuser, -u, hdbadm, --, /usr/sap/HDB/HDB00/exe/hdbsql, -U, OPSCTLSYSTEM,
              "RECOVER DATA FOR ${target} USING FILE ('${spool}/', 'portal') CLEAR LOG"]
    at_least: {files: 2, bytes: 1GiB}
    limit: 8h
```

### Anything that writes to standard output

```yaml
sources:
  ldap:
    kind: command
    argv: [/usr/sbin/slapcat, -n, "1"]
    restore: [/usr/local/sbin/load-directory, "${target}"]
    at_least: {bytes: 1MiB}
    before: [/usr/bin/systemctl, stop, slapd]
    after: [/usr/bin/systemctl, start, slapd]
    hook_limit: 2m
```
'''

HOOKS = '''\
Hooks are for what has to happen before and after, such as stopping an application: `before` first, `after` last and
whatever happened between them. They run on this machine, also where the source is on another. Both find `OPSCTL_BACKUP`, `OPSCTL_SET` and `OPSCTL_SOURCE` in their environment, and
`after` also `OPSCTL_OUTCOME` (`ok` or `failed`). A hook that fails or takes longer than `hook_limit` fails its source
(20); the other sources go on. What a hook starts ends with it. The last lines that it said are in the journal. Where
opsctl itself is interrupted or killed no hook runs any more: `opsctl resume` takes the source anew, hooks and all.
'''
