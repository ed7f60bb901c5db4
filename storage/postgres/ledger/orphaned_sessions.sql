-- The thorough look: sessions that are over (or unknown) and still hold leases.
select distinct l.session as id
from control.lease l left join control.session s on s.id = l.session
where s.id is null or s.ended_at is not null
