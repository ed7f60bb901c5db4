-- What PostgreSQL lets everybody do, and an environment's own login must not; run in the platform's database by an
-- administrator. The processes' logins keep it. What cannot be closed is listed in docs/isolation.md.
do $$
declare
    kept constant text := 'waypost_owner, waypost_gateway, waypost_relay, waypost_worker, waypost_provisioner, waypost_auditor, pg_monitor';
    thing text;
begin
    -- Counts, sizes and activity of others; locks that others wait for; storage that belongs to no schema; writing to the
    -- log of changes past every table; a snapshot for others to hold. Taking all one's own locks back stays.
    for thing in
        select oid::regprocedure from pg_proc
        where pronamespace = 'pg_catalog'::regnamespace and prokind = 'f' and proname <> 'pg_advisory_unlock_all'
            and (
                proname ~ '^(pg_stat_get_|pg_(try_)?advisory_|lo_)' or proname in (
                    'loread', 'lowrite', 'pg_lock_status', 'pg_relation_size', 'pg_table_size', 'pg_indexes_size',
                    'pg_total_relation_size', 'pg_database_size', 'pg_tablespace_size', 'pg_notify', 'pg_get_aios',
                    'pg_notification_queue_usage', 'pg_logical_emit_message', 'pg_export_snapshot', 'pg_prepared_xact'
                )
            )
    loop
        execute format('revoke execute on function %s from public; grant execute on function %1$s to %2$s', thing, kept);
    end loop;
    for thing in
        select oid::regclass from pg_class
        where relnamespace = 'pg_catalog'::regnamespace and relkind = 'v' and (
            (relname ~ '^pg_stat(io)?_' and relname not like 'pg\_stats%')
            or relname in ('pg_locks', 'pg_aios', 'pg_prepared_xacts', 'pg_replication_slots', 'pg_roles', 'pg_user', 'pg_group')
        )
    loop
        execute format('revoke all on %s from public; grant select on %1$s to %2$s', thing, kept);
    end loop;
    -- Which large objects there are, and whose; what other roles are set to.
    execute 'revoke all on pg_largeobject_metadata, pg_db_role_setting from public;'
        ' grant select on pg_largeobject_metadata, pg_db_role_setting to ' || kept;
    -- DO blocks.
    execute 'revoke usage on language plpgsql from public; grant usage on language plpgsql to ' || kept;
end $$;
