-- Which key-encryption keys may wrap; what is closed that 0001 left open.

-- A key-encryption key that is in use. What it wrapped refers to it, so its row can be deleted, and with it the right to
-- wrap, only when nothing does; a transaction that is about to keep something under it makes the deletion wait.
create table control.kek (
    id text primary key,
    created_at timestamptz not null default now()
);
insert into control.kek (id) select distinct kek_id from control.environment_secret where kek_id is not null;

alter table control.environment_secret add foreign key (kek_id) references control.kek;
create index environment_secret_kek on control.environment_secret (kek_id) where kek_id is not null;

-- Kept answers are envelopes. Before this version nobody could rotate: there is one key at most.
alter table control.idempotency add column kek_id text references control.kek; -- null: there is no answer
update control.idempotency set kek_id = (select min(id) from control.kek) where answer is not null;
create index idempotency_kek on control.idempotency (kek_id) where kek_id is not null;

-- A process registers its first key and knows whether its keys are those of this data; the worker's login rotates.
grant select, insert on control.kek to waypost_gateway, waypost_worker;
grant select on control.kek to waypost_relay;
grant delete on control.kek to waypost_worker;

-- Definers' functions look where they say, and in nobody's temporary schema first.
do $$
declare f regprocedure;
begin
    for f in select oid from pg_proc where prosecdef and pronamespace = 'control'::regnamespace loop
        execute format('alter function %s set search_path = pg_catalog, pg_temp', f);
    end loop;
end $$;
