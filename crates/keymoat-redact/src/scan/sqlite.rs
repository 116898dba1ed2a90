//! Databases: browsers' histories, and every text in any other one.
//!
//! A browser that runs holds its database locked and keeps the newest rows in a log beside it. So the file and that log
//! are copied into a private folder, and the copy is opened; the source is read like any file, and never locked or written.

use std::cell::OnceCell;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::eye::{Eye, Subject, Tally};
use super::report::At;
use super::seen;

/// How every database begins.
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";

/// What stands beside a database while it is in use.
pub(super) const BESIDE: [&str; 3] = ["-wal", "-journal", "-shm"];

/// How often a database that changes while it is copied is copied again.
const ATTEMPTS: usize = 3;

/// A value longer than this is looked at up to here.
const CELL_BYTES_MAX: usize = 4 << 20;

/// Looks at every text in the database at `path`.
///
/// # Errors
/// It cannot be copied, or is no database that SQLite reads.
pub(super) fn look(path: &Path, eye: &mut Eye, subject: &Subject, tally: &mut Tally) -> io::Result<()> {
    let copy = Copy::of(path)?;
    let database = copy.open().map_err(told)?;
    for table in tables(&database).map_err(told)? {
        Table::read(&database, &table, eye, subject, tally).map_err(told)?;
    }
    Ok(())
}

/// The text of an error of SQLite may quote what is in the database; its code does not.
fn told(error: rusqlite::Error) -> io::Error {
    let reason = match error.sqlite_error_code() {
        Some(code) => format!("SQLite cannot read it: {code:?}"),
        None => "SQLite cannot read it".to_owned(),
    };
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// A database in a folder that only this user may enter, and that goes when this goes.
struct Copy {
    folder: TempDir,
}

impl Copy {
    fn of(path: &Path) -> io::Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("keymoat-scan-").permissions(Permissions::from_mode(0o700)).tempdir()?;
        let copy = Self { folder };
        for _ in 0..ATTEMPTS {
            let before = state(path);
            copy_file(path, &copy.file())?;
            for suffix in ["-wal", "-journal"] {
                let _ = fs::remove_file(beside(&copy.file(), suffix));
                match copy_file(&beside(path, suffix), &beside(&copy.file(), suffix)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            if state(path) == before {
                break;
            }
        }
        Ok(copy)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("copy.db")
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if beside(&self.file(), "-journal").exists() {
            // A transaction that did not end is rolled back, which writes.
            let recovered = Connection::open_with_flags(self.file(), flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            recovered.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
        }
        Connection::open_with_flags(self.file(), flags | OpenFlags::SQLITE_OPEN_READ_ONLY)
    }
}

/// Copies what is there, whatever the permissions of the source.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = File::create(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.flush()
}

/// The name of a file beside a database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What changes when a database is written.
fn state(path: &Path) -> Vec<Option<(u64, Option<SystemTime>)>> {
    let of = |path: PathBuf| fs::metadata(path).ok().map(|metadata| (metadata.len(), metadata.modified().ok()));
    [path.to_owned(), beside(path, "-wal"), beside(path, "-journal")].into_iter().map(of).collect()
}

fn tables(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut query = database.prepare(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name",
    )?;
    query.query_map([], |row| row.get(0))?.collect()
}

/// One table.
struct Table<'a> {
    database: &'a Connection,
    name: &'a str,
    shown: Arc<str>,
    columns: Vec<(String, Arc<str>)>,
}

impl<'a> Table<'a> {
    fn read(
        database: &'a Connection,
        name: &'a str,
        eye: &mut Eye,
        subject: &Subject,
        tally: &mut Tally,
    ) -> rusqlite::Result<()> {
        let columns = database
            .prepare("SELECT name FROM pragma_table_info(?1)")?
            .query_map([name], |row| row.get::<_, String>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let columns = columns.into_iter().map(|column| (column.clone(), eye.name(&column))).collect();
        let table = Self { database, name, shown: eye.name(name), columns };
        let rows = format!("SELECT rowid, * FROM {}", quoted(name));
        let (mut query, has_id) = match database.prepare(&rows) {
            Ok(query) => (query, true),
            // A table without row ids: its rows are counted.
            Err(_) => (database.prepare(&format!("SELECT 0, * FROM {}", quoted(name)))?, false),
        };
        let mut rows = query.query([])?;
        let mut number = 0;
        while let Some(row) = rows.next()? {
            number += 1;
            let id = if has_id { row.get(0)? } else { number };
            for (index, (column, shown)) in table.columns.iter().enumerate() {
                let cell = match row.get_ref(index + 1)? {
                    ValueRef::Text(cell) | ValueRef::Blob(cell) => cell,
                    _ => continue,
                };
                let cell = cell.get(..cell.len().min(CELL_BYTES_MAX)).unwrap_or_default();
                let seen = OnceCell::new();
                let time = || *seen.get_or_init(|| table.seen(id));
                let at = || At::Cell { table: Arc::clone(&table.shown), row: id, column: Arc::clone(shown) };
                eye.look_at_cell(cell, column, subject, tally, time, at);
            }
        }
        Ok(())
    }

    /// When the row was seen first and last, in the tables of browsers.
    fn seen(&self, id: i64) -> [Option<i64>; 2] {
        let is = |column: &str| self.columns.iter().any(|(name, _)| name == column);
        let (query, chrome) = match self.name {
            "urls" if is("last_visit_time") => (
                "SELECT (SELECT min(visit_time) FROM visits WHERE url = u.id), last_visit_time FROM urls u WHERE id = ?1",
                true,
            ),
            "downloads_url_chains" => (
                "SELECT start_time, start_time FROM downloads WHERE id = (SELECT id FROM downloads_url_chains WHERE rowid = ?1)",
                true,
            ),
            "keyword_search_terms" => (
                "SELECT last_visit_time, last_visit_time FROM urls WHERE id = (SELECT url_id FROM keyword_search_terms WHERE rowid = ?1)",
                true,
            ),
            "downloads" if is("start_time") => ("SELECT start_time, start_time FROM downloads WHERE rowid = ?1", true),
            "moz_places" => (
                "SELECT (SELECT min(visit_date) FROM moz_historyvisits WHERE place_id = p.id), last_visit_date FROM moz_places p WHERE id = ?1",
                false,
            ),
            "moz_annos" => ("SELECT dateAdded, lastModified FROM moz_annos WHERE rowid = ?1", false),
            _ => return [None; 2],
        };
        // A table that is not as expected has no times; its texts were read all the same.
        let times = self
            .database
            .query_row(query, [id], |row| Ok([row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?]));
        let of = |time: Option<i64>| {
            time.and_then(|time| if chrome { seen::of_chrome(time) } else { seen::of_number(time) })
        };
        let [first, last] = times.map_or([None; 2], |times| times.map(of));
        [first.or(last), last.or(first)]
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
