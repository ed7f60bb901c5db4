-- A process starts: what expires when it dies (decision 12a).
insert into control.session (process, kind, address, pid, lease_until)
values ($1, $2, $3, $4, now() + $5::float8 * interval '1 second')
returning id
