-- Following what happened, without a cost to who wrote it: rows carry their transaction, so that a reader can take all that
-- is committed below the oldest transaction still running and misses nothing (decision 31). Null in rows from before.
-- A default that is set apart from the column rewrites no row.
-- No index: a follower looks where the BRIN indexes on finished_at say, from an instant on before which nothing unseen was
-- written (control.follower.at), and takes of that what lies between its two bounds.

alter table control.job_end add column xact xid8;
alter table control.job_end alter column xact set default pg_current_xact_id();

alter table control.attempt add column xact xid8;
alter table control.attempt alter column xact set default pg_current_xact_id();

-- How far a follower has come: everything of transactions before `xact` is done. Its row is its lock.
create table control.follower (
    name text primary key, -- "subscription.fan_out", "usage.roll_up"
    xact xid8 not null default pg_current_xact_id(),
    at timestamptz not null default now() -- no transaction from `xact` on has written before
);
grant select, insert, update, delete on control.follower to waypost_worker;

-- A bulk request's Idempotency-Key stands for all of its jobs: their ids, 16 bytes each, in order.
alter table control.idempotency add column job_ids bytea;
