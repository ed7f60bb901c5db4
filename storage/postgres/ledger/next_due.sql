-- Seconds until the next job is due (negative: it is late); null when none waits.
select extract(epoch from min(due_at) - now())::float8 from control.due
