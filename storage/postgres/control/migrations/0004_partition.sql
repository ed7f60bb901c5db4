-- As before, but null when the locks are not to be had at once: each new partition locks its whole table against everybody,
-- three tables in one transaction, and who reads two of them in another order would be in a deadlock with it. PostgreSQL
-- looks for deadlocks after a second; this gives up sooner, and its caller comes again.
create or replace function control.make_partition(monday date) returns boolean
    language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms'
as $$
declare
    suffix text := '_w' || to_char(monday, 'YYYYMMDD');
    parent text;
begin
    if extract(isodow from monday) <> 1 then
        raise exception '% is not a Monday', monday;
    end if;
    if to_regclass('control.job' || suffix) is not null then
        return false;
    end if;
    foreach parent in array array['job', 'job_label', 'job_end'] loop
        execute format('create table control.%I partition of control.%I for values from (%L) to (%L)',
            parent || suffix, parent, control.first_id_of(monday), control.first_id_of(monday + 7));
    end loop;
    return true;
exception
    when check_violation or duplicate_table then
        return false;
    when lock_not_available or deadlock_detected then
        return null;
end $$;
