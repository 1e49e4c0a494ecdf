//! PostgreSQL databases that are made for one test.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::sync::atomic::{AtomicU32, Ordering};

/// An empty database, dropped with the value.
#[derive(Debug)]
pub struct Database {
    superuser: String,
    name: String,
}

impl Database {
    /// Makes one on the server that `KEYREEVE_TEST_POSTGRES` names; none, said aloud, where there is no server.
    ///
    /// # Panics
    /// When there is no server and everything must run.
    #[must_use]
    pub fn make() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let url = std::env::var("KEYREEVE_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
        let Some(superuser) = url else {
            crate::not_run("KEYREEVE_TEST_POSTGRES is not set, so there is no PostgreSQL to test with");
            return None;
        };
        let name = format!("keyreeve_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let database = Self { superuser, name };
        database.run(format!("CREATE DATABASE {}", database.name));
        Some(database)
    }

    fn run(&self, sql: String) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.superuser).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    /// Takes it away from everybody, or gives it back.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn take_away(&self, away: bool) {
        self.run(format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}", self.name, !away));
        if away {
            let name = &self.name;
            self.run(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"));
        }
    }

    /// Its address: that of a socket in a folder as `postgres://user@%2Ffolder/database`, because a server takes no
    /// `host=`.
    ///
    /// # Panics
    /// When the server's address is not one.
    #[must_use]
    pub fn url(&self) -> String {
        let (place, options) = self.superuser.split_once('?').unwrap_or((&self.superuser, ""));
        let (scheme, rest) = place.split_once("://").unwrap();
        let authority = rest.split('/').next().unwrap();
        let folder = options.split('&').find_map(|option| option.strip_prefix("host=/"));
        let authority = match folder {
            None => authority.to_owned(),
            Some(folder) => {
                let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
                format!("{user}@%2F{}", folder.replace('/', "%2F"))
            }
        };
        format!("{scheme}://{authority}/{}", self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.run(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}
