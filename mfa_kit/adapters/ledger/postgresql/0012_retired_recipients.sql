-- The recipient of the identity that a break-glass identity replaces. It is null in the rows of version 1.1.0 and before.
alter table break_glass add column replaces text collate "C";

-- Roles that got their privileges from an older version of `ledger grants` may fill in this column too.
do $$
begin
    if exists (select from pg_roles where rolname = 'mfa_kit_desk') then
        grant insert (replaces) on break_glass to mfa_kit_desk;
    end if;
end
$$;
