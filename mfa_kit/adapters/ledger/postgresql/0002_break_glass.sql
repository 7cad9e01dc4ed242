-- Append-only: a row for each use of a break-glass identity.
create table break_glass (
    id bigint generated always as identity primary key, at double precision not null,
    recipient text collate "C" not null, action text not null, custodians text not null,
    threshold bigint not null, backups bigint not null,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp()
);
create index break_glass_of on break_glass (team, recipient, at);
create trigger b_stamp before insert on break_glass for each row execute function stamp();
create trigger c_time before insert on break_glass for each row execute function stamp_time();
alter table break_glass enable row level security;
alter table break_glass force row level security;
create policy own_team on break_glass using (team = (select my_team())) with check (team = (select my_team()));
create policy auditor on break_glass for select using ((select is_auditor()));
