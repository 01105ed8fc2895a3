-- Every common type, odd names, and every sort of object, in a database called like :"db".
CREATE ROLE portal_owner;
CREATE ROLE portal_app LOGIN PASSWORD 'app''s own';
CREATE ROLE "odd ""role'%I" NOLOGIN CREATEDB;
CREATE ROLE clerk LOGIN CONNECTION LIMIT 3 VALID UNTIL '2030-01-01';
CREATE ROLE stranger LOGIN;
GRANT portal_app TO clerk WITH ADMIN OPTION;
GRANT pg_read_all_data TO clerk;
ALTER ROLE clerk SET search_path TO "$user", public, "Odd Schema";
ALTER ROLE clerk SET work_mem = '8MB';
CREATE DATABASE :"db" OWNER portal_owner TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE :"db" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"db" TO portal_app;
ALTER DATABASE :"db" SET statement_timeout = '90s';
ALTER DATABASE :"db" SET opsctl.note = 'x %y''\z';
ALTER ROLE portal_app IN DATABASE :"db" SET search_path = 'a b', public;
COMMENT ON DATABASE :"db" IS 'it''s 100 % \ नगर';
\connect :"db"
SET client_min_messages = error;
CREATE SCHEMA "Odd Schema" AUTHORIZATION portal_owner;
GRANT USAGE ON SCHEMA "Odd Schema" TO PUBLIC;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN pin AS text CHECK (VALUE ~ '^\d{6}$');
CREATE TYPE address AS (street text, pin pin);
CREATE TYPE float_range AS RANGE (subtype = float8);
CREATE TABLE all_types (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n numeric, f float8, f4 real, tz timestamptz, ts timestamp, d date,
  tm time, tmz timetz, j jsonb, js json, b bytea, arr int[][], ta text[], u uuid, i inet, ci cidr, ma macaddr, iv interval,
  m mood, p pin, a address, aa address[], r int4range, mr nummultirange, fr float_range, t text, t2 text, mo money, x xml,
  bo bool, bi bit(5), vb varbit, ch char(10), pt point, po polygon, tv tsvector, rc regclass, "char" "char",
  gen text GENERATED ALWAYS AS (t || 'x') STORED);
INSERT INTO all_types (n, f, f4, tz, ts, d, tm, tmz, j, js, b, arr, ta, u, i, ci, ma, iv, m, p, a, aa, r, mr, fr, t, t2, mo, x,
  bo, bi, vb, ch, pt, po, tv, rc, "char")
SELECT g * 1.10, g / 3.0, g / 7.0, timestamptz '2024-01-01 00:00+05:30' + g * interval '1 hour', '2024-01-01 10:00:00.123456',
  '2024-02-29', '10:00:00.1', '10:00:00+05:30', '{"b":1,"a":[null,"म"]}', '{"b":1,  "a":2}', '\xdeadbeef00',
  '{{1,2},{3,NULL}}', ARRAY['a,b', '"q"', NULL, ''], md5(g::text)::uuid, '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03',
  '1 year 2 days 3.5 sec', 'ok', '482001', ROW('गली', '482001')::address, ARRAY[ROW('a"b', NULL)::address], '[1,5)',
  '{[1,2),[3.5,4)}', '[1.5,2.5)', 'नगर पालिका ' || g, CASE WHEN g % 2 = 0 THEN NULL ELSE '' END, 12.34, '<a>b</a>', true,
  B'10101', B'1', 'ab', '(1,2)', '((0,0),(1,1))', 'a:1 b:2', 'all_types', 'z'
FROM generate_series(1, 300) g;
INSERT INTO all_types (n, f, tz) VALUES ('NaN', 'Infinity', 'infinity'), (NULL, '-0', '-infinity'), (1.10, 1, 'epoch'),
  (1.1000, 1e-300, 'epoch');
CREATE TABLE "Odd Schema"."T ""q"" %s $1 :x" (t text, "Select" int, "a.b" int, "t.*" int CHECK ("Select" IN (1, 2)),
  v varchar CHECK (v IN ('a', 'b')));
INSERT INTO "Odd Schema"."T ""q"" %s $1 :x" VALUES ('a', 1, 2, 3, 'a'), ('a', 1, 2, 3, 'a');
CREATE TABLE "नागरिक" ("नाम" text);
INSERT INTO "नागरिक" VALUES ('आशा वर्मा'), (E'line\nbreak\ttab\\.');
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE part (id int, at date, v varchar(20)) PARTITION BY RANGE (at);
CREATE TABLE part_24 PARTITION OF part FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE part_other (v varchar(20), gone int, id int, at date);
ALTER TABLE part_other DROP COLUMN gone;
ALTER TABLE part ATTACH PARTITION part_other DEFAULT;
CREATE INDEX ON part (id);
ALTER TABLE part ADD PRIMARY KEY (id, at);
INSERT INTO part SELECT g, date '2024-12-01' + g, 'v' || g FROM generate_series(1, 100) g;
-- Inheritance puts the parent's columns first when it is loaded.
CREATE TABLE parent (a int, b text);
CREATE TABLE child (c int, b text, a int);
ALTER TABLE child INHERIT parent;
INSERT INTO parent VALUES (1, 'p');
INSERT INTO child VALUES (3, 'c', 1);
CREATE TABLE fk (id int PRIMARY KEY, pid int, pat date,
  FOREIGN KEY (pid, pat) REFERENCES part (id, at) ON DELETE CASCADE DEFERRABLE);
INSERT INTO fk VALUES (1, 1, '2024-12-02');
CREATE UNLOGGED TABLE unlogged (x int);
INSERT INTO unlogged VALUES (1);
CREATE VIEW v1 AS SELECT id, t FROM all_types WHERE m IN ('ok', 'sad');
CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM public.all_types;
CREATE INDEX ON mv (count);
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER tr BEFORE UPDATE ON parent FOR EACH ROW WHEN (NEW.a > 0) EXECUTE FUNCTION trg();
CREATE TRIGGER tr_part AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION trg();
CREATE FUNCTION sqlf(x int, y text DEFAULT 'a') RETURNS int LANGUAGE sql SECURITY DEFINER RETURN x + 1;
CREATE PROCEDURE pr() LANGUAGE sql AS '';
CREATE AGGREGATE agg (int) (sfunc = int4pl, stype = int);
ALTER TABLE parent ENABLE ROW LEVEL SECURITY;
CREATE POLICY pol ON parent FOR SELECT TO portal_app USING (a IN (1, 2));
GRANT SELECT, INSERT ON all_types TO portal_app;
GRANT SELECT (a) ON child TO "odd ""role'%I";
GRANT EXECUTE ON FUNCTION sqlf TO portal_app;
REVOKE EXECUTE ON FUNCTION sqlf FROM PUBLIC;
ALTER TABLE part OWNER TO portal_owner;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO portal_app;
CREATE SEQUENCE down INCREMENT -1;
SELECT nextval('down'), nextval('down') \g /dev/null
CREATE SEQUENCE big START 9007199254740993;
SELECT nextval('big') \g /dev/null
CREATE SEQUENCE untouched;
CREATE SEQUENCE around MAXVALUE 3 CYCLE;
SELECT lo_from_bytea(0, decode(repeat('ab', 600000), 'hex')), lo_from_bytea(0, '') \g /dev/null
SELECT lo_put(lo_create(0), 5000, '\x01') \g /dev/null
CREATE INDEX some_idx ON all_types (lower(t)) WHERE n > 5 AND t IN ('a', 'b');
CREATE UNIQUE INDEX ON all_types (id DESC) INCLUDE (n);
CREATE STATISTICS st ON id, n FROM all_types;
CREATE COLLATION coll (provider = icu, locale = 'hi');
CREATE PUBLICATION pub FOR TABLE parent;
CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq);
CREATE CAST (mood AS int) WITH INOUT;
CREATE TEXT SEARCH CONFIGURATION tsc (COPY = simple);
CREATE RULE rl AS ON INSERT TO no_columns DO ALSO NOTHING;
CREATE FUNCTION et() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$;
CREATE EVENT TRIGGER quiet ON ddl_command_start WHEN TAG IN ('CREATE CAST') EXECUTE FUNCTION et();
