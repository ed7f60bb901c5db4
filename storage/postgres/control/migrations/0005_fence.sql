-- When an answer came for an attempt that the platform had given up on: refused, and worth knowing by who wonders where
-- the work of that node went. The relay may set this and nothing else of an end.
alter table control.attempt add column answer_refused_at timestamptz;
alter table control.job_end add column answer_refused_at timestamptz;
grant update (answer_refused_at) on control.attempt to waypost_relay;
grant update (answer_refused_at), select (environment_id, job_id, attempt_id, outcome, answer_refused_at) on control.job_end
    to waypost_relay;
