-- Append-only: a row for each audit of an account.
create table audits (
    id bigint generated always as identity primary key, at double precision not null,
    account text not null, results text not null, failed text not null, rules text not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp()
);
create index audits_of on audits (team, account, at);
create trigger b_stamp before insert on audits for each row execute function stamp();
create trigger c_time before insert on audits for each row execute function stamp_time();
alter table audits enable row level security;
alter table audits force row level security;
create policy own_team on audits using (team = (select my_team())) with check (team = (select my_team()));
create policy auditor on audits for select using ((select is_auditor()));
-- Append-only: a row when an audit finds something for the first time, and when it does not find it any more.
create table audit_findings (
    id bigint generated always as identity primary key, at double precision not null,
    account text not null, finding text collate "C" not null, rule text not null, state text not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp()
);
create index audit_findings_of on audit_findings (team, account, finding, at);
create trigger b_stamp before insert on audit_findings for each row execute function stamp();
create trigger c_time before insert on audit_findings for each row execute function stamp_time();
alter table audit_findings enable row level security;
alter table audit_findings force row level security;
create policy own_team on audit_findings using (team = (select my_team())) with check (team = (select my_team()));
create policy auditor on audit_findings for select using ((select is_auditor()));
