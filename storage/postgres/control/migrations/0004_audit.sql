-- Audit entries that an environment keeps for fewer days than the platform: they go one by one out of sealed batches, whose
-- hashes stay. What went is told by an entry of the audit with their digest, so that a missing entry is either told of or found.

create table control.audit_swept (
    entry_id uuid primary key, -- that is gone
    swept_by uuid not null references control.audit on delete cascade deferrable initially deferred -- the entry that tells of it
);
create index audit_swept_by on control.audit_swept (swept_by);

-- Delete up to `most` entries of an environment that are over `keep_days` old and in batches which are sealed and copied;
-- answers their ids. Of a sweep itself nothing goes before its batch does. Beside `drop_audit_batch` the only way for a
-- process to remove anything here; the caller writes the entry `sweeping` in the same transaction.
create function control.sweep_audit(environment uuid, keep_days integer, sweeping uuid, most integer) returns setof uuid
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    sealed control.audit_batch;
begin
    if keep_days < 90 then
        raise exception 'audit entries are kept for at least 90 days, not %', keep_days;
    end if;
    perform from control.audit_turn for update;
    select b.* into sealed from control.audit_batch b
    where b.number < coalesce((
        select min(u.number) from control.audit_batch u
        where not exists (select from control.audit_stored s where s.number = u.number)
    ), b.number + 1)
    order by b.number desc limit 1;
    if sealed.number is null then
        return;
    end if;
    return query
    with gone as (
        delete from control.audit where id = any (array(
            select a.id from control.audit a
            where a.environment_id = environment and a.at < now() - make_interval(days => keep_days)
                and a.id < control.first_id_of((now() at time zone 'UTC')::date - keep_days + 2) -- along its index
                and (a.transaction, a.id) <= (sealed.until_transaction, sealed.until_id) and a.action <> 'audit.sweep'
            order by a.id limit most
        ))
        returning id
    )
    insert into control.audit_swept (entry_id, swept_by) select g.id, sweeping from gone g returning entry_id;
end $$;
revoke execute on function control.sweep_audit(uuid, integer, uuid, integer) from public;
grant execute on function control.sweep_audit(uuid, integer, uuid, integer) to waypost_worker;
grant select on control.audit_swept to waypost_auditor;
