-- When MFA devices were last used, and how far the events of CloudTrail were read. Each computer of each role has rows of
-- its own, so that nobody can replace what another one has read. `writer` names both, and is set here.
create function set_writer() returns trigger language plpgsql security definer
    set search_path = mfa_kit, pg_temp as $$
begin
    new.writer := case when is_owner() then new.writer else session_user || ' ' || my_computer() end;
    return new;
end
$$;
create table device_uses (
    account text not null, serial text collate "C" not null, principal text collate "C" not null,
    source text not null, writer text collate "C" not null,
    "user" text not null, at double precision not null,
    event text not null, region text not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp(),
    primary key (team, account, serial, principal, source, writer),
    constraint well_formed check (source in ('history', 'files')
        and event in ('ConsoleLogin', 'GetSessionToken', 'AssumeRole') and is_time(at) and octet_length(device_uses::text) < 4096)
);
create table event_reads (
    account text not null, region text collate "C" not null,
    event text not null,
    source text not null, writer text collate "C" not null,
    since double precision, until double precision, reached double precision, top double precision,
    unread bigint not null, why text not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp(),
    primary key (team, account, region, event, source, writer),
    constraint well_formed check (source in ('history', 'files')
        and event in ('ConsoleLogin', 'GetSessionToken', 'AssumeRole') and is_time(since) and is_time(until) and is_time(reached) and is_time(top)
        and octet_length(event_reads::text) < 16384)
);
do $$
declare
    name text;
begin
    foreach name in array array['device_uses', 'event_reads'] loop
        execute format('create trigger a_writer before insert on %I for each row execute function set_writer()', name);
        execute format('create trigger b_stamp before insert on %I for each row execute function stamp()', name);
        execute format('create trigger b_keep before update on %I for each row execute function keep_writer()', name);
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy own_team on %I using (team = (select my_team())) with check (team = (select my_team()))',
            name);
        execute format('create policy auditor on %I for select using ((select is_auditor()))', name);
        -- Only the role that wrote a row changes it, on the same computer.
        execute format('create policy own_row on %I as restrictive for update'
            ' using (role = session_user and computer = my_computer() or is_owner())', name);
    end loop;
end
$$;
revoke all on function set_writer() from public;
