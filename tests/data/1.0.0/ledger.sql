SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA mfa_kit;
CREATE FUNCTION mfa_kit.advance() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
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
CREATE FUNCTION mfa_kit.check_lock() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
begin
    if not holds(new.run) then
        raise exception 'this session does not hold the lock of run %', new.run using errcode = 'MK001';
    end if;
    return new;
end
$$;
CREATE FUNCTION mfa_kit.computer_of(name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select split_part(split_part(name, '@', 2), '/', 1)
$$;
CREATE FUNCTION mfa_kit.end_once() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
begin
    if old.until is not null then
        new.until := old.until;
    elsif new.until is not null and not is_owner() then
        new.until := extract(epoch from clock_timestamp());
    end if;
    return new;
end
$$;
CREATE FUNCTION mfa_kit.enter(wanted text, by_process uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
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
CREATE FUNCTION mfa_kit.give_back(work text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select pg_advisory_unlock_shared(lock_of(work))
$$;
CREATE FUNCTION mfa_kit.holder(work text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select format('process %s of %s on %s',
        process_of(a.application_name), a.usename, computer_of(a.application_name))
    from pg_locks l join pg_stat_activity a using (pid), lock_of(work) as key
    where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and a.datname = current_database()
        and l.classid::bigint = (key >> 32) & 4294967295 and l.objid::bigint = key & 4294967295
    limit 1
$$;
CREATE FUNCTION mfa_kit.holds(work text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select exists (
        select from pg_locks, lock_of(work) as key
        where locktype = 'advisory' and pid = pg_backend_pid() and objsubid = 1 and granted
            and database = (select oid from pg_database where datname = current_database())
            and classid::bigint = (key >> 32) & 4294967295 and objid::bigint = key & 4294967295
    )
$$;
CREATE FUNCTION mfa_kit.is_auditor() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select coalesce((select auditor from members where role = session_user), false)
$$;
CREATE FUNCTION mfa_kit.is_owner() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select pg_has_role(session_user, current_user, 'member')
$$;
CREATE FUNCTION mfa_kit.keep_writer() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
begin
    new.team := old.team;
    new.role := old.role;
    new.computer := old.computer;
    new.recorded := old.recorded;
    return new;
end
$$;
CREATE FUNCTION mfa_kit.lock_in(team text, work text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select hashtextextended(salt::text || '/' || team || '/' || work, 0) from settings
$$;
CREATE FUNCTION mfa_kit.lock_of(work text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select lock_in(my_team(), work)
$$;
CREATE FUNCTION mfa_kit.my_computer() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select computer_of(current_setting('application_name'))
$$;
CREATE FUNCTION mfa_kit.my_team() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select coalesce((select team from members where role = session_user), '')
$$;
CREATE FUNCTION mfa_kit.process_of(name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select split_part(split_part(name, '@', 2), '/', 2)
$$;
CREATE FUNCTION mfa_kit.respell() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
begin
    if lower(regexp_replace(new.serial, '\s', '', 'g')) <> lower(regexp_replace(old.serial, '\s', '', 'g')) then
        raise exception 'a test of token % cannot become one of another token', old.serial
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
CREATE FUNCTION mfa_kit.stamp() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
begin
    new.team := my_team();
    new.role := session_user;
    new.computer := my_computer();
    new.recorded := clock_timestamp();
    return new;
end
$$;
CREATE FUNCTION mfa_kit.stamp_time() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
begin
    if not is_owner() then
        new.at := extract(epoch from clock_timestamp());
    end if;
    return new;
end
$$;
CREATE FUNCTION mfa_kit.take(wanted text, by_process uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $_$
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
$_$;
CREATE FUNCTION mfa_kit.workers(works text[]) RETURNS TABLE(work text, computer text, process text, since double precision)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'mfa_kit', 'pg_temp'
    AS $$
    select distinct on (c.work) c.work, computer_of(a.application_name), process_of(a.application_name),
        extract(epoch from c.since)::double precision
    from claims c cross join lateral lock_in(c.team, c.work) as key
        join pg_locks l on l.classid::bigint = (key >> 32) & 4294967295 and l.objid::bigint = key & 4294967295
        join pg_stat_activity a using (pid)
    where c.work = any (works) and l.locktype = 'advisory' and l.objsubid = 1 and l.granted
        and a.datname = current_database()
$$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE mfa_kit.audit_findings (
    id bigint NOT NULL,
    at double precision NOT NULL,
    account text NOT NULL,
    finding text NOT NULL COLLATE pg_catalog."C",
    rule text NOT NULL,
    state text NOT NULL,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.audit_findings FORCE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.audit_findings ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mfa_kit.audit_findings_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE mfa_kit.audits (
    id bigint NOT NULL,
    at double precision NOT NULL,
    account text NOT NULL,
    results text NOT NULL,
    failed text NOT NULL,
    rules text NOT NULL,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.audits FORCE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.audits ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mfa_kit.audits_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE mfa_kit.break_glass (
    id bigint NOT NULL,
    at double precision NOT NULL,
    recipient text NOT NULL COLLATE pg_catalog."C",
    action text NOT NULL,
    custodians text NOT NULL,
    threshold bigint NOT NULL,
    backups bigint NOT NULL,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.break_glass FORCE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.break_glass ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mfa_kit.break_glass_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE mfa_kit.claims (
    team text NOT NULL COLLATE pg_catalog."C",
    work text NOT NULL COLLATE pg_catalog."C",
    process uuid NOT NULL,
    since timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.claims FORCE ROW LEVEL SECURITY;
CREATE TABLE mfa_kit.drills (
    id bigint NOT NULL,
    at double precision NOT NULL,
    backup text NOT NULL COLLATE pg_catalog."C",
    result text NOT NULL,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.drills FORCE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.drills ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mfa_kit.drills_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE mfa_kit.ends (
    id bigint NOT NULL,
    at double precision NOT NULL,
    run text NOT NULL COLLATE pg_catalog."C",
    serial text NOT NULL COLLATE pg_catalog."C",
    verb text NOT NULL,
    reached text NOT NULL,
    team text NOT NULL COLLATE pg_catalog."C",
    role name NOT NULL,
    computer text NOT NULL
);
ALTER TABLE ONLY mfa_kit.ends FORCE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.ends ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mfa_kit.ends_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE mfa_kit.events (
    id bigint NOT NULL,
    at double precision NOT NULL,
    operation text NOT NULL,
    "user" text,
    serial text COLLATE pg_catalog."C",
    request_id text,
    answer text NOT NULL,
    file text,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.events FORCE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mfa_kit.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE mfa_kit.failures (
    plan text NOT NULL,
    "user" text NOT NULL,
    at double precision NOT NULL,
    cause text NOT NULL,
    reason text NOT NULL,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.failures FORCE ROW LEVEL SECURITY;
CREATE TABLE mfa_kit.fingerprint_keys (
    digest text NOT NULL,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.fingerprint_keys FORCE ROW LEVEL SECURITY;
CREATE TABLE mfa_kit.journal (
    run text NOT NULL COLLATE pg_catalog."C",
    serial text NOT NULL COLLATE pg_catalog."C",
    verb text NOT NULL,
    reached text NOT NULL,
    intent json NOT NULL,
    backup text,
    at double precision NOT NULL,
    since double precision,
    sealed integer DEFAULT 0 NOT NULL,
    team text NOT NULL COLLATE pg_catalog."C",
    role name NOT NULL,
    computer text NOT NULL,
    recorded timestamp with time zone NOT NULL
);
ALTER TABLE ONLY mfa_kit.journal FORCE ROW LEVEL SECURITY;
CREATE TABLE mfa_kit.members (
    role name NOT NULL,
    team text NOT NULL,
    auditor boolean DEFAULT false NOT NULL
);
CREATE TABLE mfa_kit.rollout_runs (
    plan text NOT NULL,
    run text NOT NULL COLLATE pg_catalog."C",
    at double precision NOT NULL,
    ended double precision,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.rollout_runs FORCE ROW LEVEL SECURITY;
CREATE TABLE mfa_kit.seals (
    backup text NOT NULL COLLATE pg_catalog."C",
    recipient text NOT NULL COLLATE pg_catalog."C",
    since double precision NOT NULL,
    until double precision,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.seals FORCE ROW LEVEL SECURITY;
CREATE TABLE mfa_kit.settings (
    grace double precision NOT NULL,
    salt uuid DEFAULT gen_random_uuid() NOT NULL
);
CREATE TABLE mfa_kit.sightings (
    id bigint NOT NULL,
    at double precision NOT NULL,
    serial text NOT NULL COLLATE pg_catalog."C",
    fingerprint text NOT NULL,
    verdict text NOT NULL,
    "offset" bigint,
    seconds bigint,
    reason text NOT NULL,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.sightings FORCE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.sightings ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mfa_kit.sightings_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE mfa_kit.tokens (
    serial text NOT NULL COLLATE pg_catalog."C",
    fingerprint text NOT NULL,
    factor text NOT NULL,
    digest text NOT NULL,
    digits bigint NOT NULL,
    period bigint NOT NULL,
    counter bigint NOT NULL,
    maker text NOT NULL,
    model text NOT NULL,
    octets bigint NOT NULL,
    capacity bigint NOT NULL,
    verdict text NOT NULL,
    reason text NOT NULL,
    at double precision NOT NULL,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY mfa_kit.tokens FORCE ROW LEVEL SECURITY;
CREATE TABLE mfa_kit.transitions (
    id bigint NOT NULL,
    run text NOT NULL COLLATE pg_catalog."C",
    serial text NOT NULL COLLATE pg_catalog."C",
    verb text NOT NULL,
    reached text NOT NULL,
    intent json NOT NULL,
    backup text,
    at double precision NOT NULL,
    since double precision,
    sealed integer DEFAULT 0 NOT NULL,
    team text DEFAULT mfa_kit.my_team() NOT NULL COLLATE pg_catalog."C",
    role name DEFAULT SESSION_USER NOT NULL,
    computer text DEFAULT mfa_kit.my_computer() NOT NULL,
    recorded timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT transitions_reached_check CHECK ((reached = ANY (ARRAY['intent'::text, 'created'::text, 'staged'::text, 'enabled'::text, 'confirmed'::text, 'undone'::text, 'revoking'::text, 'revoked'::text]))),
    CONSTRAINT transitions_run_check CHECK ((run ~ '^\d{8}T\d{6}Z-[0-9a-f]{8}$'::text)),
    CONSTRAINT transitions_verb_check CHECK ((verb = ANY (ARRAY['enroll'::text, 'revoke'::text, 'lost'::text, 'add'::text])))
);
ALTER TABLE ONLY mfa_kit.transitions FORCE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.transitions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mfa_kit.transitions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE mfa_kit.version (
    number integer NOT NULL,
    applied timestamp with time zone DEFAULT now() NOT NULL
);
INSERT INTO mfa_kit.claims VALUES ('', '20261201T035502Z-b84a6f6d', 'ed674598-5bc0-4f40-859c-384a4b8a7b41', '2026-12-01 04:14:33.552409+00');
INSERT INTO mfa_kit.claims VALUES ('', '20261201T035505Z-e4e472e6', '7a6df545-0b6c-4ab5-b715-0e61881561de', '2026-12-01 04:14:33.615136+00');
INSERT INTO mfa_kit.claims VALUES ('', '20261201T035508Z-b8d8a0e6', '0f5989d6-6c0a-431d-ace3-55ec06375cb5', '2026-12-01 04:14:33.651235+00');
INSERT INTO mfa_kit.claims VALUES ('', '20261201T035518Z-befeb00b', '4490bf37-9206-4aad-ba35-11538944b0ee', '2026-12-01 04:14:33.703614+00');
INSERT INTO mfa_kit.claims VALUES ('', '20261201T035526Z-9a32b41f', 'f5a070a2-6582-4bf9-8a63-85c7fb7ff476', '2026-12-01 04:14:33.727855+00');
INSERT INTO mfa_kit.ends OVERRIDING SYSTEM VALUE VALUES (1, 1796097303.1369212, '20261201T035502Z-b84a6f6d', 'arn:aws:iam::000000000000:mfa/alice', 'enroll', 'confirmed', '', 'owner', 'admin');
INSERT INTO mfa_kit.ends OVERRIDING SYSTEM VALUE VALUES (2, 1796097306.0534034, '20261201T035505Z-e4e472e6', 'arn:aws:iam::000000000000:mfa/bob', 'enroll', 'confirmed', '', 'owner', 'admin');
INSERT INTO mfa_kit.ends OVERRIDING SYSTEM VALUE VALUES (3, 1796097309.2597566, '20261201T035508Z-b8d8a0e6', 'arn:aws:iam::000000000000:mfa/carol', 'enroll', 'confirmed', '', 'owner', 'admin');
INSERT INTO mfa_kit.ends OVERRIDING SYSTEM VALUE VALUES (4, 1796097312.1508825, '20261201T035508Z-b8d8a0e6', 'arn:aws:iam::000000000000:mfa/carol', 'revoke', 'revoked', '', 'owner', 'admin');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (1, 1796097303.0095677, 'CreateVirtualMFADevice', 'alice', 'arn:aws:iam::000000000000:mfa/alice', 'f063a7ff-a106-4c4f-bc5f-2f861906acc3', 'OK', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.80371+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (2, 1796097303.1271048, 'EnableMFADevice', 'alice', 'arn:aws:iam::000000000000:mfa/alice', '5c5c224b-aeb4-4408-92be-f9fd2f520122', 'OK', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.807094+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (3, 1796097305.9785006, 'CreateVirtualMFADevice', 'bob', 'arn:aws:iam::000000000000:mfa/bob', '79e95bb4-381c-48e2-bfee-c47b89ec5e7a', 'OK', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.807274+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (4, 1796097306.040053, 'EnableMFADevice', 'bob', 'arn:aws:iam::000000000000:mfa/bob', '17ed071c-ca2e-4da7-b6d1-24ad6c1a53b1', 'OK', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.832742+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (5, 1796097309.067021, 'CreateVirtualMFADevice', 'carol', 'arn:aws:iam::000000000000:mfa/carol', '5d938b70-a208-4f97-acb7-64ae1306b391', 'OK', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.83293+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (6, 1796097309.2559447, 'EnableMFADevice', 'carol', 'arn:aws:iam::000000000000:mfa/carol', '5bf00a99-b670-4bc4-b585-f7896dce89d6', 'OK', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.833124+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (7, 1796097312.1372569, 'DeactivateMFADevice', 'carol', 'arn:aws:iam::000000000000:mfa/carol', 'dfe35901-5da5-400a-91ab-7606d7f7224b', 'OK', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.83325+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (8, 1796097312.1505759, 'DeleteVirtualMFADevice', NULL, 'arn:aws:iam::000000000000:mfa/carol', 'bed18190-a78e-44ae-82a7-8fce80bb71cc', 'OK', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.833379+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (9, 1796097318.6360111, 'CreateVirtualMFADevice', 'erin', 'arn:aws:iam::000000000000:mfa/erin', '26b3c743-deed-43c6-8621-b3ff0654d965', 'OK', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.83348+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (10, 1796097319.5157902, 'OpenBackup', 'alice', NULL, NULL, 'OK', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/alice/alice-20261201T035502Z-b84a6f6d.png.age', '', 'owner', 'admin', '2026-12-01 04:14:33.833581+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (11, 1796097319.5804734, 'OpenBackup', 'bob', NULL, NULL, 'OK', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/bob/bob-20261201T035505Z-e4e472e6.png.age', '', 'owner', 'admin', '2026-12-01 04:14:33.83368+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (12, 1796097319.5825338, 'OpenBackup', 'erin', NULL, NULL, 'OK', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/erin/erin-20261201T035518Z-befeb00b.png.age', '', 'owner', 'admin', '2026-12-01 04:14:33.833767+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (13, 1796097327.0311482, 'CreateVirtualMFADevice', 'dave', 'arn:aws:iam::000000000000:mfa/dave', '12d4f588-5578-480f-9313-07335a915448', 'OK', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.833853+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (14, 1796097327.1062267, 'EnableMFADevice', 'dave', 'arn:aws:iam::000000000000:mfa/dave', '555cd8cf-905e-433f-b813-8f12368c6340', 'AccessDenied', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.833937+00');
INSERT INTO mfa_kit.events OVERRIDING SYSTEM VALUE VALUES (15, 1796097327.155153, 'DeleteVirtualMFADevice', NULL, 'arn:aws:iam::000000000000:mfa/dave', '7fd887cd-84de-4efe-b64b-59d1bc913844', 'AccessDenied', NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.853141+00');
INSERT INTO mfa_kit.fingerprint_keys VALUES ('dcc01a7158779c9adc68f0567238de5b604711dd2bf77aa6ed3332e83f9c094d', '', 'owner', 'admin', '2026-12-01 04:14:34.088444+00');
INSERT INTO mfa_kit.journal VALUES ('20261201T035502Z-b84a6f6d', 'arn:aws:iam::000000000000:mfa/alice', 'enroll', 'confirmed', '{"account": "000000000000", "partition": "aws", "user": "alice", "name": "alice", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": null, "tags": [], "staged": false, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/alice/alice-20261201T035502Z-b84a6f6d.png.age', 1796097303.1369212, NULL, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.583569+00');
INSERT INTO mfa_kit.journal VALUES ('20261201T035505Z-e4e472e6', 'arn:aws:iam::000000000000:mfa/bob', 'enroll', 'confirmed', '{"account": "000000000000", "partition": "aws", "user": "bob", "name": "bob", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": null, "tags": [], "staged": false, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/bob/bob-20261201T035505Z-e4e472e6.png.age', 1796097306.0534034, NULL, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.638658+00');
INSERT INTO mfa_kit.journal VALUES ('20261201T035508Z-b8d8a0e6', 'arn:aws:iam::000000000000:mfa/carol', 'revoke', 'revoked', '{"account": "000000000000", "partition": "aws", "user": "carol", "name": "carol", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": null, "tags": [], "staged": false, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/carol/carol-20261201T035508Z-b8d8a0e6.png.age', 1796097312.1508825, 1796097309, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.674552+00');
INSERT INTO mfa_kit.journal VALUES ('20261201T035518Z-befeb00b', 'arn:aws:iam::000000000000:mfa/erin', 'enroll', 'staged', '{"account": "000000000000", "partition": "aws", "user": "erin", "name": "erin", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": "age1zahk84mzn6u7weqcmmedz05avadqmupd6c84h4ve342g3tkrhfusprmt0x", "tags": [], "staged": true, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/erin/erin-20261201T035518Z-befeb00b.png.age', 1796097318.649974, NULL, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.714818+00');
INSERT INTO mfa_kit.journal VALUES ('20261201T035526Z-9a32b41f', 'arn:aws:iam::000000000000:mfa/dave', 'enroll', 'created', '{"account": "000000000000", "partition": "aws", "user": "dave", "name": "dave", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": null, "tags": [], "staged": false, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/dave/dave-20261201T035526Z-9a32b41f.png.age', 1796097327.076742, NULL, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.728864+00');
INSERT INTO mfa_kit.rollout_runs VALUES ('261fb2418f964edf53971ba8b52b7fb406d0a02d554df93283d3aa26ea3b5127', '20261201T035518Z-befeb00b', 1796097318.5968463, 1796097318.6507406, '', 'owner', 'admin', '2026-12-01 04:14:33.978933+00');
INSERT INTO mfa_kit.seals VALUES ('000000000000/alice/alice-20261201T035502Z-b84a6f6d.png.age', 'age1zahk84mzn6u7weqcmmedz05avadqmupd6c84h4ve342g3tkrhfusprmt0x', 1796097303.0497484, NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.938983+00');
INSERT INTO mfa_kit.seals VALUES ('000000000000/bob/bob-20261201T035505Z-e4e472e6.png.age', 'age1zahk84mzn6u7weqcmmedz05avadqmupd6c84h4ve342g3tkrhfusprmt0x', 1796097306.0058677, NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.93946+00');
INSERT INTO mfa_kit.seals VALUES ('000000000000/bob/bob-20261201T035505Z-e4e472e6.png.age', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICNzQWSLDbmN3z4B2x0Gu3R88uXcPIZnTTfDrrBNFXGV', 1796097306.0058677, NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.939779+00');
INSERT INTO mfa_kit.seals VALUES ('000000000000/carol/carol-20261201T035508Z-b8d8a0e6.png.age', 'age1zahk84mzn6u7weqcmmedz05avadqmupd6c84h4ve342g3tkrhfusprmt0x', 1796097309.1508715, NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.940075+00');
INSERT INTO mfa_kit.seals VALUES ('000000000000/dave/dave-20261201T035526Z-9a32b41f.png.age', 'age1zahk84mzn6u7weqcmmedz05avadqmupd6c84h4ve342g3tkrhfusprmt0x', 1796097327.055146, NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.940337+00');
INSERT INTO mfa_kit.seals VALUES ('000000000000/erin/erin-20261201T035518Z-befeb00b.png.age', 'age1zahk84mzn6u7weqcmmedz05avadqmupd6c84h4ve342g3tkrhfusprmt0x', 1796097318.6436334, NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.940626+00');
INSERT INTO mfa_kit.seals VALUES ('users/000000000000/erin/erin-20261201T035518Z-befeb00b.png.age', 'age1zahk84mzn6u7weqcmmedz05avadqmupd6c84h4ve342g3tkrhfusprmt0x', 1796097318.6436334, NULL, '', 'owner', 'admin', '2026-12-01 04:14:33.940874+00');
INSERT INTO mfa_kit.settings VALUES (60, '011c3d9d-2f7f-4859-b246-8ec691fd6653');
INSERT INTO mfa_kit.tokens VALUES ('1001', '0878fca938a3c89dc306212769ce8a13', 'totp', 'sha1', 6, 30, 0, 'Acme', 'Display 1', 20, 0, 'untested', '', 1796097313.2735062, '', 'owner', 'admin', '2026-12-01 04:14:33.902786+00');
INSERT INTO mfa_kit.tokens VALUES ('1002', '7bf3f2fdb2124794ab0d1fe36396a0ac', 'totp', 'sha1', 6, 60, 0, 'Acme', 'Display 1', 20, 0, 'untested', '', 1796097313.2735062, '', 'owner', 'admin', '2026-12-01 04:14:33.906364+00');
INSERT INTO mfa_kit.transitions OVERRIDING SYSTEM VALUE VALUES (1, '20261201T035502Z-b84a6f6d', 'arn:aws:iam::000000000000:mfa/alice', 'enroll', 'confirmed', '{"account": "000000000000", "partition": "aws", "user": "alice", "name": "alice", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": null, "tags": [], "staged": false, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/alice/alice-20261201T035502Z-b84a6f6d.png.age', 1796097303.1369212, NULL, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.583569+00');
INSERT INTO mfa_kit.transitions OVERRIDING SYSTEM VALUE VALUES (2, '20261201T035505Z-e4e472e6', 'arn:aws:iam::000000000000:mfa/bob', 'enroll', 'confirmed', '{"account": "000000000000", "partition": "aws", "user": "bob", "name": "bob", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": null, "tags": [], "staged": false, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/bob/bob-20261201T035505Z-e4e472e6.png.age', 1796097306.0534034, NULL, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.638658+00');
INSERT INTO mfa_kit.transitions OVERRIDING SYSTEM VALUE VALUES (3, '20261201T035508Z-b8d8a0e6', 'arn:aws:iam::000000000000:mfa/carol', 'enroll', 'confirmed', '{"account": "000000000000", "partition": "aws", "user": "carol", "name": "carol", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": null, "tags": [], "staged": false, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/carol/carol-20261201T035508Z-b8d8a0e6.png.age', 1796097309.2597566, 1796097309, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.672747+00');
INSERT INTO mfa_kit.transitions OVERRIDING SYSTEM VALUE VALUES (4, '20261201T035508Z-b8d8a0e6', 'arn:aws:iam::000000000000:mfa/carol', 'revoke', 'revoked', '{"account": "000000000000", "partition": "aws", "user": "carol", "name": "carol", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": null, "tags": [], "staged": false, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/carol/carol-20261201T035508Z-b8d8a0e6.png.age', 1796097312.1508825, 1796097309, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.674552+00');
INSERT INTO mfa_kit.transitions OVERRIDING SYSTEM VALUE VALUES (5, '20261201T035518Z-befeb00b', 'arn:aws:iam::000000000000:mfa/erin', 'enroll', 'staged', '{"account": "000000000000", "partition": "aws", "user": "erin", "name": "erin", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": "age1zahk84mzn6u7weqcmmedz05avadqmupd6c84h4ve342g3tkrhfusprmt0x", "tags": [], "staged": true, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/erin/erin-20261201T035518Z-befeb00b.png.age', 1796097318.649974, NULL, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.714818+00');
INSERT INTO mfa_kit.transitions OVERRIDING SYSTEM VALUE VALUES (6, '20261201T035526Z-9a32b41f', 'arn:aws:iam::000000000000:mfa/dave', 'enroll', 'created', '{"account": "000000000000", "partition": "aws", "user": "dave", "name": "dave", "path": "/", "known_serial": null, "hardware": null, "card": null, "replaces": null, "replaces_run": null, "replaces_since": null, "recipient": null, "tags": [], "staged": false, "kind": "virtual"}', '/tmp/mfa-kit-data-zuyb5ywi/state/home/backups/000000000000/dave/dave-20261201T035526Z-9a32b41f.png.age', 1796097327.076742, NULL, 1, '', 'owner', 'admin', '2026-12-01 04:14:33.728864+00');
INSERT INTO mfa_kit.version VALUES (1, '2026-12-01 04:14:30.139077+00');
INSERT INTO mfa_kit.version VALUES (2, '2026-12-01 04:14:30.139077+00');
INSERT INTO mfa_kit.version VALUES (3, '2026-12-01 04:14:30.139077+00');
INSERT INTO mfa_kit.version VALUES (4, '2026-12-01 04:14:30.139077+00');
INSERT INTO mfa_kit.version VALUES (5, '2026-12-01 04:14:30.139077+00');
SELECT pg_catalog.setval('mfa_kit.audit_findings_id_seq', 1, false);
SELECT pg_catalog.setval('mfa_kit.audits_id_seq', 1, false);
SELECT pg_catalog.setval('mfa_kit.break_glass_id_seq', 1, false);
SELECT pg_catalog.setval('mfa_kit.drills_id_seq', 1, false);
SELECT pg_catalog.setval('mfa_kit.ends_id_seq', 4, true);
SELECT pg_catalog.setval('mfa_kit.events_id_seq', 15, true);
SELECT pg_catalog.setval('mfa_kit.sightings_id_seq', 1, false);
SELECT pg_catalog.setval('mfa_kit.transitions_id_seq', 6, true);
ALTER TABLE ONLY mfa_kit.audit_findings
    ADD CONSTRAINT audit_findings_pkey PRIMARY KEY (id);
ALTER TABLE ONLY mfa_kit.audits
    ADD CONSTRAINT audits_pkey PRIMARY KEY (id);
ALTER TABLE ONLY mfa_kit.break_glass
    ADD CONSTRAINT break_glass_pkey PRIMARY KEY (id);
ALTER TABLE ONLY mfa_kit.claims
    ADD CONSTRAINT claims_pkey PRIMARY KEY (team, work);
ALTER TABLE ONLY mfa_kit.drills
    ADD CONSTRAINT drills_pkey PRIMARY KEY (id);
ALTER TABLE ONLY mfa_kit.ends
    ADD CONSTRAINT ends_pkey PRIMARY KEY (id);
ALTER TABLE ONLY mfa_kit.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY mfa_kit.failures
    ADD CONSTRAINT failures_pkey PRIMARY KEY (team, plan, "user");
ALTER TABLE ONLY mfa_kit.fingerprint_keys
    ADD CONSTRAINT fingerprint_keys_pkey PRIMARY KEY (team);
ALTER TABLE ONLY mfa_kit.journal
    ADD CONSTRAINT journal_pkey PRIMARY KEY (team, run, serial);
ALTER TABLE ONLY mfa_kit.members
    ADD CONSTRAINT members_pkey PRIMARY KEY (role);
ALTER TABLE ONLY mfa_kit.rollout_runs
    ADD CONSTRAINT rollout_runs_pkey PRIMARY KEY (team, plan, run);
ALTER TABLE ONLY mfa_kit.seals
    ADD CONSTRAINT seals_pkey PRIMARY KEY (team, backup, recipient, since);
ALTER TABLE ONLY mfa_kit.sightings
    ADD CONSTRAINT sightings_pkey PRIMARY KEY (id);
ALTER TABLE ONLY mfa_kit.tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (team, serial);
ALTER TABLE ONLY mfa_kit.transitions
    ADD CONSTRAINT transitions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY mfa_kit.version
    ADD CONSTRAINT version_pkey PRIMARY KEY (number);
CREATE INDEX audit_findings_of ON mfa_kit.audit_findings USING btree (team, account, finding, at);
CREATE INDEX audits_of ON mfa_kit.audits USING btree (team, account, at);
CREATE INDEX break_glass_of ON mfa_kit.break_glass USING btree (team, recipient, at);
CREATE INDEX drills_of ON mfa_kit.drills USING btree (backup, at);
CREATE INDEX ends_of ON mfa_kit.ends USING btree (team, run, serial);
CREATE INDEX events_at ON mfa_kit.events USING btree (at);
CREATE INDEX journal_open ON mfa_kit.journal USING btree (team, run) WHERE (reached = ANY (ARRAY['intent'::text, 'created'::text, 'revoking'::text]));
CREATE INDEX journal_run ON mfa_kit.journal USING btree (run);
CREATE INDEX journal_serial ON mfa_kit.journal USING btree (serial);
CREATE INDEX sightings_of ON mfa_kit.sightings USING btree (team, serial, at);
CREATE INDEX transitions_of ON mfa_kit.transitions USING btree (team, run, serial);
CREATE TRIGGER a_lock BEFORE INSERT ON mfa_kit.transitions FOR EACH ROW EXECUTE FUNCTION mfa_kit.check_lock();
CREATE TRIGGER b_keep BEFORE UPDATE ON mfa_kit.seals FOR EACH ROW EXECUTE FUNCTION mfa_kit.keep_writer();
CREATE TRIGGER b_keep BEFORE UPDATE ON mfa_kit.sightings FOR EACH ROW EXECUTE FUNCTION mfa_kit.keep_writer();
CREATE TRIGGER b_stamp BEFORE INSERT ON mfa_kit.audit_findings FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT ON mfa_kit.audits FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT ON mfa_kit.break_glass FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT OR UPDATE ON mfa_kit.drills FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT ON mfa_kit.events FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT OR UPDATE ON mfa_kit.failures FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT OR UPDATE ON mfa_kit.fingerprint_keys FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT OR UPDATE ON mfa_kit.rollout_runs FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT ON mfa_kit.seals FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT ON mfa_kit.sightings FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT OR UPDATE ON mfa_kit.tokens FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER b_stamp BEFORE INSERT ON mfa_kit.transitions FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp();
CREATE TRIGGER c_end BEFORE UPDATE ON mfa_kit.seals FOR EACH ROW EXECUTE FUNCTION mfa_kit.end_once();
CREATE TRIGGER c_respell BEFORE UPDATE ON mfa_kit.sightings FOR EACH ROW EXECUTE FUNCTION mfa_kit.respell();
CREATE TRIGGER c_time BEFORE INSERT ON mfa_kit.audit_findings FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp_time();
CREATE TRIGGER c_time BEFORE INSERT ON mfa_kit.audits FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp_time();
CREATE TRIGGER c_time BEFORE INSERT ON mfa_kit.break_glass FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp_time();
CREATE TRIGGER c_time BEFORE INSERT ON mfa_kit.drills FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp_time();
CREATE TRIGGER c_time BEFORE INSERT ON mfa_kit.events FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp_time();
CREATE TRIGGER c_time BEFORE INSERT ON mfa_kit.sightings FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp_time();
CREATE TRIGGER c_time BEFORE INSERT ON mfa_kit.transitions FOR EACH ROW EXECUTE FUNCTION mfa_kit.stamp_time();
CREATE TRIGGER d_advance AFTER INSERT ON mfa_kit.transitions FOR EACH ROW EXECUTE FUNCTION mfa_kit.advance();
ALTER TABLE mfa_kit.audit_findings ENABLE ROW LEVEL SECURITY;
CREATE POLICY auditor ON mfa_kit.audit_findings FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.audits FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.break_glass FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.claims FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.drills FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.ends FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.events FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.failures FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.fingerprint_keys FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.journal FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.rollout_runs FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.seals FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.sightings FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.tokens FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
CREATE POLICY auditor ON mfa_kit.transitions FOR SELECT USING (( SELECT mfa_kit.is_auditor() AS is_auditor));
ALTER TABLE mfa_kit.audits ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.break_glass ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.drills ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.ends ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.failures ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.fingerprint_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.journal ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON mfa_kit.seals AS RESTRICTIVE FOR DELETE USING (((role = SESSION_USER) AND (recorded > (clock_timestamp() - '1 day'::interval))));
CREATE POLICY own_team ON mfa_kit.audit_findings USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.audits USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.break_glass USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.claims USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.drills USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.ends USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.events USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.failures USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.fingerprint_keys USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.journal USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.rollout_runs USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.seals USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.sightings USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.tokens USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
CREATE POLICY own_team ON mfa_kit.transitions USING ((team = ( SELECT mfa_kit.my_team() AS my_team))) WITH CHECK ((team = ( SELECT mfa_kit.my_team() AS my_team)));
ALTER TABLE mfa_kit.rollout_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.seals ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.sightings ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE mfa_kit.transitions ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON FUNCTION mfa_kit.advance() FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.check_lock() FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.end_once() FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.enter(wanted text, by_process uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.give_back(work text) FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.holder(work text) FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.holds(work text) FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.keep_writer() FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.lock_in(team text, work text) FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.lock_of(work text) FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.respell() FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.stamp() FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.stamp_time() FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.take(wanted text, by_process uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION mfa_kit.workers(works text[]) FROM PUBLIC;
