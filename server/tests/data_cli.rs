//! The commands on accounts and data, run as a user runs them, on an embedded database.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn command(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_facesocial"));
    command
        .args(args)
        .env("FACESOCIAL_DATA_DIR", data)
        .env("FACESOCIAL_WEIGHTS", root().join("weights"))
        .env("FACESOCIAL_MODELS_DIR", root().join("tests/no-pulled-networks"));
    for name in ["DATABASE_URL", "FACESOCIAL_ENCRYPTION_KEY", "RUST_LOG", "FACESOCIAL_LOG"] {
        command.env_remove(name);
    }
    command
}

fn facesocial(data: &Path, args: &[&str]) -> Output {
    command(data, args).stdin(Stdio::null()).output().unwrap()
}

fn facesocial_fed(data: &Path, args: &[&str], input: &str) -> Output {
    let mut child =
        command(data, args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn json_of(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// A failure of the command, not of its usage; gives the message.
#[track_caller]
fn fails(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    stderr(output)
}

#[test]
fn accounts_are_made_listed_and_given_other_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let create = |name: &str, password: &str| facesocial_fed(data, &["admin", "create", name], password);
    let made = create("ann", "correct horse battery\n");
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(fails(&create("Ann", "correct horse battery")).contains("exists already"));
    assert!(fails(&create("bob", "short")).contains("12 to 128"));
    assert!(fails(&create("a", "correct horse battery")).contains("3 to 50"));
    let password = folder.path().join("password");
    fs::write(&password, "another horse battery\n").unwrap();
    let file = password.to_str().unwrap();
    let made = facesocial(data, &["admin", "create", "bob", "--role", "operator", "--password-file", file]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));

    let output = facesocial(data, &["admin", "list", "--json"]);
    let users = json_of(&output, 0);
    let roles: Vec<_> = users.as_array().unwrap().iter().map(|u| (&u["username"], &u["role"])).collect();
    assert_eq!(roles, [(&json!("ann"), &json!("admin")), (&json!("bob"), &json!("operator"))]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("argon2"));

    let reset = facesocial(data, &["admin", "reset-password", "bob", "--password-file", file]);
    assert_eq!(reset.status.code(), Some(0), "{}", stderr(&reset));
    assert!(fails(&facesocial(data, &["admin", "reset-password", "cem", "--password-file", file])).contains("cem"));
    // What stands in the list of processes is no place for a password.
    let argued = facesocial(data, &["admin", "create", "cem", "--password", "correct horse battery"]);
    assert_eq!(argued.status.code(), Some(2));
}

#[test]
fn a_gallery_is_imported_backed_up_lost_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let data = at("data");

    let before = json_of(&facesocial(&data, &["db", "status", "--json"]), 1);
    assert_eq!(before["applied"], json!([]));
    assert!(!before["pending"].as_array().unwrap().is_empty());
    let migrated = json_of(&facesocial(&data, &["db", "migrate", "--json"]), 0);
    assert_eq!(migrated["pending"], json!([]));
    assert_eq!(migrated["applied"], before["pending"]);

    for person in ["ann", "bob"] {
        fs::create_dir_all(at("photos").join(person)).unwrap();
    }
    fs::copy(root().join("tests/images/portrait.jpg"), at("photos/ann/1.jpg")).unwrap();
    fs::copy(root().join("tests/images/no_face.jpg"), at("photos/bob/1.jpg")).unwrap();
    let photos = at("photos");
    let args = ["import", photos.to_str().unwrap(), "--collection", "staff"];
    assert!(fails(&facesocial(&data, &args)).contains("--create"));
    let report = json_of(&facesocial(&data, &[&args[..], &["--create", "--json"]].concat()), 1);
    let told: Vec<_> = report["files"].as_array().unwrap().iter().map(|f| (&f["path"], &f["status"])).collect();
    let expected = [("ann/1.jpg", "enrolled"), ("bob/1.jpg", "rejected")].map(|(p, s)| (json!(p), json!(s)));
    assert_eq!(told, expected.iter().map(|(p, s)| (p, s)).collect::<Vec<_>>());
    fs::remove_dir_all(at("photos/bob")).unwrap();
    let again = json_of(&facesocial(&data, &[&args[..], &["--json"]].concat()), 0);
    assert_eq!((&again["duplicates"], &again["enrolled"]), (&json!(1), &json!(0)));

    let faces = |data: &Path| json_of(&facesocial(data, &["db", "status", "--json"]), 0)["gallery"]["faces"].clone();
    assert_eq!(faces(&data), 1);
    let check = json_of(&facesocial(&data, &["db", "check", "--json"]), 0);
    assert!(check["ok"] == true && !check["checks"].as_array().unwrap().is_empty());

    let backup = at("backup.db");
    let file = backup.to_str().unwrap();
    let made = json_of(&facesocial(&data, &["db", "backup", file, "--json"]), 0);
    assert_eq!(made["bytes"], fs::metadata(&backup).unwrap().len());
    assert!(fails(&facesocial(&data, &["db", "backup", file])).contains("exists"));
    // Elsewhere, and in place of what is there; a file that is no backup changes nothing.
    let other = at("other");
    json_of(&facesocial(&other, &["db", "restore", file, "--json"]), 0);
    assert_eq!(faces(&other), 1);
    let former = json_of(&facesocial(&other, &["db", "restore", file, "--json"]), 0)["former"].clone();
    assert!(Path::new(former.as_str().unwrap()).exists());
    fs::write(at("odd.db"), "no database").unwrap();
    fails(&facesocial(&other, &["db", "restore", at("odd.db").to_str().unwrap()]));
    fails(&facesocial(&other, &["db", "restore", at("gone.db").to_str().unwrap()]));
    assert_eq!(faces(&other), 1);

    let damaged = at("damaged");
    json_of(&facesocial(&damaged, &["db", "restore", file, "--json"]), 0);
    let database =
        fs::read_dir(&damaged).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "db"));
    let database = database.unwrap();
    let mut bytes = fs::read(&database).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    fs::write(&database, bytes).unwrap();
    fails(&facesocial(&damaged, &["db", "check"]));
}

#[test]
fn a_database_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = facesocial_store::StoreOptions::embedded(&data);
    let store = runtime.block_on(facesocial_store::open(&options)).unwrap();
    let backup = folder.path().join("backup.db");
    let file = backup.to_str().unwrap();
    // A backup can be made while a server runs; nothing else can.
    json_of(&facesocial(&data, &["db", "backup", file, "--json"]), 0);
    let status = json_of(&facesocial(&data, &["db", "status", "--json"]), 0);
    assert!(status["note"].as_str().unwrap().contains("server") && status.get("gallery").is_none());
    for args in [&["db", "restore", file] as &[&str], &["db", "check"], &["admin", "list"]] {
        assert!(fails(&facesocial(&data, args)).contains("another process"), "{args:?}");
    }
    runtime.block_on(store.close());
}
