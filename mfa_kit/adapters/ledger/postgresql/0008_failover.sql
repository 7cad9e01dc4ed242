-- All locks are released when the server restarts, when one of its processes crashes (the server then ends all
-- sessions, but keeps its start time), and when a standby takes over. So each entry of the journal has the incarnation
-- of the server that recorded it: when the server started, and when it last had to reset its statistics, as after a
-- crash. A standby has its own start time.
create function incarnation() returns text language sql stable set search_path = mfa_kit, pg_temp as $$
    select concat_ws(' ', extract(epoch from pg_postmaster_start_time()),
        extract(epoch from pg_stat_get_bgwriter_stat_reset_time()))
$$;
create function stamp_incarnation() returns trigger language plpgsql security definer
    set search_path = mfa_kit, pg_temp as $$
begin
    new.incarnation := incarnation();
    return new;
end
$$;
alter table journal add column incarnation text;
create trigger b_incarnation before insert or update on journal for each row execute function stamp_incarnation();

-- Whether the process of a run may not know yet that the server has released its lock.
create function is_reserved(wanted text) returns boolean language sql stable security definer
    set search_path = mfa_kit, pg_temp as $$
    select exists (
        select from journal where team = my_team() and run = wanted and incarnation is distinct from incarnation()
            and recorded > clock_timestamp() - make_interval(secs => (select grace from settings))
            and reached in ('intent', 'created', 'revoking')
    )
$$;
revoke all on function stamp_incarnation(), is_reserved(text) from public;

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
    if is_reserved(wanted) then
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
