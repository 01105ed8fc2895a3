-- Keys, indexes, triggers, a view and grants of the portal; set once the rows are in, which is quicker.

ALTER TABLE municipal.wards
    ADD UNIQUE (body_id, number),
    ADD FOREIGN KEY (body_id) REFERENCES municipal.bodies;
ALTER TABLE municipal.citizens
    ADD FOREIGN KEY (body_id) REFERENCES municipal.bodies;
ALTER TABLE tax.properties
    ADD UNIQUE (property_no),
    ADD FOREIGN KEY (body_id) REFERENCES municipal.bodies,
    ADD FOREIGN KEY (ward_id) REFERENCES municipal.wards,
    ADD FOREIGN KEY (owner_id) REFERENCES municipal.citizens;
ALTER TABLE tax.demands
    ADD UNIQUE (property_id, fiscal_year),
    ADD FOREIGN KEY (property_id) REFERENCES tax.properties;
ALTER TABLE water.connections
    ADD UNIQUE (connection_no),
    ADD FOREIGN KEY (body_id) REFERENCES municipal.bodies,
    ADD FOREIGN KEY (property_id) REFERENCES tax.properties;
ALTER TABLE water.readings
    ADD UNIQUE (connection_id, read_on),
    ADD FOREIGN KEY (connection_id) REFERENCES water.connections ON DELETE CASCADE;
ALTER TABLE licence.trades
    ADD UNIQUE (licence_no),
    ADD FOREIGN KEY (body_id) REFERENCES municipal.bodies,
    ADD FOREIGN KEY (holder_id) REFERENCES municipal.citizens;
ALTER TABLE registry.marriages
    ADD UNIQUE (certificate_no),
    ADD FOREIGN KEY (body_id) REFERENCES municipal.bodies;
ALTER TABLE billing.bills
    ADD UNIQUE (reading_id),
    ADD FOREIGN KEY (reading_id) REFERENCES water.readings ON DELETE CASCADE,
    ADD FOREIGN KEY (body_id) REFERENCES municipal.bodies;
ALTER TABLE billing.receipts
    ADD FOREIGN KEY (body_id) REFERENCES municipal.bodies;
ALTER TABLE billing.payments
    ADD UNIQUE (body_id, receipt_no, paid_on),
    ADD FOREIGN KEY (body_id) REFERENCES municipal.bodies,
    ADD FOREIGN KEY (demand_id) REFERENCES tax.demands,
    ADD FOREIGN KEY (bill_id) REFERENCES billing.bills,
    ADD FOREIGN KEY (licence_id) REFERENCES licence.trades;

CREATE INDEX ON tax.properties (owner_id);
CREATE INDEX ON tax.demands (due_on) WHERE NOT settled;
CREATE INDEX ON registry.marriages (lower(bride_en), lower(groom_en));
CREATE INDEX ON municipal.bodies USING gin (settings);
CREATE INDEX ON billing.payments (demand_id);

CREATE FUNCTION billing.give_receipt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing.receipts AS mine (body_id, last_no) VALUES (NEW.body_id, 1)
        ON CONFLICT (body_id) DO UPDATE SET last_no = mine.last_no + 1
        RETURNING last_no INTO NEW.receipt_no;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION billing.give_receipt() IS 'Numbers receipts without a gap, body by body; रसीद क्रमांक';

CREATE FUNCTION billing.credit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tax.demands SET paid = paid + NEW.amount WHERE id = NEW.demand_id;
    UPDATE billing.bills SET paid = paid + NEW.amount WHERE id = NEW.bill_id;
    RETURN NULL;
END $$;

CREATE FUNCTION municipal.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO municipal.audit (place, row_id, was, became)
        SELECT TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, id, to_jsonb(b), to_jsonb(a)
        FROM before b JOIN after a USING (id) WHERE b IS DISTINCT FROM a ORDER BY id;
    RETURN NULL;
END $$;

CREATE TRIGGER give_receipt BEFORE INSERT ON billing.payments
    FOR EACH ROW EXECUTE FUNCTION billing.give_receipt();
CREATE TRIGGER credit AFTER INSERT ON billing.payments
    FOR EACH ROW EXECUTE FUNCTION billing.credit();
CREATE TRIGGER note_change AFTER UPDATE ON tax.properties
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION municipal.note_change();

CREATE VIEW billing.outstanding AS
    SELECT b.code, b.name_hi, b.name_en, t.due AS property_tax, w.due AS water
    FROM municipal.bodies b
    LEFT JOIN (SELECT p.body_id, sum(d.amount - d.paid) AS due
               FROM tax.demands d JOIN tax.properties p ON p.id = d.property_id GROUP BY 1
              ) t ON t.body_id = b.id
    LEFT JOIN (SELECT body_id, sum(amount - paid) AS due FROM billing.bills GROUP BY 1) w ON w.body_id = b.id;
COMMENT ON VIEW billing.outstanding IS 'What is still owed to each body; बकाया राशि';

-- Roles belong to the server, so another portal on it may have made them already.
SELECT format('CREATE ROLE %s', role)
FROM (VALUES ('enagar_app', 'enagar_app LOGIN'), ('enagar_readers', 'enagar_readers NOLOGIN')
     ) AS wanted (name, role)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

GRANT USAGE ON SCHEMA municipal, tax, water, licence, registry, billing TO enagar_app, enagar_readers;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA municipal, tax, water, licence, registry, billing
    TO enagar_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA municipal, tax, water, licence, registry, billing TO enagar_app;
REVOKE UPDATE ON municipal.audit FROM enagar_app;
GRANT DELETE ON water.readings TO enagar_app;
GRANT SELECT ON ALL TABLES IN SCHEMA municipal, tax, water, licence, registry, billing TO enagar_readers;
REVOKE SELECT ON municipal.citizens, municipal.audit FROM enagar_readers;
GRANT SELECT (id, body_id, name_hi, name_en) ON municipal.citizens TO enagar_readers;
-- Council resolutions are for everybody, and so for whoever makes the backups without being a superuser.
GRANT SELECT ON LARGE OBJECT 412001, 412002 TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA billing GRANT SELECT ON TABLES TO enagar_readers;
