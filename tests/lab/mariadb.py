"""What tests of MariaDB share: sources on a throw-away server, a database with one of everything, and a busy writer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opsctl.shells.local import LocalShell
from opsctl.sources.mariadb import Mariadb as Source
from opsctl.sources.mariadb_server import Mariadb
from tests.lab.places import open_folder
from tests.machine import Machine

RICH = r"""
CREATE DATABASE rich CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
USE rich;
CREATE SEQUENCE receipts START WITH 100 INCREMENT BY 5;
CREATE SEQUENCE round_about INCREMENT BY -1 MINVALUE -3 MAXVALUE 3 CYCLE NOCACHE;
SELECT NEXTVAL(receipts);
CREATE TABLE all_types (
  id INT AUTO_INCREMENT PRIMARY KEY, tiny TINYINT UNSIGNED, big BIGINT, z INT(8) ZEROFILL, d DECIMAL(30,10), f FLOAT,
  dbl DOUBLE, b BIT(12), c CHAR(5), v VARCHAR(200), latin VARCHAR(50) CHARACTER SET latin1, bin BINARY(4),
  vb VARBINARY(300), t TEXT, lt LONGTEXT CHARACTER SET utf8mb3, bl LONGBLOB, e ENUM('a','b','ए'), s SET('x','y','z'),
  day DATE, at DATETIME(6), stamp TIMESTAMP(3) NULL, hours TIME(6), y YEAR, j JSON, g GEOMETRY, u UUID, ip INET6,
  hidden INT INVISIBLE DEFAULT 3, twice INT GENERATED ALWAYS AS (tiny * 2) VIRTUAL,
  kept INT GENERATED ALWAYS AS (tiny + 1) STORED, receipt BIGINT DEFAULT NEXTVAL(receipts),
  `odd ``name;'"` INT DEFAULT 1, CHECK (tiny <> 250), KEY by_v (v(10)), UNIQUE KEY once (day, id), FULLTEXT KEY words (t)
);
INSERT INTO all_types (tiny, big, z, d, f, dbl, b, c, v, latin, bin, vb, t, lt, bl, e, s, day, at, stamp, hours, y, j, g, u, ip)
SELECT seq % 200, CAST(seq AS SIGNED) - 9000000000000, seq, seq / 7, seq / 3, seq / 3 * POW(10, seq % 300), seq % 4096,
  CONCAT(CHAR(97 + seq % 26), ' '), CONCAT('नगर ', seq, '\n''"\\'), CONCAT(_utf8mb4'é', seq), UNHEX(HEX(seq)),
  IF(seq % 3, RANDOM_BYTES(20), ''), IF(seq % 5, REPEAT('word ', seq % 50), NULL), IF(seq % 2, '', 'x'),
  IF(seq % 4, RANDOM_BYTES(100), NULL), 1 + seq % 3, seq % 8, '2026-01-01' + INTERVAL seq DAY,
  '2026-03-01 00:00:00.123456' + INTERVAL seq MINUTE, '2026-12-12 10:00:00.5' + INTERVAL seq HOUR,
  SEC_TO_TIME(CAST(seq AS SIGNED) * 100 - 2000), 1990 + seq % 100, JSON_OBJECT('a', seq, 'ब', NULL), ST_GeomFromText('POINT(1 2)'),
  UUID(), CONCAT('::', seq % 10)
FROM seq_1_to_300;
INSERT INTO all_types () VALUES (), ();
CREATE TABLE bodies (id INT PRIMARY KEY, name VARCHAR(80) NOT NULL);
CREATE TABLE bills (id INT PRIMARY KEY, body INT, amount DECIMAL(12,2), CONSTRAINT of_body FOREIGN KEY (body)
  REFERENCES bodies (id) ON DELETE CASCADE);
INSERT INTO bodies SELECT seq, CONCAT('body ', seq) FROM seq_1_to_20;
INSERT INTO bills SELECT seq, 1 + seq % 20, seq / 100 FROM seq_1_to_500;
CREATE TABLE no_key (a INT, b VARCHAR(10));
INSERT INTO no_key VALUES (1, 'x'), (1, 'x'), (NULL, NULL), (2, '');
CREATE TABLE nothing (a INT);
CREATE TABLE parted (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id)
  (PARTITION low VALUES LESS THAN (100), PARTITION high VALUES LESS THAN MAXVALUE);
INSERT INTO parted SELECT seq, seq FROM seq_1_to_200;
CREATE TABLE history (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING;
INSERT INTO history VALUES (1, 1), (2, 2);
UPDATE history SET v = 10 WHERE id = 1;
DELETE FROM history WHERE id = 2;
CREATE TABLE changes (what VARCHAR(20), n INT);
CREATE VIEW big_bills AS SELECT b.id, o.name FROM bills b JOIN bodies o ON o.id = b.body WHERE b.amount > 2;
DELIMITER //
CREATE FUNCTION rounded(x DOUBLE) RETURNS INT DETERMINISTIC RETURN ROUND(x)//
CREATE PROCEDURE rich.raise(IN much INT, OUT n INT)
BEGIN
  UPDATE bills SET amount = amount + much;
  SET n = ROW_COUNT();
END//
CREATE TRIGGER rich.bill_made AFTER INSERT
  ON `rich`.`bills` FOR EACH ROW
BEGIN
  INSERT INTO changes VALUES ('made', NEW.id);
END//
CREATE TRIGGER plain BEFORE DELETE ON bills FOR EACH ROW INSERT INTO changes VALUES ('gone', OLD.id)//
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 02:00:00' COMMENT 'it''s' DO DELETE FROM changes//
DELIMITER ;
CREATE VIEW a_view_of_it AS SELECT COUNT(*) AS n, rounded(AVG(1.5)) AS r FROM big_bills;
CREATE ROLE clerks;
CREATE USER portal@'10.%' IDENTIFIED BY 'portal''s', reader@localhost IDENTIFIED VIA unix_socket, stranger@'%' IDENTIFIED BY 'x';
CREATE USER `o'dd "user`@'%' IDENTIFIED BY 'y';
GRANT ALL PRIVILEGES ON rich.* TO portal@'10.%' WITH GRANT OPTION;
GRANT PROCESS ON *.* TO portal@'10.%';
GRANT SELECT, EXECUTE ON rich.* TO clerks;
GRANT clerks TO reader@localhost;
SET DEFAULT ROLE clerks FOR reader@localhost;
GRANT SELECT (id, v), UPDATE (v) ON rich.all_types TO `o'dd "user`@'%';
GRANT DELETE ON rich.bills TO `o'dd "user`@'%';
GRANT EXECUTE ON PROCEDURE rich.raise TO `o'dd "user`@'%';
GRANT INSERT ON `r_ch`.* TO reader@localhost;
GRANT SELECT ON mysql.* TO stranger@'%';
"""


def source_of(on: Mariadb, database: str, **more: Any) -> Source:
    known = {"server": str(on.socket), "user": on.superuser, "shell": LocalShell()}
    return Source("db", database=database, **{**known, **more})


def where(server: Mariadb) -> dict[str, str]:
    return {"server": str(server.socket), "user": server.superuser}


class Writer(threading.Thread):
    """Changes several tables together without a pause, until told to stop."""

    SCRIPT = """
    CREATE TABLE bills (id BIGINT AUTO_INCREMENT PRIMARY KEY, body TEXT, paid DECIMAL(12,2)) ENGINE={engine};
    CREATE TABLE totals (number BIGINT) ENGINE=InnoDB;
    CREATE TABLE stop (x INT);
    INSERT INTO bills (body, paid) SELECT CONCAT('b', seq), seq FROM seq_1_to_40000;
    INSERT INTO totals VALUES (40000);
    DELIMITER //
    CREATE PROCEDURE work()
    BEGIN
      DECLARE n INT DEFAULT 0;
      REPEAT
        SET n = n + 1;
        START TRANSACTION;
        INSERT INTO bills (body, paid) SELECT CONCAT('नगर ', seq), seq FROM seq_1_to_20;
        UPDATE bills SET paid = paid + 1 WHERE id % 97 = n % 97;
        DELETE FROM bills ORDER BY id LIMIT 9;
        UPDATE totals SET number = (SELECT COUNT(*) FROM bills);
        COMMIT;
      UNTIL EXISTS (SELECT 1 FROM stop) END REPEAT;
    END//
    DELIMITER ;
    """

    def __init__(self, server: Mariadb, database: str) -> None:
        super().__init__(daemon=True)
        self.server, self.database = server, database

    def prepare(self, engine: str = "InnoDB") -> Writer:
        self.server.sql(self.SCRIPT.format(engine=engine), self.database)
        return self

    def run(self) -> None:
        self.server.sql("CALL work()", self.database)

    def __enter__(self) -> Writer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.sql("INSERT INTO stop VALUES (1)", self.database)
        self.join(30)
        assert not self.is_alive()


@contextmanager
def licences() -> Iterator[Mariadb]:
    """A production server: `licence` with bills that a writer changes, and an account that clerks use."""
    with open_folder() as directory:
        with Mariadb(directory / "server", tcp=True) as server:
            server.sql("CREATE DATABASE licence CHARACTER SET utf8mb4; CREATE USER clerk@localhost;"
                       "GRANT SELECT, UPDATE ON licence.* TO clerk@localhost;"
                       "CREATE USER backup@'%' IDENTIFIED BY 'right';"
                       "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON licence.* TO backup@'%';"
                       "GRANT RELOAD ON *.* TO backup@'%'; GRANT SELECT ON mysql.* TO backup@'%';")
            Writer(server, "licence").prepare()
            server.sql("CREATE VIEW dear AS SELECT id, paid FROM bills WHERE paid > 39000;", "licence")
            yield server


def configure(machine: Machine, server: Mariadb, keys: str = "user: root") -> None:
    machine.configure(sources=f"  licence-db: {{kind: mariadb, database: licence, server: {server.socket}, {keys}}}",
                      backup_sources="[files, licence-db]")
    (machine.data / "scan").write_text("a scan\n" * 100)


def content(server: Mariadb, database: str) -> dict[str, tuple[int, int, str]]:
    """Rows, their ids' sum and the server's own checksum of every table: nothing of opsctl's proof is in it."""
    found = {}
    for table in server.sql(f"SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{database}'"
                            " AND TABLE_TYPE = 'BASE TABLE'").split():
        count = server.sql(f"SELECT COUNT(*) FROM `{table}`", database)
        column = {"bills": "id", "totals": "number"}.get(table, "0")
        total = server.sql(f"SELECT COALESCE(SUM({column}), 0) FROM `{table}`", database)
        checksum = server.sql(f"CHECKSUM TABLE `{table}` EXTENDED", database).split("\t")[1]
        found[table] = (int(count), int(total), checksum)
    return found


def sessions(server: Mariadb) -> str:
    """Who else is connected."""
    return server.sql("SELECT ID FROM information_schema.PROCESSLIST WHERE USER <> 'system user' AND ID <> CONNECTION_ID()")
