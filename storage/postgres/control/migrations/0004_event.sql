-- Events that no ledger row tells of stay for a day after they were fanned out, and are kept whoever subscribes: so that who
-- follows an environment live and loses the connection is told of them afterwards.

alter table control.environment_event add column taken_at timestamptz; -- when deliveries of it were queued
create index environment_event_waiting on control.environment_event (number) where taken_at is null;
drop index control.environment_event_environment;
create index environment_event_at on control.environment_event (environment_id, at);

create or replace function control.note_environment_status() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    word text := case
        when new.status = 'ready' and old.status = 'suspended' then 'resumed'
        when new.status in ('ready', 'suspended', 'failed') then new.status
    end;
begin
    if word is not null then
        insert into control.environment_event (environment_id, type, data) values (
            new.id, 'environment.' || word,
            jsonb_build_object('status', new.status, 'previous_status', old.status, 'reason', new.status_reason)
        );
    end if;
    return null;
end $$;

create policy own on control.environment_event for select to waypost_environment
    using (environment_id = (select control.role_environment()));
grant select on control.environment_event to waypost_environment;
