-- Sessions are few: one a start of a process.
delete from control.session where id in (
    select id from control.session s
    where s.ended_at < now() - interval '30 days' and not exists (select from control.lease l where l.session = s.id)
    limit $1::int for update skip locked
)
returning 1
