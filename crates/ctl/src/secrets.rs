//! The secrets of a deployment as containers: random, made once, each in a file of its own.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::Path,
};

use crate::{CtlError, Result};

/// Makes the files that are missing in `folder`; gives their names. `random` gives at least 32 bytes from the system, as
/// letters and digits.
///
/// The folder is its owner's alone; the files in it are readable by whoever gets one mounted into a container.
///
/// # Errors
/// The folder cannot be written to; `random` fails.
pub fn make(folder: &Path, mut random: impl FnMut() -> Result<String>) -> Result<Vec<&'static str>> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(CtlError::file(folder))?;
    let mut made = Vec::new();
    for name in
        ["postgres_password", "redis_password", "jwt_secret", "internal_secret", "metrics_token", "grafana_password"]
    {
        if write_new(&folder.join(name), &random()?)? {
            made.push(name);
        }
    }
    // Built from others: they follow them.
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(CtlError::file(folder.join(name)));
    let (postgres, redis) = (read("postgres_password")?, read("redis_password")?);
    let built = [
        ("database_url", format!("postgres://facesocial:{}@postgres:5432/facesocial", postgres.trim())),
        ("redis_url", format!("redis://:{}@redis:6379/0", redis.trim())),
        ("redis_passwords.json", format!("{{\"redis://redis:6379\":\"{}\"}}", redis.trim())),
    ];
    for (name, content) in built {
        if write_new(&folder.join(name), &content)? {
            made.push(name);
        }
    }
    Ok(made)
}

/// False if the file is there already.
fn write_new(path: &Path, content: &str) -> Result<bool> {
    match fs::File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(content.as_bytes()).map_err(CtlError::file(path)).map(|()| true),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(CtlError::file(path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_fit_together() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("secrets");
        let mut n = 0;
        let mut random = || {
            n += 1;
            Ok(format!("random{n}"))
        };
        assert_eq!(make(&folder, &mut random).unwrap().len(), 9);
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("database_url"), "postgres://facesocial:random1@postgres:5432/facesocial");
        assert_eq!(read("redis_url"), "redis://:random2@redis:6379/0");
        assert_ne!(read("jwt_secret"), read("internal_secret"));
        assert!(make(&folder, &mut random).unwrap().is_empty());
        assert_eq!(read("postgres_password"), "random1");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }
}
