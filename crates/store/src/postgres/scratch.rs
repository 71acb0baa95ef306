//! A database for a while, on the server of another one.

use sqlx::{AssertSqlSafe, Connection, Executor};
use url::Url;
use uuid::Uuid;

use crate::error::{Result, StoreError};

/// An empty database beside another.
pub(crate) struct Scratch {
    beside: String,
    name: String,
    url: String,
}

impl Scratch {
    /// Makes one on the server of `url`.
    pub(crate) async fn create(url: &str) -> Result<Self> {
        // Without the reason, which may quote the password.
        let malformed = || StoreError::Invalid("DATABASE_URL is no URL".to_owned());
        let name = format!("facesocial_tried_{}", Uuid::new_v4().simple());
        let mut own = Url::parse(url).map_err(|_| malformed())?;
        own.set_path(&name);
        let others: Vec<(String, String)> = own
            .query_pairs()
            .filter(|(key, _)| key != "dbname")
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect();
        own.set_query(None);
        if !others.is_empty() {
            own.query_pairs_mut().extend_pairs(others);
        }
        let scratch = Self { beside: url.to_owned(), url: own.into(), name };
        scratch.execute("CREATE DATABASE", "").await?;
        Ok(scratch)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Removes it, whoever still uses it.
    pub(crate) async fn remove(self) -> Result<()> {
        self.execute("DROP DATABASE", " WITH (FORCE)").await
    }

    async fn execute(&self, statement: &str, how: &str) -> Result<()> {
        let mut connection = super::connect_once(&self.beside).await?;
        // The name is made of letters and digits above.
        let statement = format!("{statement} \"{}\"{how}", self.name);
        let done = connection.execute(AssertSqlSafe(statement)).await;
        connection.close().await.ok();
        done?;
        Ok(())
    }
}
