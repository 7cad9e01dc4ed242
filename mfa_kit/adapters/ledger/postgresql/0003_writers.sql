-- A change of a row keeps who wrote it and when. Otherwise a role could make the row of another one its own, and delete
-- it as such, or pass off an old row as a new one.
create function keep_writer() returns trigger language plpgsql security definer set search_path from current as $$
begin
    new.team := old.team;
    new.role := old.role;
    new.computer := old.computer;
    new.recorded := old.recorded;
    return new;
end
$$;
-- The end of a recipient's period is recorded once, with the server's time. The owner may set it, for `ledger copy`.
create function end_once() returns trigger language plpgsql security definer set search_path from current as $$
begin
    if old.until is not null then
        new.until := old.until;
    elsif new.until is not null and not is_owner() then
        new.until := extract(epoch from clock_timestamp());
    end if;
    return new;
end
$$;
-- The serial of a test's token may be spelled differently, but not become that of another token.
create function respell() returns trigger language plpgsql security definer set search_path from current as $$
begin
    if lower(regexp_replace(new.serial, '\s', '', 'g')) <> lower(regexp_replace(old.serial, '\s', '', 'g')) then
        raise exception 'a test of token % cannot become one of another token', old.serial
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
revoke all on function keep_writer(), end_once(), respell() from public;

drop trigger b_stamp on seals;
drop trigger b_stamp on sightings;
create trigger b_stamp before insert on seals for each row execute function stamp();
create trigger b_stamp before insert on sightings for each row execute function stamp();
create trigger b_keep before update on seals for each row execute function keep_writer();
create trigger b_keep before update on sightings for each row execute function keep_writer();
create trigger c_end before update on seals for each row execute function end_once();
create trigger c_respell before update on sightings for each row execute function respell();
