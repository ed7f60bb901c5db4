-- Mondays of the weeks whose whole range is $1 days old, oldest first. The default partition has no week.
select monday from (
    select to_date(substr(c.relname, 6), 'YYYYMMDD') as monday
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'control.job'::regclass and c.relname ~ '^job_w[0-9]{8}$'
) w
where monday + 7 <= (now() at time zone 'UTC')::date - $1::int
order by monday
