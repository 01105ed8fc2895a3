-- The rows of the portal up to the evening before :opened, about 478,000 for :scale 1; the same for a :seed.

\set citizens 'greatest(40, (40000 * :scale)::integer)'
\set properties 'greatest(36, (36000 * :scale)::integer)'
\set connections 'greatest(16, (16000 * :scale)::integer)'
\set marriages 'greatest(14, (14000 * :scale)::integer)'
\set trades 'greatest(9, (9000 * :scale)::integer)'

INSERT INTO municipal.business_days VALUES (0, NULL, pg_temp.at_counter(:'opened'::date - 1, 25199));

INSERT INTO municipal.bodies
    (id, code, kind, name_hi, name_en, district, pin, population, wards, settings, seal)
SELECT id, code, kind::municipal.body_kind, title_hi || ' ' || pg_temp.town_hi(id - 1),
    title_en || ' ' || pg_temp.town_en(id - 1), pg_temp.town_en(id % 52), 450001 + d % 39999,
    size * 20000 + d % (size * 15000), greatest(1, ceil((10 + size) * least(1, :scale))),
    jsonb_build_object('online', d % 3 > 0, 'rebate_percent', d % 7, 'languages', '["hi","en"]'::jsonb,
                       'office', jsonb_build_object('email', 'office@' || lower(code) || '.invalid')),
    sha512(convert_to('seal ' || d, 'UTF8')) || sha512(convert_to(code || d, 'UTF8'))
FROM (
    SELECT id, pg_temp.draw(id, 1) AS d,
        letters || '-' || lpad(id::text, 3, '0') AS code, kind, title_hi, title_en, size
    FROM (VALUES
        (1, 16, 'NN', 'nagar_nigam', 'नगर निगम', 'Nagar Nigam', 45),
        (17, 115, 'NP', 'nagar_palika', 'नगर पालिका', 'Nagar Palika', 8),
        (116, 412, 'PR', 'nagar_parishad', 'नगर परिषद', 'Nagar Parishad', 5)
    ) AS kinds (lowest, highest, letters, kind, title_hi, title_en, size),
    generate_series(lowest, highest) AS id
) AS body;

INSERT INTO municipal.wards (id, body_id, number, name_hi)
SELECT row_number() OVER (ORDER BY b.id, number), b.id, number,
    'वार्ड ' || number || ' ' || pg_temp.family_hi(pg_temp.draw(b.id * 100 + number, 2)) || ' मोहल्ला'
FROM municipal.bodies b, generate_series(1, b.wards) AS number;

INSERT INTO municipal.citizens (id, body_id, name_hi, name_en, mobile, address_hi, registered_at)
SELECT id, pg_temp.body_of(d >> 24), pg_temp.citizen_hi(d), pg_temp.citizen_en(d),
    '5' || lpad((d % 1000000000)::text, 9, '0'),
    CASE WHEN d % 11 > 0 THEN 'मकान ' || 1 + d % 900 || ', ' || pg_temp.family_hi(d >> 32) || ' गली' END,
    pg_temp.at_counter('2019-04-01'::date + (id * 2700 / :citizens)::integer, d)
FROM (SELECT id, pg_temp.draw(id, 3) AS d FROM generate_series(1, :citizens) AS id) AS citizen;

INSERT INTO tax.properties
    (id, body_id, ward_id, owner_id, property_no, usage, area_sqm, floors, features, assessed_at)
SELECT p.id, b.id, w.id, c.id,
    b.code || '/' || lpad(w.number::text, 2, '0') || '/' || lpad(p.id::text, 6, '0'),
    CASE WHEN d % 10 < 7 THEN 'residential' WHEN d % 10 < 9 THEN 'commercial' ELSE 'mixed' END,
    (2500 + d % 60000) / 100.0, 1 + d % 4,
    jsonb_build_object('roof', CASE WHEN d % 4 > 0 THEN 'पक्की' ELSE 'टीन' END, 'well', d % 9 = 0,
                       'built', 1950 + d % 74),
    pg_temp.at_counter('2020-01-01'::date + (p.id * 1500 / :properties)::integer, d)
FROM (SELECT id, pg_temp.draw(id, 4) AS d FROM generate_series(1, :properties) AS id) AS p
JOIN municipal.citizens c ON c.id = 1 + d / 1000 % :citizens
JOIN municipal.bodies b ON b.id = c.body_id
JOIN municipal.wards w ON w.body_id = b.id AND w.number = 1 + d / 7 % b.wards;

-- Three demands a property. Older years are paid more often, and now and then a half is paid.
INSERT INTO tax.demands (id, property_id, fiscal_year, amount, paid, due_on)
SELECT id, property_id, year, amount,
    CASE WHEN d % 100 < share - 5 THEN amount WHEN d % 100 < share THEN round(amount / 2, 2) ELSE 0 END,
    make_date(year, 12, 31)
FROM (
    SELECT 3 * (p.id - 1) + year - 2023 AS id, p.id AS property_id, year,
        pg_temp.draw(3 * (p.id - 1) + year - 2023, 5) AS d,
        round(p.area_sqm * p.floors * CASE p.usage WHEN 'residential' THEN 6.5 ELSE 17.25 END
              * (1 + (year - 2024) * 0.05), 2) AS amount,
        CASE year WHEN 2026 THEN 60 ELSE 92 END AS share
    FROM tax.properties p, generate_series(2024, 2026) AS year
) AS demand;

INSERT INTO water.connections (id, body_id, property_id, connection_no, size_mm, connected_on, active)
SELECT c.id, p.body_id, p.id, 'JAL-' || lpad(c.id::text, 7, '0'), ('{15,20,25,40}'::integer[])[1 + d % 4],
    '2018-01-01'::date + (d % 2000)::integer, d % 50 > 0
FROM (SELECT id, pg_temp.draw(id, 6) AS d FROM generate_series(1, :connections) AS id) AS c
JOIN tax.properties p ON p.id = 1 + d / 100 % :properties;

INSERT INTO water.readings (id, connection_id, read_on, litres, reader_hi)
SELECT 4 * (c.id - 1) + turn, c.id,
    ('2025-12-01'::date + turn * interval '2 months')::date + (d % 20)::integer,
    pg_temp.draw(c.id, 7) % 900000 + turn * 30000 + d % 9000,
    CASE WHEN d % 6 > 0 THEN pg_temp.groom_hi(d >> 12) END
FROM water.connections c, generate_series(1, 4) AS turn, pg_temp.draw(4 * c.id + turn, 8) AS d;

INSERT INTO billing.bills (id, reading_id, body_id, amount, paid, due_on)
SELECT row_number() OVER (ORDER BY id), id, body_id, amount, CASE WHEN d % 100 < 80 THEN amount ELSE 0 END,
    read_on + 21
FROM (
    SELECT r.id, c.body_id, r.read_on, pg_temp.draw(r.id, 9) AS d,
        round(60 + (litres - lag(litres) OVER before) * 0.0085, 2) AS amount
    FROM water.readings r JOIN water.connections c ON c.id = r.connection_id
    WINDOW before AS (PARTITION BY connection_id ORDER BY read_on)
) AS used
WHERE amount > 0;

INSERT INTO licence.trades (id, body_id, holder_id, licence_no, trade_hi, trade_en, fee, valid, conditions)
SELECT t.id, c.body_id, c.id, 'LIC/' || year || '/' || lpad(t.id::text, 6, '0'),
    pg_temp.trade_hi(d), pg_temp.trade_en(d), 500 + d % 90 * 50,
    daterange(make_date(year, 4, 1), make_date(year + 1, 4, 1)),
    CASE WHEN d % 3 = 0 THEN '{अग्निशमन यंत्र अनिवार्य,"closed on dry days"}'::text[] ELSE '{}' END
FROM (SELECT id, pg_temp.draw(id, 10) AS d FROM generate_series(1, :trades) AS id) AS t
CROSS JOIN LATERAL (SELECT (2024 + d / 100 % 3)::integer AS year) AS issue
JOIN municipal.citizens c ON c.id = 1 + d / 1000 % :citizens;

INSERT INTO registry.marriages
    (id, body_id, certificate_no, groom_hi, groom_en, bride_hi, bride_en, married_on, registered_at,
     witnesses, stamp)
SELECT id, pg_temp.body_of(d >> 30), 'VIV-' || lpad(id::text, 6, '0'),
    pg_temp.groom_hi(d), pg_temp.groom_en(d), pg_temp.bride_hi(d), pg_temp.bride_en(d),
    day - (d % 60)::integer, pg_temp.at_counter(day, d),
    jsonb_build_array(pg_temp.citizen_hi(d >> 3), pg_temp.citizen_hi(d >> 7)),
    sha256(convert_to('stamp ' || d, 'UTF8'))
FROM (
    SELECT id, pg_temp.draw(id, 11) AS d, '2021-01-01'::date + (id * 2150 / :marriages)::integer AS day
    FROM generate_series(1, :marriages) AS id
) AS marriage;

-- One receipt for all that was paid, numbered by body in the order of payment.
INSERT INTO billing.payments
    (id, body_id, receipt_no, paid_on, paid_at, service, demand_id, bill_id, licence_id, amount, method)
SELECT row_number() OVER (ORDER BY paid_at, service, thing), body_id,
    row_number() OVER (PARTITION BY body_id ORDER BY paid_at, service, thing),
    paid_on, paid_at, service, CASE service WHEN 'property_tax' THEN thing END,
    CASE service WHEN 'water' THEN thing END, CASE service WHEN 'trade_licence' THEN thing END, amount,
    pg_temp.method(d)
FROM (
    SELECT paid.*, pg_temp.at_counter(paid_on, d) AS paid_at
    FROM (
        SELECT p.body_id, 'property_tax'::billing.service AS service, d.id AS thing, d.paid AS amount,
            make_date(d.fiscal_year, 4, 1) + (draw % 240)::integer AS paid_on, draw AS d
        FROM tax.demands d JOIN tax.properties p ON p.id = d.property_id, pg_temp.draw(d.id, 12) AS draw
        WHERE d.paid > 0
        UNION ALL
        SELECT b.body_id, 'water', b.id, b.paid, b.due_on - (draw % 20)::integer, draw
        FROM billing.bills b, pg_temp.draw(b.id, 13) AS draw WHERE b.paid > 0
        UNION ALL
        SELECT t.body_id, 'trade_licence', t.id, t.fee, lower(t.valid) + (draw % 60)::integer, draw
        FROM licence.trades t, pg_temp.draw(t.id, 14) AS draw
    ) AS paid
) AS numbered
WHERE paid_on < :'opened'::date;

INSERT INTO billing.receipts SELECT body_id, max(receipt_no) FROM billing.payments GROUP BY 1;

-- Two scanned council resolutions, kept as large objects, as old portals do.
SELECT lo_from_bytea(412000 + n, string_agg(sha512(convert_to(concat_ws(' ', :'seed', n, part), 'UTF8')), ''
                                            ORDER BY part))
FROM generate_series(1, 2) AS n, generate_series(1, 2000) AS part GROUP BY n;

SELECT format('SELECT setval(%L, (SELECT max(%I) FROM %I.%I)) AS at', pg_get_serial_sequence(
           format('%I.%I', table_schema, table_name), column_name), column_name, table_schema, table_name)
FROM information_schema.columns
WHERE is_identity = 'YES' AND table_name <> 'audit'
    OR column_default LIKE 'nextval%' AND table_name = 'payments'
\gexec
