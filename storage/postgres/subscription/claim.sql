-- Claim deliveries that are due, at most `room` an endpoint ($1, $2 where it differs from $3) and $4 in all: no endpoint
-- gets more because it has more; of one that fails, of which this process knows nothing yet, one. Endpoints are found by a
-- loose scan, in any order, those that fail last. $5: for how many seconds they are claimed; after that their worker is
-- taken for dead. A claim's number is a fence: a late outcome changes nothing.
with recursive found as (
    (select subscription_id from control.delivery_queue order by subscription_id limit 1)
    union all
    select (
        select q.subscription_id from control.delivery_queue q
        where q.subscription_id > found.subscription_id order by q.subscription_id limit 1
    ) from found where found.subscription_id is not null
), endpoints as materialized (
    select found.subscription_id, s.url, coalesce(b.room, case when s.failing_since is null then $3::int else 1 end) as room
    from found
    join control.subscription s on s.id = found.subscription_id and s.deleted_at is null and s.disabled_at is null
    join control.environment n on n.id = s.environment_id and n.status not in ('deleting', 'deleted')
    left join lateral (
        select room from unnest($1::uuid[], $2::int[]) as u(id, room) where u.id = found.subscription_id
    ) b on true
    where coalesce(b.room, $3) > 0
    order by s.failing_since is not null, random()
), chosen as materialized (
    select q.*, e.url from endpoints e cross join lateral (
        select ctid as at, environment_id, subscription_id, delivery_id from control.delivery_queue
        where subscription_id = e.subscription_id and due_at <= now()
        order by due_at limit e.room for update skip locked
    ) q
    limit $4::int
), taken as (
    update control.delivery_queue set due_at = now() + $5::float8 * interval '1 second', claim = $6::bigint,
        number = number + 1, tries = tries + 1
    where ctid = any (array(select at from chosen))
    returning environment_id, subscription_id, delivery_id, number, tries
)
select t.environment_id, t.subscription_id, t.delivery_id, t.number, t.tries, d.event_id, d.body,
    (select url from chosen c where c.subscription_id = t.subscription_id limit 1) as url,
    array(
        select sealed from control.subscription_secret k
        where k.subscription_id = t.subscription_id and (k.expires_at is null or k.expires_at > now())
        order by k.ordinal desc
    ) as secrets
from taken t
join control.delivery d
    on d.environment_id = t.environment_id and d.subscription_id = t.subscription_id and d.id = t.delivery_id
