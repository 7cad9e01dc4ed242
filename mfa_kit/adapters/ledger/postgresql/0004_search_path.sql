-- PostgreSQL looks for a table among the temporary tables first, even before pg_catalog, unless the search path names
-- them last ("Writing SECURITY DEFINER Functions Safely"). A role could make a temporary table `members` or a temporary
-- view `pg_locks`, and so be in any team, or hold any lock, as the ledger's functions saw it.
do $$
declare
    each regprocedure;
begin
    for each in select oid from pg_proc where pronamespace = 'mfa_kit'::regnamespace loop
        execute format('alter function %s set search_path = mfa_kit, pg_temp', each);
    end loop;
end
$$;
