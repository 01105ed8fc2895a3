-- Rows by table, then what was paid and how many large objects there are, as name|number.

SELECT coalesce(string_agg(format('SELECT %L, count(*) FROM %I.%I', n.nspname || '.' || c.relname,
                                  n.nspname, c.relname),
                           ' UNION ALL ' ORDER BY n.nspname, c.relname), 'SELECT WHERE false')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND n.nspname IN ('municipal', 'tax', 'water', 'licence', 'registry', 'billing')
\gexec
SELECT 'paid', coalesce(sum(amount), 0) FROM billing.payments;
SELECT 'large_objects', count(*) FROM pg_largeobject_metadata;
