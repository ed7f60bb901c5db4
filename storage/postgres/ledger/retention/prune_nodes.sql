-- A node is not younger than its id: $2 is the least id of 30 days ago.
delete from control.node where id in (
    select id from control.node
    where id < $2::uuid and disconnected_at < now() - interval '30 days'
    order by id limit $1::int for update skip locked
)
returning 1
