"""SQL that migrates the ledger's SQLite tables from each version to the next. docs/formats.md describes the tables."""

# Each migration is numbered by its position, and never changes after a release. In the file of a ledger, `pragma
# user_version` is the number of migrations that were applied.
MIGRATIONS = (
    """
    create table journal (
        run text not null, serial text not null, verb text not null, reached text not null,
        intent text not null, backup text, at real not null,
        primary key (run, serial)
    ) without rowid;
    create index journal_open on journal (run) where reached in ('intent', 'created', 'revoking');
    create table events (
        id integer primary key, at real not null, operation text not null, user text, serial text,
        request_id text, answer text not null, file text
    );
    """,
    """
    create table tokens (
        serial text primary key, fingerprint text not null, factor text not null, digest text not null,
        digits integer not null, period integer not null, counter integer not null, maker text not null,
        model text not null, octets integer not null, capacity integer not null,
        verdict text not null, reason text not null, at real not null
    ) without rowid;
    create table sightings (
        id integer primary key, at real not null, serial text not null, fingerprint text not null,
        verdict text not null, offset integer, seconds integer, reason text not null
    );
    create index sightings_of on sightings (serial, at);
    """,
    """
    create table seals (
        backup text not null, recipient text not null, since real not null, until real,
        primary key (backup, recipient, since)
    ) without rowid;
    create table drills (id integer primary key, at real not null, backup text not null, result text not null);
    create index drills_of on drills (backup, at);
    """,
    """
    alter table journal add column since real;
    alter table journal add column sealed integer not null default 0;
    create table ends (
        id integer primary key, at real not null, run text not null, serial text not null,
        verb text not null, reached text not null
    );
    insert into ends (at, run, serial, verb, reached)
        select at, run, serial, verb, reached from journal
        where reached in ('confirmed', 'undone', 'revoked') order by at;
    create trigger begun_at_its_end after insert on journal
        when new.reached in ('confirmed', 'undone', 'revoked')
    begin
        insert into ends (at, run, serial, verb, reached) values (new.at, new.run, new.serial, new.verb, new.reached);
    end;
    create trigger ended after update on journal
        when new.reached in ('undone', 'revoked') and old.reached <> new.reached
        or new.reached = 'confirmed' and old.reached not in ('confirmed', 'revoking')
    begin
        insert into ends (at, run, serial, verb, reached) values (new.at, new.run, new.serial, new.verb, new.reached);
    end;
    """,
    """
    create table failures (
        plan text not null, user text not null, at real not null, cause text not null, reason text not null,
        primary key (plan, user)
    ) without rowid;
    """,
    """
    create table rollout_runs (
        plan text not null, run text not null, at real not null,
        primary key (plan, run)
    ) without rowid;
    """,
    """
    create table break_glass (
        id integer primary key, at real not null, recipient text not null, action text not null,
        custodians text not null, threshold integer not null, backups integer not null
    );
    create index break_glass_of on break_glass (recipient, at);
    """,
    "alter table rollout_runs add column ended real;",
    """
    create table audits (
        id integer primary key, at real not null, account text not null, results text not null, failed text not null,
        rules text not null
    );
    create index audits_of on audits (account, at);
    create table audit_findings (
        id integer primary key, at real not null, account text not null, finding text not null, rule text not null,
        state text not null
    );
    create index audit_findings_of on audit_findings (account, finding, at);
    """,
    """
    create table hashes (
        backup text not null, sha256 text not null, since real not null, replaces text, until real,
        primary key (backup, sha256)
    ) without rowid;
    """,
)
