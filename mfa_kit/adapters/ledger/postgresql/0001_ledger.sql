-- The ledger's tables, in the schema that `ledger init` created. docs/shared-state.md describes the privileges.
-- Every row has its team, the role and computer that wrote it, and the server's time. No client can set these.

create table settings (grace double precision not null, salt uuid not null default gen_random_uuid());
insert into settings (grace) values (60);

create table members (role name primary key, team text not null, auditor boolean not null default false);

-- The team of the session's role. SET ROLE does not change session_user. A role that is not listed has the team ''.
create function my_team() returns text language sql stable security definer set search_path from current as $$
    select coalesce((select team from members where role = session_user), '')
$$;
create function is_auditor() returns boolean language sql stable security definer set search_path from current as $$
    select coalesce((select auditor from members where role = session_user), false)
$$;
-- Whether the session may set the time of a row: the owner, for `ledger copy`.
create function is_owner() returns boolean language sql stable security definer set search_path from current as $$
    select pg_has_role(session_user, current_user, 'member')
$$;
-- A session's application_name is mfa-kit@COMPUTER/PROCESS.
create function computer_of(name text) returns text language sql immutable as $$
    select split_part(split_part(name, '@', 2), '/', 1)
$$;
create function process_of(name text) returns text language sql immutable as $$
    select split_part(split_part(name, '@', 2), '/', 2)
$$;
create function my_computer() returns text language sql stable set search_path from current as $$
    select computer_of(current_setting('application_name'))
$$;

-- The advisory lock of a run or of another piece of work. The salt keeps other programs from computing it.
create function lock_in(team text, work text) returns bigint language sql stable security definer
    set search_path from current as $$
    select hashtextextended(salt::text || '/' || team || '/' || work, 0) from settings
$$;
create function lock_of(work text) returns bigint language sql stable security definer set search_path from current as $$
    select lock_in(my_team(), work)
$$;

-- Append-only: a row for each step of a run. A trigger derives `journal` and `ends` from it.
create table transitions (
    id bigint generated always as identity primary key,
    run text collate "C" not null check (run ~ '^\d{8}T\d{6}Z-[0-9a-f]{8}$'),
    serial text collate "C" not null,
    verb text not null check (verb in ('enroll', 'revoke', 'lost', 'add')),
    reached text not null check (reached in
        ('intent', 'created', 'staged', 'enabled', 'confirmed', 'undone', 'revoking', 'revoked')),
    intent json not null, backup text, at double precision not null, since double precision,
    sealed integer not null default 0,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp()
);
create index transitions_of on transitions (team, run, serial);

create table journal (
    run text collate "C" not null, serial text collate "C" not null, verb text not null, reached text not null,
    intent json not null, backup text, at double precision not null, since double precision,
    sealed integer not null default 0,
    team text collate "C" not null, role name not null, computer text not null, recorded timestamptz not null,
    primary key (team, run, serial)
);
create index journal_open on journal (team, run) where reached in ('intent', 'created', 'revoking');
create index journal_serial on journal (serial);
create index journal_run on journal (run);

create table ends (
    id bigint generated always as identity primary key, at double precision not null,
    run text collate "C" not null, serial text collate "C" not null, verb text not null, reached text not null,
    team text collate "C" not null, role name not null, computer text not null
);
create index ends_of on ends (team, run, serial);

create table events (
    id bigint generated always as identity primary key, at double precision not null, operation text not null,
    "user" text, serial text collate "C", request_id text, answer text not null, file text,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp()
);
create index events_at on events (at);

create table tokens (
    serial text collate "C" not null, fingerprint text not null, factor text not null, digest text not null,
    digits bigint not null, period bigint not null, counter bigint not null, maker text not null,
    model text not null, octets bigint not null, capacity bigint not null,
    verdict text not null, reason text not null, at double precision not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp(),
    primary key (team, serial)
);
create table sightings (
    id bigint generated always as identity primary key, at double precision not null, serial text collate "C" not null,
    fingerprint text not null, verdict text not null, "offset" bigint, seconds bigint, reason text not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp()
);
create index sightings_of on sightings (team, serial, at);

create table seals (
    backup text collate "C" not null, recipient text collate "C" not null, since double precision not null,
    until double precision,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp(),
    primary key (team, backup, recipient, since)
);
create table drills (
    id bigint generated always as identity primary key, at double precision not null, backup text collate "C" not null,
    result text not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp()
);
create index drills_of on drills (backup, at);

create table failures (
    plan text not null, "user" text not null, at double precision not null, cause text not null, reason text not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp(),
    primary key (team, plan, "user")
);
create table rollout_runs (
    plan text not null, run text collate "C" not null, at double precision not null, ended double precision,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp(),
    primary key (team, plan, run)
);

-- Which key the fingerprints of tokens' seeds were made with. The key itself is in a file on each computer.
create table fingerprint_keys (
    digest text not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp(),
    primary key (team)
);

-- The process that works on a run or on another piece of work, by a random number of its own, and since when.
create table claims (
    team text collate "C" not null, work text collate "C" not null, process uuid not null,
    since timestamptz not null default clock_timestamp(), primary key (team, work)
);

-- Try to take the lock of a run, or of another piece of work, for this session, which releases it when it ends.
-- The lock is shared, so that other sessions of the same process can join. It is refused while the process that held
-- it may not know yet that the server was restarted.
create function take(wanted text, by_process uuid) returns boolean language plpgsql security definer
    set search_path from current as $$
declare
    key bigint := lock_of(wanted);
begin
    if wanted !~ '^\d{8}T\d{6}Z-[0-9a-f]{8}$' and wanted !~ '^[0-9a-f]{64}-\d{12}(-\d+)?$' then
        raise exception '% is not a run ID', wanted using errcode = 'MK002';
    end if;
    if not pg_try_advisory_lock(key) then
        return false;
    end if;
    if exists (
        select from journal where team = my_team() and run = wanted and recorded < pg_postmaster_start_time()
            and recorded > clock_timestamp() - make_interval(secs => (select grace from settings))
            and reached in ('intent', 'created', 'revoking')
    ) then
        perform pg_advisory_unlock(key);
        return false;
    end if;
    insert into claims (team, work, process) values (my_team(), wanted, by_process)
        on conflict (team, work) do update set process = excluded.process, since = clock_timestamp();
    perform pg_try_advisory_lock_shared(key);
    perform pg_advisory_unlock(key);
    return true;
end
$$;
-- Take the lock that another session of this process holds, unless another process has taken it since.
create function enter(wanted text, by_process uuid) returns boolean language plpgsql security definer
    set search_path from current as $$
begin
    if not pg_try_advisory_lock_shared(lock_of(wanted)) then
        return false;
    end if;
    if exists (select from claims where team = my_team() and work = wanted and process = by_process) then
        return true;
    end if;
    perform pg_advisory_unlock_shared(lock_of(wanted));
    return false;
end
$$;
create function give_back(work text) returns boolean language sql security definer set search_path from current as $$
    select pg_advisory_unlock_shared(lock_of(work))
$$;
-- The process that holds a lock, as `process PID of ROLE on COMPUTER`, or null.
create function holder(work text) returns text language sql stable security definer set search_path from current as $$
    select format('process %s of %s on %s',
        process_of(a.application_name), a.usename, computer_of(a.application_name))
    from pg_locks l join pg_stat_activity a using (pid), lock_of(work) as key
    where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and a.datname = current_database()
        and l.classid::bigint = (key >> 32) & 4294967295 and l.objid::bigint = key & 4294967295
    limit 1
$$;
-- The processes that hold the locks of these pieces of work. An auditor sees those of all teams.
create function workers(works text[]) returns table (work text, computer text, process text, since double precision)
    language sql stable security definer set search_path from current as $$
    select distinct on (c.work) c.work, computer_of(a.application_name), process_of(a.application_name),
        extract(epoch from c.since)::double precision
    from claims c cross join lateral lock_in(c.team, c.work) as key
        join pg_locks l on l.classid::bigint = (key >> 32) & 4294967295 and l.objid::bigint = key & 4294967295
        join pg_stat_activity a using (pid)
    where c.work = any (works) and l.locktype = 'advisory' and l.objsubid = 1 and l.granted
        and a.datname = current_database()
$$;
create function holds(work text) returns boolean language sql stable security definer set search_path from current as $$
    select exists (
        select from pg_locks, lock_of(work) as key
        where locktype = 'advisory' and pid = pg_backend_pid() and objsubid = 1 and granted
            and database = (select oid from pg_database where datname = current_database())
            and classid::bigint = (key >> 32) & 4294967295 and objid::bigint = key & 4294967295
    )
$$;

-- Replace what a client wrote into the columns about itself by what the server knows.
create function stamp() returns trigger language plpgsql security definer set search_path from current as $$
begin
    new.team := my_team();
    new.role := session_user;
    new.computer := my_computer();
    new.recorded := clock_timestamp();
    return new;
end
$$;
create function stamp_time() returns trigger language plpgsql security definer set search_path from current as $$
begin
    if not is_owner() then
        new.at := extract(epoch from clock_timestamp());
    end if;
    return new;
end
$$;
create function check_lock() returns trigger language plpgsql security definer set search_path from current as $$
begin
    if not holds(new.run) then
        raise exception 'this session does not hold the lock of run %', new.run using errcode = 'MK001';
    end if;
    return new;
end
$$;
-- Derive the state of the journal, and the ends of runs, as SQLite's triggers do.
create function advance() returns trigger language plpgsql security definer set search_path from current as $$
declare
    before text;
begin
    select j.reached into before from journal j
        where j.team = new.team and j.run = new.run and j.serial = new.serial for update;
    if not found then
        insert into journal values (new.run, new.serial, new.verb, new.reached, new.intent, new.backup, new.at,
            new.since, new.sealed, new.team, new.role, new.computer, new.recorded);
    else
        update journal j set verb = new.verb, reached = new.reached, at = new.at, since = new.since,
            sealed = new.sealed, backup = coalesce(new.backup, j.backup), role = new.role, computer = new.computer,
            recorded = new.recorded
            where j.team = new.team and j.run = new.run and j.serial = new.serial;
    end if;
    if new.reached in ('undone', 'revoked') and before is distinct from new.reached
        or new.reached = 'confirmed' and (before is null or before not in ('confirmed', 'revoking'))
    then
        insert into ends (at, run, serial, verb, reached, team, role, computer)
            values (new.at, new.run, new.serial, new.verb, new.reached, new.team, new.role, new.computer);
    end if;
    return null;
end
$$;

create trigger a_lock before insert on transitions for each row execute function check_lock();
create trigger b_stamp before insert on transitions for each row execute function stamp();
create trigger c_time before insert on transitions for each row execute function stamp_time();
create trigger d_advance after insert on transitions for each row execute function advance();
create trigger b_stamp before insert on events for each row execute function stamp();
create trigger c_time before insert on events for each row execute function stamp_time();
create trigger c_time before insert on drills for each row execute function stamp_time();
create trigger c_time before insert on sightings for each row execute function stamp_time();

do $$
declare
    name text;
begin
    foreach name in array array['tokens', 'sightings', 'seals', 'drills', 'failures', 'rollout_runs', 'fingerprint_keys'] loop
        execute format(
            'create trigger b_stamp before insert or update on %I for each row execute function stamp()', name);
    end loop;
    foreach name in array array['transitions', 'journal', 'ends', 'events', 'claims', 'tokens', 'sightings', 'seals', 'drills',
        'failures', 'rollout_runs', 'fingerprint_keys']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name); -- for the owner too
        execute format(
            'create policy own_team on %I using (team = (select my_team())) with check (team = (select my_team()))',
            name);
        execute format('create policy auditor on %I for select using ((select is_auditor()))', name);
    end loop;
end
$$;
-- A role may delete only rows that it wrote itself within the last day.
create policy own_rows on seals as restrictive for delete
    using (role = session_user and recorded > clock_timestamp() - interval '1 day');

revoke all on function lock_of(text), lock_in(text, text), workers(text[]), take(text, uuid), enter(text, uuid), give_back(text), holder(text), holds(text), stamp(), stamp_time(),
    check_lock(), advance() from public;
