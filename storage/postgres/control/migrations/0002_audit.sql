-- The sealed audit (decisions 7, 20, 30): who asked and from where, batches of entries chained by hash, retention by batch.

-- Without an organization: what nobody's credential tried. Only the operator reads those.
alter table control.audit alter column organization_id drop not null;
alter table control.audit add column actor_kind text not null default 'system';
alter table control.audit add column count integer not null default 1 check (count > 0); -- of a denial within one minute
-- Where an entry stands in the chain: ids are not in the order of commits, but nothing is ever added below the oldest
-- transaction in progress.
alter table control.audit add column transaction xid8 not null default pg_current_xact_id();

update control.audit a
set actor_kind = case when k.environment_id is null then 'organization_key' else 'environment_key' end
from control.api_key k
where a.actor = 'key:' || k.id;

alter table control.audit add constraint audit_outcome check (outcome in ('done', 'denied', 'failed'));

-- One index a filter, each in the order of the list. `audit_organization` (organization_id, id desc) is 0001's.
create index audit_actor on control.audit (organization_id, actor, id desc);
create index audit_action on control.audit (organization_id, split_part(action, '.', 1), id desc); -- also for `environment.*`
create index audit_target on control.audit (organization_id, target, id desc);
create index audit_outcome on control.audit (organization_id, outcome, id desc) where outcome <> 'done';
create index audit_project on control.audit (project_id, id desc) where project_id is not null;
create index audit_environment on control.audit (environment_id, id desc) where environment_id is not null;
create index audit_request on control.audit (request_id) where request_id is not null;
create index audit_position on control.audit (transaction, id);

-- Batches: each covers every entry after the one before it, up to and including (until_transaction, until_id).
create table control.audit_batch (
    number bigint primary key check (number > 0),
    first_transaction xid8 not null,
    first_id uuid not null,
    last_transaction xid8 not null,
    last_id uuid not null,
    until_transaction xid8 not null,
    until_id uuid not null,
    count integer not null check (count > 0),
    first_at timestamptz not null,
    last_at timestamptz not null,
    entries bytea not null, -- 48 bytes each, in order: id, SHA-256 of the entry
    content bytea not null, -- SHA-256 of `entries`
    previous bytea not null, -- root of the batch before
    root bytea not null unique, -- SHA-256 of everything above
    sealed_at timestamptz not null default now()
);

-- Which batches are in the object store too.
create table control.audit_stored (
    number bigint primary key,
    stored_at timestamptz not null default now()
);

-- Where the chain begins since old batches were dropped: the last one dropped.
create table control.audit_anchor (
    number bigint primary key,
    root bytea not null,
    until_transaction xid8 not null,
    until_id uuid not null,
    dropped_at timestamptz not null default now()
);

-- Whoever holds this row seals: any number of workers try, none waits.
create table control.audit_turn (
    single boolean primary key default true check (single),
    taken_at timestamptz not null default now()
);
insert into control.audit_turn default values;

-- Retention: drop the oldest batch whole, when its youngest entry is over `keep_days` old and it is in the object store.
-- Answers its number, null when there is none to drop. The only way for a process to remove anything here.
create function control.drop_audit_batch(keep_days integer) returns bigint
    language plpgsql security definer set search_path = pg_catalog
as $$
declare
    oldest control.audit_batch;
    after_transaction xid8 := '0';
    after_id uuid := '00000000-0000-0000-0000-000000000000';
begin
    if keep_days < 90 then
        raise exception 'audit entries are kept for at least 90 days, not %', keep_days;
    end if;
    perform from control.audit_turn for update;
    select b.* into oldest from control.audit_batch b join control.audit_stored s using (number) order by b.number limit 1;
    if oldest.number is null or oldest.last_at >= now() - make_interval(days => keep_days)
        or exists (select from control.audit_batch b where b.number < oldest.number) then
        return null;
    end if;
    select a.until_transaction, a.until_id into after_transaction, after_id from control.audit_anchor a order by a.number desc limit 1;
    delete from control.audit e
    where (e.transaction, e.id) > (coalesce(after_transaction, '0'::xid8), coalesce(after_id, '00000000-0000-0000-0000-000000000000'))
        and (e.transaction, e.id) <= (oldest.until_transaction, oldest.until_id);
    insert into control.audit_anchor (number, root, until_transaction, until_id)
        values (oldest.number, oldest.root, oldest.until_transaction, oldest.until_id);
    delete from control.audit_anchor where number < oldest.number;
    delete from control.audit_stored where number <= oldest.number;
    delete from control.audit_batch where number = oldest.number;
    return oldest.number;
end $$;
revoke execute on function control.drop_audit_batch(integer) from public;
grant execute on function control.drop_audit_batch(integer) to waypost_worker;

-- The auditor reads and adds, and changes nothing; its row to take turns with is not part of the record.
grant select, insert on control.audit, control.audit_batch, control.audit_stored to waypost_auditor;
grant select on control.audit_anchor to waypost_auditor;
grant select, update on control.audit_turn to waypost_auditor;
-- Denials are told from what is known of a key; nothing else of it.
grant select (id, public_id, organization_id, environment_id) on control.api_key to waypost_auditor;
grant select on control.alembic_version to waypost_auditor;
