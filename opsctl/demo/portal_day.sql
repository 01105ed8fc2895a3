-- The :n-th three days of business, from :opened on; each statement prints how many rows it added or changed.

SET LOCAL enagar.clock = :'closed';

-- The keys refuse a turn that was played already, and one whose forerunner was not.
INSERT INTO municipal.business_days VALUES (:n, :n - 1, :'closed');
SELECT 1;

-- Each payment credits its demand.
WITH chosen AS (
    SELECT d.id, p.body_id, d.amount - d.paid AS due, draw, :'opened'::date + (draw % 3)::integer AS paid_on
    FROM tax.demands d JOIN tax.properties p ON p.id = d.property_id,
    pg_temp.draw(d.id * 1000 + :n, 21) AS draw
    WHERE NOT d.settled ORDER BY draw, d.id LIMIT (SELECT greatest(2, count(*) / 90) FROM tax.demands)
), added AS (
    INSERT INTO billing.payments (body_id, paid_on, paid_at, service, demand_id, amount, method)
    SELECT body_id, paid_on, pg_temp.at_counter(paid_on, draw), 'property_tax', id, due, pg_temp.method(draw)
    FROM chosen ORDER BY 3, id RETURNING 1
)
SELECT 2 * count(*) FROM added;

-- Meters are read and billed.
WITH chosen AS (
    SELECT c.id, c.body_id, draw, last.litres, last.litres + 4000 + draw % 40000 AS now
    FROM water.connections c
    CROSS JOIN LATERAL (SELECT litres, read_on FROM water.readings r WHERE r.connection_id = c.id
                        ORDER BY read_on DESC LIMIT 1) AS last,
    pg_temp.draw(c.id * 1000 + :n, 22) AS draw
    WHERE c.active AND last.read_on < :'opened'
    ORDER BY draw, c.id LIMIT (SELECT greatest(2, count(*) / 40) FROM water.connections)
), read AS (
    INSERT INTO water.readings (connection_id, read_on, litres, reader_hi)
    SELECT id, :'opened'::date + (draw % 3)::integer, now, pg_temp.groom_hi(draw >> 12)
    FROM chosen ORDER BY id RETURNING id, connection_id, read_on
), billed AS (
    INSERT INTO billing.bills (reading_id, body_id, amount, due_on)
    SELECT read.id, body_id, round(60 + (now - litres) * 0.0085, 2), read_on + 21
    FROM read JOIN chosen ON chosen.id = read.connection_id ORDER BY read.id RETURNING 1
)
SELECT (SELECT count(*) FROM read) + (SELECT count(*) FROM billed);

WITH chosen AS (
    SELECT b.id, b.body_id, b.amount - b.paid AS due, draw, :'opened'::date + (draw % 3)::integer AS paid_on
    FROM billing.bills b, pg_temp.draw(b.id * 1000 + :n, 23) AS draw
    WHERE b.paid < b.amount ORDER BY draw, b.id LIMIT (SELECT greatest(2, count(*) / 80) FROM billing.bills)
), added AS (
    INSERT INTO billing.payments (body_id, paid_on, paid_at, service, bill_id, amount, method)
    SELECT body_id, paid_on, pg_temp.at_counter(paid_on, draw), 'water', id, due, pg_temp.method(draw)
    FROM chosen ORDER BY 3, id RETURNING 1
)
SELECT 2 * count(*) FROM added;

WITH last AS (SELECT max(id) AS id, greatest(1, count(*) / 120) AS few FROM registry.marriages), added AS (
    INSERT INTO registry.marriages
        (body_id, certificate_no, groom_hi, groom_en, bride_hi, bride_en, married_on, registered_at,
         witnesses, stamp)
    SELECT pg_temp.body_of(d >> 30), 'VIV-' || lpad((last.id + i)::text, 6, '0'),
        pg_temp.groom_hi(d), pg_temp.groom_en(d), pg_temp.bride_hi(d), pg_temp.bride_en(d),
        :'opened'::date - (d % 60)::integer, pg_temp.at_counter(:'opened'::date + (d % 3)::integer, d),
        jsonb_build_array(pg_temp.citizen_hi(d >> 3), pg_temp.citizen_hi(d >> 7)),
        sha256(convert_to('stamp ' || d, 'UTF8'))
    FROM last, generate_series(1, few) AS i, pg_temp.draw(i * 1000 + :n, 24) AS d ORDER BY i RETURNING 1
)
SELECT count(*) FROM added;

WITH last AS (SELECT max(id) AS id, greatest(1, count(*) / 150) AS few FROM licence.trades), issued AS (
    INSERT INTO licence.trades (body_id, holder_id, licence_no, trade_hi, trade_en, fee, valid)
    SELECT c.body_id, c.id, 'LIC/2026/' || lpad((last.id + i)::text, 6, '0'),
        pg_temp.trade_hi(d), pg_temp.trade_en(d), 500 + d % 90 * 50,
        daterange(:'opened', :'opened'::date + 365)
    FROM last CROSS JOIN generate_series(1, few) AS i CROSS JOIN pg_temp.draw(i * 1000 + :n, 25) AS d
    JOIN municipal.citizens c ON c.id = 1 + d % (SELECT max(id) FROM municipal.citizens)
    ORDER BY i RETURNING id, body_id, fee, valid
), added AS (
    INSERT INTO billing.payments (body_id, paid_on, paid_at, service, licence_id, amount, method)
    SELECT body_id, lower(valid), pg_temp.at_counter(lower(valid), id), 'trade_licence', id, fee,
        pg_temp.method(id)
    FROM issued ORDER BY 3, id RETURNING 1
)
SELECT (SELECT count(*) FROM issued) + (SELECT count(*) FROM added);

WITH few AS (SELECT greatest(1, count(*) / 200) AS few FROM municipal.citizens), added AS (
    INSERT INTO municipal.citizens (body_id, name_hi, name_en, mobile)
    SELECT pg_temp.body_of(d >> 24), pg_temp.citizen_hi(d), pg_temp.citizen_en(d),
        '5' || lpad((d % 1000000000)::text, 9, '0')
    FROM few, generate_series(1, few) AS i, pg_temp.draw(i * 1000 + :n, 26) AS d ORDER BY i RETURNING 1
)
SELECT count(*) FROM added;

WITH chosen AS (
    SELECT id, draw FROM municipal.citizens, pg_temp.draw(id * 1000 + :n, 27) AS draw
    ORDER BY draw, id LIMIT (SELECT greatest(1, count(*) / 100) FROM municipal.citizens)
), changed AS (
    UPDATE municipal.citizens c SET mobile = '5' || lpad((draw % 1000000000)::text, 9, '0')
    FROM chosen WHERE c.id = chosen.id RETURNING 1
)
SELECT count(*) FROM changed;

-- Some houses are sold to a neighbour of the same body; each sale leaves a line in the audit.
WITH chosen AS (
    SELECT p.id, buyer.id AS buyer
    FROM (SELECT id, body_id, owner_id, draw FROM tax.properties, pg_temp.draw(id * 1000 + :n, 28) AS draw
          ORDER BY draw, id LIMIT (SELECT greatest(2, count(*) / 200) FROM tax.properties)) AS p
    CROSS JOIN LATERAL (SELECT min(id) AS id FROM municipal.citizens c
                        WHERE c.body_id = p.body_id AND c.id > p.owner_id) AS buyer
    WHERE buyer.id IS NOT NULL
), changed AS (
    UPDATE tax.properties p SET owner_id = buyer FROM chosen WHERE p.id = chosen.id RETURNING 1
)
SELECT 2 * count(*) FROM changed;
