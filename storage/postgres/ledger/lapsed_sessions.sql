-- End the sessions that were not renewed. Answers these and those that ended within the last minute: a claim that was under
-- way when its session ended leaves leases behind.
with lapsed as (
    update control.session set ended_at = now()
    where id in (select id from control.session where ended_at is null and lease_until < now() for update skip locked)
    returning id
)
select id from lapsed
union
select id from control.session where ended_at > now() - interval '1 minute'
