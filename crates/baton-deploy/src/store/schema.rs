//! Tables, and how an older file becomes today's: one entry of [`MIGRATIONS`] a version, never edited
//! once released.

use rusqlite::Connection;

const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE apps (
        name TEXT PRIMARY KEY,
        paused INTEGER NOT NULL DEFAULT 0,
        next_release INTEGER NOT NULL DEFAULT 1
    ) STRICT;
    CREATE TABLE releases (
        app TEXT NOT NULL,
        id INTEGER NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (app, id)
    ) STRICT;
    -- What was live, oldest first: `rollback` without a number goes back in it.
    CREATE TABLE lives (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        app TEXT NOT NULL,
        release INTEGER NOT NULL,
        at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE slots (
        app TEXT NOT NULL,
        color TEXT NOT NULL,
        role TEXT NOT NULL,
        release INTEGER,
        -- Where its instances were when they were last published, and in which boot of the machine.
        routed TEXT NOT NULL DEFAULT '[]',
        boot TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (app, color)
    ) STRICT;
    CREATE TABLE deploys (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        app TEXT NOT NULL,
        phase TEXT NOT NULL,
        work TEXT NOT NULL,
        plan TEXT,
        outcome TEXT,
        by TEXT,
        started_at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX deploys_of_app ON deploys (app, id);
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        deploy INTEGER NOT NULL,
        step TEXT NOT NULL,
        entry TEXT NOT NULL,
        at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX journal_of_deploy ON journal (deploy, id);
    CREATE TABLE receipts (
        deploy INTEGER PRIMARY KEY,
        app TEXT NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        app TEXT,
        kind TEXT NOT NULL,
        text TEXT NOT NULL
    ) STRICT;
",
    "
    -- The staged release: whenever the idle color is free, it is what runs there.
    ALTER TABLE apps ADD COLUMN staged INTEGER;
",
    "
    -- What `maintenance on` was asked with; NULL: off.
    ALTER TABLE apps ADD COLUMN maintenance TEXT;
",
    "
    -- Tokens of the API: of each only its SHA-256 in hex.
    CREATE TABLE tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        hash TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        scope TEXT NOT NULL,
        created_at TEXT NOT NULL,
        expires_at TEXT,
        last_used_at TEXT
    ) STRICT;
",
];

#[derive(Debug)]
pub(super) enum Problem {
    Sqlite(rusqlite::Error),
    Newer { found: usize, known: usize },
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Problem {
        Problem::Sqlite(error)
    }
}

/// Sets the connection up and runs the migrations that are missing.
/// Which step of the migrations a file of this version has come to.
pub const VERSION: usize = MIGRATIONS.len();

pub(super) fn prepare(connection: &mut Connection) -> Result<(), Problem> {
    connection.busy_timeout(super::BUSY)?;
    // One daemon a folder: the lock is kept as long as the file is open.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = found as usize;
    if found > MIGRATIONS.len() {
        return Err(Problem::Newer {
            found,
            known: MIGRATIONS.len(),
        });
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(
            None,
            "user_version",
            i64::try_from(index + 1).unwrap_or(i64::MAX),
        )?;
        transaction.commit()?;
    }
    Ok(())
}
