-- Keep chunks of logs ($1 to $5), and how each attempt's log stands now ($6 to $12). Told again it changes nothing: what is
-- there stays, and counts are the sender's own sums. Nothing is kept of an environment that is gone.
with given as materialized (
    select a.* from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::int[], $5::bytea[])
        as a(environment_id, job_id, number, sequence, lines)
    where exists (select from control.environment e where e.id = a.environment_id and e.deleted_at is null)
), kept as (
    insert into control.job_log (environment_id, job_id, number, sequence, lines) select * from given
    on conflict do nothing returning environment_id, job_id, number, sequence
), sized as (
    select g.environment_id, g.job_id, g.number, sum(octet_length(g.lines)) as bytes
    from given g join kept k using (environment_id, job_id, number, sequence)
    group by g.environment_id, g.job_id, g.number
)
insert into control.attempt_log as l
    (environment_id, job_id, number, lines, bytes, dropped_lines, closed, inline_bytes)
select s.environment_id, s.job_id, s.number, s.lines, s.bytes, s.dropped_lines, s.closed, coalesce(z.bytes, 0)
from unnest($6::uuid[], $7::uuid[], $8::smallint[], $9::int[], $10::bigint[], $11::int[], $12::boolean[])
    as s(environment_id, job_id, number, lines, bytes, dropped_lines, closed)
left join sized z using (environment_id, job_id, number)
where exists (select from control.environment e where e.id = s.environment_id and e.deleted_at is null)
on conflict (environment_id, job_id, number) do update set
    lines = greatest(l.lines, excluded.lines), bytes = greatest(l.bytes, excluded.bytes),
    dropped_lines = greatest(l.dropped_lines, excluded.dropped_lines), closed = l.closed or excluded.closed,
    inline_bytes = l.inline_bytes + excluded.inline_bytes
