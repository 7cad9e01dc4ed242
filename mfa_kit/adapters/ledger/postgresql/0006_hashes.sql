-- A row for each encrypted file that was, or may have been, written for a backup.
create table hashes (
    backup text collate "C" not null, sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    since double precision not null, replaces text, until double precision,
    team text collate "C" not null default my_team(), role name not null default session_user,
    computer text not null default my_computer(), recorded timestamptz not null default clock_timestamp(),
    primary key (team, backup, sha256)
);
create trigger b_stamp before insert on hashes for each row execute function stamp();
create trigger b_keep before update on hashes for each row execute function keep_writer();
create trigger c_end before update on hashes for each row execute function end_once();
alter table hashes enable row level security;
alter table hashes force row level security;
create policy own_team on hashes using (team = (select my_team())) with check (team = (select my_team()));
create policy auditor on hashes for select using ((select is_auditor()));
