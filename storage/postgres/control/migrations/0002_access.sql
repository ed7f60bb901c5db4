-- People, memberships, invitations, sessions.

create table control.person (
    id uuid primary key,
    email text not null,
    email_folded text not null unique,
    name text not null default '',
    password_hash text, -- argon2id; null: signs in some other way, or not yet
    disabled_at timestamptz,
    created_by text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    row_version bigint not null default 1
);

-- Whose role it is: in the whole organization, or in one project of it, where it replaces any but `org_admin` (governance
-- contract §3).
create table control.membership (
    id uuid primary key,
    organization_id uuid not null references control.organization,
    project_id uuid references control.project on delete cascade, -- null: the whole organization
    person_id uuid not null references control.person,
    role text not null check (role in ('org_admin', 'project_admin', 'operator', 'viewer')),
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    row_version bigint not null default 1,
    check (role <> 'org_admin' or project_id is null),
    unique nulls not distinct (organization_id, project_id, person_id)
);
create index membership_listing on control.membership (organization_id, id desc);
create index membership_person on control.membership (person_id);
create index membership_project on control.membership (project_id) where project_id is not null;
-- Who else administers an organization is asked whenever an administrator goes.
create index membership_admin on control.membership (organization_id) where role = 'org_admin';

grant select, insert, update, delete on control.membership to waypost_gateway;

-- Signing in ------------------------------------------------------------------------------------------------------------

-- An offer of one membership by a one-time link. Of the token only the SHA-256 is kept.
create table control.invitation (
    id uuid primary key,
    organization_id uuid not null references control.organization,
    project_id uuid references control.project on delete cascade, -- null: in the whole organization
    email text not null,
    email_folded text not null,
    role text not null check (role in ('org_admin', 'project_admin', 'operator', 'viewer')),
    public_id text not null unique,
    token_hash bytea not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    accepted_at timestamptz,
    accepted_by uuid references control.person on delete set null,
    revoked_at timestamptz,
    check (accepted_at is null or revoked_at is null)
);
create index invitation_listing on control.invitation (organization_id, id desc);
create index invitation_project on control.invitation (project_id) where project_id is not null;
create index invitation_accepted_by on control.invitation (accepted_by) where accepted_by is not null;

-- One row a log-in. Of the token only the SHA-256 is kept; the CSRF token is derived from the token itself.
create table control.person_session (
    id uuid primary key,
    person_id uuid not null references control.person on delete cascade,
    public_id text not null unique,
    token_hash bytea not null,
    bearer boolean not null, -- false: a browser's cookie
    source_address text,
    user_agent text,
    created_at timestamptz not null default now(),
    last_used_at timestamptz not null default now(), -- written at most once a minute
    expires_at timestamptz not null,
    ended_at timestamptz
);
create index person_session_listing on control.person_session (person_id, id desc);
create index person_session_expiry on control.person_session (expires_at);

grant select, insert on control.person, control.invitation, control.person_session to waypost_gateway;
grant update (name, password_hash, row_version, updated_at) on control.person to waypost_gateway;
grant update (accepted_at, accepted_by, revoked_at) on control.invitation to waypost_gateway;
grant update (last_used_at, ended_at) on control.person_session to waypost_gateway;
-- The worker forgets what is long over.
grant select (id, expires_at, ended_at), delete on control.person_session to waypost_worker;
grant select (id, expires_at), delete on control.invitation to waypost_worker;
