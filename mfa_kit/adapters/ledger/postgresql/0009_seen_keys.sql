-- Append-only: a row each time that a physical key was seen, with the MFA device that was then on it, if there was one.
create table seen_keys (
    id bigint generated always as identity primary key, at double precision not null, key_id text collate "C" not null,
    event text not null, serial text, model text, firmware text, aaguid text, certifications text not null,
    certificate text, card text collate "C", label text, attested text not null,
    account text, "user" text, device text collate "C", run text collate "C", since double precision,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp()
);
create index seen_keys_card on seen_keys (team, card, at);
create trigger b_stamp before insert on seen_keys for each row execute function stamp();
create trigger c_time before insert on seen_keys for each row execute function stamp_time();
alter table seen_keys enable row level security;
alter table seen_keys force row level security;
create policy own_team on seen_keys using (team = (select my_team())) with check (team = (select my_team()));
create policy auditor on seen_keys for select using ((select is_auditor()));

-- Without this rule, a desk could write rows with which the commands of other desks and auditors fail.
create function is_strings(list text) returns boolean language sql immutable set search_path = mfa_kit, pg_temp as $$
    select json_typeof(list::json) = 'array' and not jsonb_path_exists(list::jsonb, '$[*] ? (@.type() <> "string")')
$$;
alter table seen_keys add constraint well_formed check (
    is_time(at) and is_time(since) and event in ('enrolled', 'verified', 'reset') and is_strings(certifications)
        and is_strings(attested) and (run is null or is_run(run))
        and (device is null) = (account is null) and (device is null) = ("user" is null)
        and (certificate is null or certificate ~ '^[0-9a-f]{64}$') and octet_length(seen_keys::text) < 1048576
);

-- Roles that got their privileges from an older version of `ledger grants` get those for this table too.
do $$
begin
    if exists (select from pg_roles where rolname = 'mfa_kit_desk') then
        grant select, insert (at, key_id, event, serial, model, firmware, aaguid, certifications, certificate, card,
            label, attested, account, "user", device, run, since) on seen_keys to mfa_kit_desk;
    end if;
    if exists (select from pg_roles where rolname = 'mfa_kit_auditor') then
        grant select on seen_keys to mfa_kit_auditor;
    end if;
end
$$;
