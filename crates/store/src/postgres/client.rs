//! Postgres's own programs, told by their environment which database to work on: a URL among the arguments would show its
//! password to everybody on the machine.

use std::{borrow::Cow, process::Command};

use percent_encoding::percent_decode_str;
use url::Url;

use crate::{
    error::{Result, StoreError},
    maintenance::PostgresTools,
};

/// `program` for the database of `url`.
pub(super) fn command(tools: &PostgresTools, program: &str, url: &str) -> Result<Command> {
    let mut command = match &tools.folder {
        Some(folder) => Command::new(folder.join(program)),
        None => Command::new(program),
    };
    for (name, value) in variables(url)? {
        command.env(name, value);
    }
    Ok(command)
}

/// The database's name. `pg_restore` writes a script unless an argument names it.
pub(super) fn database(url: &str) -> Result<String> {
    let variables = variables(url)?;
    let of = |wanted| variables.iter().rev().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
    of("PGDATABASE").or_else(|| of("PGUSER")).ok_or_else(|| {
        StoreError::Invalid(
            "DATABASE_URL must name the database, as in postgres://user:password@host:port/database".to_owned(),
        )
    })
}

/// What the programs call the parts of a URL.
fn variables(url: &str) -> Result<Vec<(&'static str, String)>> {
    // Without the reason, which may quote the password.
    let malformed =
        || StoreError::Invalid("DATABASE_URL must read postgres://user:password@host:port/database".to_owned());
    let parsed = Url::parse(url).map_err(|_| malformed())?;
    let decoded = |part: &str| -> Result<String> {
        percent_decode_str(part).decode_utf8().map(Cow::into_owned).map_err(|_| malformed())
    };
    let mut variables = Vec::new();
    if let Some(host) = parsed.host_str().filter(|host| !host.is_empty()) {
        variables.push(("PGHOST", decoded(host.trim_start_matches('[').trim_end_matches(']'))?));
    }
    if let Some(port) = parsed.port() {
        variables.push(("PGPORT", port.to_string()));
    }
    if !parsed.username().is_empty() {
        variables.push(("PGUSER", decoded(parsed.username())?));
    }
    if let Some(password) = parsed.password() {
        variables.push(("PGPASSWORD", decoded(password)?));
    }
    let path = parsed.path().trim_start_matches('/');
    if !path.is_empty() {
        variables.push(("PGDATABASE", decoded(path)?));
    }
    for (name, value) in parsed.query_pairs() {
        let variable = match name.replace('-', "").as_str() {
            "host" => "PGHOST",
            "hostaddr" => "PGHOSTADDR",
            "port" => "PGPORT",
            "user" => "PGUSER",
            "password" => "PGPASSWORD",
            "dbname" => "PGDATABASE",
            "sslmode" => "PGSSLMODE",
            "sslrootcert" | "sslca" => "PGSSLROOTCERT",
            "sslcert" => "PGSSLCERT",
            "sslkey" => "PGSSLKEY",
            "options" => "PGOPTIONS",
            _ => continue,
        };
        variables.push((variable, value.into_owned()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn every_part_of_a_url_becomes_a_variable() {
        let url = "postgres://al%40ice:p%2Fw%26d@db.example:6543/face%20s?sslmode=verify-full&ssl-root-cert=/ca.pem";
        let got = variables(url).unwrap();
        let expected = [
            ("PGHOST", "db.example"),
            ("PGPORT", "6543"),
            ("PGUSER", "al@ice"),
            ("PGPASSWORD", "p/w&d"),
            ("PGDATABASE", "face s"),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "/ca.pem"),
        ];
        assert_eq!(got, expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(database(url).unwrap(), "face s");
        assert_eq!(variables("postgres:///faces?host=/run/postgresql").unwrap().len(), 2);
        assert_eq!(variables("postgres://[::1]/x").unwrap()[0], ("PGHOST", "::1".to_owned()));
    }

    #[test]
    fn the_password_stands_in_no_argument_and_no_error() {
        let command = command(&PostgresTools::default(), "pg_dump", "postgres://u:secret@h/d").unwrap();
        assert_eq!(command.get_args().count(), 0);
        assert!(command.get_envs().any(|(name, value)| name == "PGPASSWORD" && value == Some(OsStr::new("secret"))));
        let error = variables("postgres://u:secret@h:port/d").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(database("postgres://h").is_err());
    }
}
