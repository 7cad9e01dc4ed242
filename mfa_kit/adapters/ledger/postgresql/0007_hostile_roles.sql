-- A role that may delete from a table may also lock it (LOCK TABLE), and so stop all teams. So no role but the owner may
-- delete. This function removes the record of a recipient if the session's role wrote it within the last day.
create function withdraw(file text, began double precision) returns void language sql security definer
    set search_path = mfa_kit, pg_temp as $$
    delete from seals where backup = file and since = began and team = my_team() and role = session_user
        and recorded > clock_timestamp() - interval '1 day'
$$;
revoke all on function withdraw(text, double precision) from public;
do $$
begin
    if exists (select from pg_roles where rolname = 'mfa_kit_desk') then
        revoke delete on seals from mfa_kit_desk;
        grant execute on function withdraw(text, double precision) to mfa_kit_desk;
    end if;
end
$$;

-- As before, but for an auditor, only return whether no process of any team holds the lock. An auditor writes nothing.
create or replace function take(wanted text, by_process uuid) returns boolean language plpgsql security definer
    set search_path = mfa_kit, pg_temp as $$
declare
    key bigint := lock_of(wanted);
begin
    if wanted !~ '^\d{8}T\d{6}Z-[0-9a-f]{8}$' and wanted !~ '^[0-9a-f]{64}-\d{12}(-\d+)?$' then
        raise exception '% is not a run ID', wanted using errcode = 'MK002';
    end if;
    if is_auditor() then
        return not exists (select from workers(array[wanted]));
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

-- Without the following rules, a desk could write rows with which the commands of other desks and auditors fail. Text
-- that is no JSON raises an error. So do \u0000 and half of a surrogate pair in it, because of the cast to jsonb.
create function is_time(moment double precision) returns boolean language sql immutable
    set search_path = mfa_kit, pg_temp as $$
    select moment >= 0 and moment < 253402300800
$$;
create function is_run(run text) returns boolean language sql immutable set search_path = mfa_kit, pg_temp as $$
    select run collate "C" ~ '^\d{8}T([01]\d|2[0-3])([0-5]\d){2}Z-[0-9a-f]{8}$' and
        make_date(substr(run, 1, 4)::integer, substr(run, 5, 2)::integer, substr(run, 7, 2)::integer) is not null
$$;
-- Whether a text is a JSON object without a repeated key, whose values are all of this type.
create function is_object_of(type text, object text) returns boolean language sql immutable
    set search_path = mfa_kit, pg_temp as $$
    select object::jsonb is not null and count(*) = count(distinct key)
        and coalesce(bool_and(json_typeof(value) = type), true) from json_each(object::json)
$$;
create function is_intent(intent json) returns boolean language sql immutable set search_path = mfa_kit, pg_temp as $$
    select intent::jsonb ?& '{account,partition,user,name,kind}' and count(*) = count(distinct key) and bool_and(case
        when key in ('account', 'partition', 'kind') then type = 'string'
        when key = 'user' then type = 'string' and content collate "C" ~ '^[\w+=,.@-]{1,64}$'
        when key = 'name' then type = 'string' and content collate "C" ~ '^[\w+=,.@-]{1,226}$'
        when key = 'path' then type = 'string' and content collate "C" ~ '^(/|/[\x21-\x7f]+/)$' and length(content) <= 512
        when key in ('known_serial', 'hardware', 'card', 'replaces', 'replaces_run', 'recipient')
            then type in ('null', 'string')
        when key = 'replaces_since' then type = 'null' or type = 'number' and is_time(content::double precision)
        when key = 'tags' then type = 'array' and not exists (select from json_array_elements(value) as tag
            where json_array_length(tag) <> 2 or json_typeof(tag -> 0) <> 'string' or json_typeof(tag -> 1) <> 'string')
        else key = 'staged' and type = 'boolean' end)
    from json_each(intent), json_typeof(value) as type, json_extract_path_text(value, variadic '{}') as content
$$;
-- The rules are checked when a row is written. `alter table mfa_kit.TABLE validate constraint well_formed` checks the
-- rows that are there.
do $$
declare
    rule text[];
begin
    foreach rule slice 1 in array array[
        ['transitions', 'is_run(run) and is_time(at) and is_time(since) and is_intent(intent)'],
        ['events', 'is_time(at)'],
        ['tokens', 'is_time(at) and factor in (''totp'', ''hotp'') and digest in (''sha1'', ''sha256'', ''sha512'')
            and digits between 6 and 9 and (factor = ''hotp'' or period in (30, 60)) and octets between 0 and 65535
            and capacity between 0 and 65535 and verdict in (''untested'', ''accepted'', ''rejected'')'],
        ['sightings', 'is_time(at) and verdict in (''untested'', ''accepted'', ''rejected'')'],
        ['seals', 'is_time(since) and is_time(until)'],
        ['hashes', 'is_time(since) and is_time(until)'],
        ['drills', 'is_time(at)'],
        ['break_glass', 'is_time(at) and action in (''sealed'', ''opened'', ''passed'', ''drilled'', ''drill failed'', ''rotated'')
            and is_object_of(''string'', custodians)'],
        ['audits', 'is_time(at) and is_object_of(''number'', results) and is_object_of(''number'', failed)
            and json_typeof(rules::json) = ''array'' and not jsonb_path_exists(rules::jsonb, ''$[*] ? (@.type() <> "string")'')'],
        ['audit_findings', 'is_time(at)'],
        ['failures', 'is_time(at)'],
        ['rollout_runs', 'is_run(run) and is_time(at) and is_time(ended)'],
        ['fingerprint_keys', 'digest <> ''''']
    ] loop
        execute format('alter table %1$I add constraint well_formed check (%2$s and octet_length(%1$I::text) < 1048576)'
            ' not valid', rule[1], rule[2]);
    end loop;
end
$$;
