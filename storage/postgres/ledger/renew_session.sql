-- Live on. No row = the session was ended or ran out: its leases are being taken away.
update control.session set lease_until = now() + $2::float8 * interval '1 second'
where id = $1 and ended_at is null and lease_until > now()
returning id
