"""A department's backups for a simulated month: its cron line, a set clock, a fault each day, and an inspector without opsctl."""
