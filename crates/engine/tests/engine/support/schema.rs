//! A schema of its own on a PostgreSQL server that the environment names.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

const VARIABLE: &str = "KEYREEVE_TEST_POSTGRES";

/// A schema for one test.
pub(crate) struct Schema {
    server: String,
    name: String,
}

impl Schema {
    /// Makes one; none, said aloud, where there is no server, unless everything must run.
    #[allow(clippy::print_stderr)]
    pub(crate) async fn make(test: &str) -> Option<Self> {
        let Some(server) = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty()) else {
            let why = format!("{test}: {VARIABLE} is not set, so there is no PostgreSQL to test with");
            assert!(std::env::var("KEYREEVE_TEST_ALL").as_deref() != Ok("1"), "{why}");
            eprintln!("not run: {why}");
            return None;
        };
        let schema = Self { server, name: format!("engine_{}_{test}", std::process::id()) };
        schema.run(format!("CREATE SCHEMA {}", schema.name)).await;
        Some(schema)
    }

    async fn run(&self, sql: String) {
        let mut db = PgConnection::connect(&self.server).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    }

    /// The URL that leads into it.
    pub(crate) fn url(&self) -> String {
        let separator = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{separator}options=-csearch_path%3D{}", self.server, self.name)
    }

    /// Removes it with all that is in it.
    pub(crate) async fn remove(self) {
        self.run(format!("DROP SCHEMA {} CASCADE", self.name)).await;
    }
}
