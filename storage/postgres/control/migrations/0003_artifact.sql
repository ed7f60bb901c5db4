-- Artifacts: content in the bucket, once for each SHA-256 of an environment, and what is known about it.

-- Content whose SHA-256 was verified. The object is `artifacts/<id>`; its key is never used again, so that an object which
-- nothing names any more may be deleted without asking who names it now.
create table control.artifact_blob (
    environment_id uuid not null references control.environment,
    id uuid not null,
    sha256 bytea not null check (length(sha256) = 32),
    size_bytes bigint not null check (size_bytes >= 0),
    refs integer not null check (refs >= 0), -- artifacts with this content; at 0 the row goes in the same transaction
    created_at timestamptz not null default now(),
    primary key (environment_id, id)
);
create unique index artifact_blob_content on control.artifact_blob (environment_id, sha256);

create table control.artifact (
    environment_id uuid not null references control.environment,
    id uuid not null,
    type text not null,
    name text not null,
    state text not null check (state in ('uploading', 'received', 'ingested', 'rejected')),
    object uuid not null, -- of the blob when verified, else its own
    verified boolean not null, -- else `sha256` and `size_bytes` are what somebody declared
    sha256 bytea not null check (length(sha256) = 32),
    size_bytes bigint not null check (size_bytes >= 0),
    content_type text, -- as found in the content
    declared_content_type text,
    reasons jsonb not null default '[]', -- why it is rejected: [{code, message}]
    facts jsonb not null default '{}', -- what ingest found, secrets redacted
    spec_hash text,
    labels jsonb not null default '{}',
    captured_at timestamptz,
    job_id uuid, -- that it came from
    upload_id text, -- of S3, while it is uploaded in parts
    part_size_bytes bigint,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    expires_at timestamptz, -- retention; of an upload: when it is given up
    primary key (environment_id, id)
);
create index artifact_content on control.artifact (environment_id, sha256);
create index artifact_object on control.artifact (environment_id, object);
create index artifact_job on control.artifact (environment_id, job_id) where job_id is not null;
create index artifact_expiry on control.artifact (expires_at) where expires_at is not null;
create index artifact_labels on control.artifact using gin (labels jsonb_path_ops);
create index artifact_fields on control.artifact using gin ((facts -> 'fields') jsonb_path_ops);
create index artifact_spec on control.artifact (environment_id, spec_hash) where spec_hash is not null;
create index artifact_received on control.artifact (updated_at) where state = 'received';

-- What refers to an artifact and keeps it: jobs whose payload it is (until they end), replays, whatever else.
create table control.artifact_reference (
    environment_id uuid not null,
    artifact_id uuid not null,
    kind text not null, -- "job", "replay"
    id uuid not null,
    created_at timestamptz not null default now(),
    primary key (environment_id, artifact_id, kind, id),
    foreign key (environment_id, artifact_id) references control.artifact on delete cascade
);

-- Objects that no row names any more, kept until the bucket has forgotten them too.
create table control.artifact_garbage (
    environment_id uuid not null references control.environment,
    object_key text not null,
    upload_id text, -- a multipart upload to abort
    since timestamptz not null default now(),
    primary key (environment_id, object_key)
);
create index artifact_garbage_since on control.artifact_garbage (since);

-- When an environment's bucket is next compared with its rows. The row is the lock of whoever looks.
create table control.artifact_audit (
    environment_id uuid primary key references control.environment,
    next_at timestamptz not null default now()
);
create index artifact_audit_next on control.artifact_audit (next_at);

do $$
declare t text;
begin
    foreach t in array array['artifact', 'artifact_blob', 'artifact_reference', 'artifact_garbage', 'artifact_audit'] loop
        execute format('alter table control.%I enable row level security', t);
        execute format('alter table control.%I force row level security', t);
        execute format('create policy process on control.%I to waypost_gateway, waypost_worker, waypost_owner
            using (true) with check (true)', t);
    end loop;
    foreach t in array array['artifact', 'artifact_blob', 'artifact_reference'] loop
        execute format('create policy own on control.%I for select to waypost_environment
            using (environment_id = (select control.role_environment()))', t);
        execute format('grant select on control.%I to waypost_environment', t);
    end loop;
end $$;

grant select, insert, update, delete on control.artifact, control.artifact_blob, control.artifact_reference,
    control.artifact_garbage to waypost_gateway;
grant select, insert, update, delete on control.artifact, control.artifact_blob, control.artifact_reference,
    control.artifact_garbage, control.artifact_audit to waypost_worker;
