-- Append-only: a row for each state of a rollout's device that IAM cannot report, such as that its user has proved it.
create table device_states (
    id bigint generated always as identity primary key, at double precision not null, plan text not null,
    run text collate "C" not null, serial text collate "C" not null, "user" text not null, state text not null,
    how text not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp(),
    constraint well_formed check (is_time(at) and is_run(run) and plan ~ '^[0-9a-f]{64}$'
        and state in ('prepared', 'arrived', 'proven', 'lost') and octet_length(device_states::text) < 4096)
);
create trigger b_stamp before insert on device_states for each row execute function stamp();
alter table device_states enable row level security;
alter table device_states force row level security;
create policy own_team on device_states using (team = (select my_team())) with check (team = (select my_team()));
create policy auditor on device_states for select using ((select is_auditor()));

-- Roles that got their privileges from an older version of `ledger grants` get those for this table too.
do $$
begin
    if exists (select from pg_roles where rolname = 'mfa_kit_desk') then
        grant select, insert (at, plan, run, serial, "user", state, how) on device_states to mfa_kit_desk;
    end if;
    if exists (select from pg_roles where rolname = 'mfa_kit_auditor') then
        grant select on device_states to mfa_kit_auditor;
    end if;
end
$$;
