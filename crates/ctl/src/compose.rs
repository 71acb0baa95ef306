//! Servers as containers, through `docker compose`.

use std::{
    path::{Path, PathBuf},
    process::{Command as Blocking, Stdio},
};

use serde_json::Value;
use tokio::process::Command;

use crate::{CtlError, Result, Row, State};

/// The containers of some compose files.
#[derive(Debug)]
pub struct Compose {
    program: PathBuf,
    files: Vec<PathBuf>,
}

impl Compose {
    /// The containers of `files`, later ones over earlier ones.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { program: PathBuf::from("docker"), files }
    }

    /// Runs another program in place of `docker`, such as one whose command line is the same.
    #[must_use]
    pub fn with_program(self, program: PathBuf) -> Self {
        Self { program, ..self }
    }

    /// Where the secrets of this deployment are: `secrets` beside its first file.
    pub fn secrets(&self) -> PathBuf {
        self.files.first().and_then(|file| file.parent()).unwrap_or(Path::new("")).join("secrets")
    }

    /// Whether there is a `docker compose` on this machine.
    pub fn answers(&self) -> bool {
        let mut command = Blocking::new(&self.program);
        command.args(["compose", "version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Builds or brings the images and starts everything.
    ///
    /// # Errors
    /// docker says so.
    pub async fn deploy(&self, build: bool) -> Result<()> {
        let how = if build { "--build" } else { "--pull=missing" };
        self.run(&["up", "--detach", "--wait", how]).await
    }

    /// Starts what is named, or all.
    ///
    /// # Errors
    /// docker says so.
    pub async fn start(&self, named: &[String]) -> Result<()> {
        self.with(&["up", "--detach", "--wait", "--no-recreate"], named).await
    }

    /// Stops what is named, or all; the containers stay.
    ///
    /// # Errors
    /// docker says so.
    pub async fn stop(&self, named: &[String]) -> Result<()> {
        self.with(&["stop"], named).await
    }

    /// Shows the logs of what is named, or of all, on standard output.
    ///
    /// # Errors
    /// docker says so.
    pub async fn logs(&self, named: &[String], lines: usize, follow: bool) -> Result<()> {
        let lines = lines.to_string();
        let mut arguments = vec!["logs", "--tail", &lines];
        if follow {
            arguments.push("--follow");
        }
        self.with(&arguments, named).await
    }

    /// Runs `replicas` containers of a service.
    ///
    /// # Errors
    /// docker says so.
    pub async fn scale(&self, service: &str, replicas: u16) -> Result<()> {
        let service = name(service)?;
        let scale = format!("{service}={replicas}");
        self.run(&["up", "--detach", "--wait", "--no-recreate", "--scale", &scale, &service]).await
    }

    /// Brings or builds newer images and starts what changed anew.
    ///
    /// # Errors
    /// docker says so.
    pub async fn update(&self, build: bool) -> Result<()> {
        self.run(if build { &["build", "--pull"] } else { &["pull", "--ignore-buildable"] }).await?;
        self.run(&["up", "--detach", "--wait"]).await
    }

    /// Runs a program in a running container; gives what it writes, and gets `input`.
    ///
    /// # Errors
    /// The container does not run, or the program fails.
    pub async fn execute(&self, service: &str, program: &[&str], input: Stdio, output: Stdio) -> Result<()> {
        let mut command = self.command(&[&["exec", "-T", service], program].concat());
        command.stdin(input).stdout(output);
        finish(command).await
    }

    /// What runs and how it is.
    ///
    /// # Errors
    /// docker says so, or says something that cannot be read.
    pub async fn rows(&self) -> Result<Vec<Row>> {
        let mut command = self.command(&["ps", "--all", "--format", "json"]);
        let line = line(&command);
        let failed = |what: String| CtlError::Program { command: line.clone(), what };
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().await;
        let output = output.map_err(|e| failed(format!("cannot be run: {e}")))?;
        if !output.status.success() {
            return Err(failed(format!("failed: {}", output.status)));
        }
        rows(&String::from_utf8_lossy(&output.stdout)).map_err(|e| failed(format!("wrote what cannot be read: {e}")))
    }

    async fn with(&self, arguments: &[&str], named: &[String]) -> Result<()> {
        let named = named.iter().map(|n| name(n)).collect::<Result<Vec<_>>>()?;
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        self.run(&[arguments, &named].concat()).await
    }

    async fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null());
        finish(command).await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("compose");
        for file in &self.files {
            command.arg("--file").arg(file);
        }
        command.args(arguments);
        command
    }
}

/// Runs a command to its end.
async fn finish(mut command: Command) -> Result<()> {
    let line = line(&command);
    let failed = |what: String| CtlError::Program { command: line, what };
    match command.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("failed: {status}"))),
        Err(e) => Err(failed(format!("cannot be run: {e}"))),
    }
}

/// A name of a service, never an option.
fn name(name: &str) -> Result<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.starts_with('-') || !name.chars().all(good) {
        return Err(CtlError::NoSuchUnit { unit: name.to_owned(), has: "the services of its compose file".to_owned() });
    }
    // In compose files names have hyphens, as in addresses.
    Ok(name.replace('_', "-"))
}

fn line(command: &Command) -> String {
    let command = command.as_std();
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// What `docker compose ps --format json` writes: an object a line, or one array in older versions.
fn rows(text: &str) -> serde_json::Result<Vec<Row>> {
    let containers: Vec<Value> = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text)?,
        false => text
            .lines()
            .filter(|l| !l.trim().is_empty())
            .map(serde_json::from_str)
            .collect::<serde_json::Result<_>>()?,
    };
    let mut rows: Vec<Row> = containers.iter().map(row).collect();
    rows.sort_by(|a, b| (&a.unit, a.replica).cmp(&(&b.unit, b.replica)));
    Ok(rows)
}

fn row(container: &Value) -> Row {
    let text = |key: &str| container[key].as_str().unwrap_or_default();
    let state = match (text("State"), text("Health")) {
        ("running", "" | "healthy") => State::Ready,
        ("running" | "restarting" | "paused", _) => State::NotReady,
        ("created", _) => State::Stopped,
        // What was stopped ends with 0, or by the signal that it was sent.
        _ if matches!(container["ExitCode"].as_i64(), Some(0 | 130 | 137 | 143)) => State::Stopped,
        _ => State::Ended,
    };
    let published = container["Publishers"].as_array().into_iter().flatten();
    let address = published
        .filter(|p| p["PublishedPort"].as_u64().is_some_and(|port| port > 0))
        .map(|p| format!("{}:{}", p["URL"].as_str().unwrap_or_default(), p["PublishedPort"]));
    Row {
        unit: text("Service").to_owned(),
        replica: text("Name").rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(1),
        state,
        address: address.into_iter().next(),
        pid: None,
        memory_mb: None,
        cpu_percent: None,
        uptime_seconds: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_list_are_read() {
        let gateway = r#"{"Name":"facesocial-gateway-1","Service":"gateway","State":"running","Health":"healthy",
            "ExitCode":0,"Publishers":[{"URL":"127.0.0.1","TargetPort":8000,"PublishedPort":8000,"Protocol":"tcp"}]}"#
            .replace('\n', "");
        let yolo = r#"{"Name":"facesocial-yolo-2","Service":"yolo","State":"exited","Health":"","ExitCode":1,"Publishers":null}"#;
        let lines = rows(&format!("{yolo}\n{gateway}\n")).unwrap();
        assert_eq!(lines, rows(&format!("[{yolo},{gateway}]")).unwrap());
        assert_eq!((lines[0].state, lines[0].address.as_deref()), (State::Ready, Some("127.0.0.1:8000")));
        assert_eq!((lines[1].unit.as_str(), lines[1].replica, lines[1].state), ("yolo", 2, State::Ended));
        assert!(rows("nonsense").is_err());
        assert!(rows("").unwrap().is_empty());
    }

    /// A `docker` that writes down what it is told.
    #[cfg(unix)]
    #[tokio::test]
    async fn each_command_is_one_of_docker_compose() {
        use std::{fs, os::unix::fs::PermissionsExt};

        let folder = tempfile::tempdir().unwrap();
        let (program, told) = (folder.path().join("docker"), folder.path().join("told"));
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {}\ncase \"$*\" in *' ps '*) echo '[]';; *stop*) exit 3;; esac\n",
            told.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let files = vec![PathBuf::from("deploy/compose.yaml"), PathBuf::from("deploy/compose.gpu.yaml")];
        let compose = Compose::new(files).with_program(program);
        assert!(compose.answers());
        compose.deploy(true).await.unwrap();
        compose.start(&["gender_age".to_owned()]).await.unwrap();
        compose.scale("recognition", 2).await.unwrap();
        compose.logs(&[], 20, true).await.unwrap();
        compose.update(false).await.unwrap();
        assert!(compose.rows().await.unwrap().is_empty());
        let error = compose.stop(&[]).await.unwrap_err();
        assert!(error.to_string().contains("stop` failed: exit status: 3"), "{error}");
        let told = fs::read_to_string(told).unwrap();
        let files = "compose --file deploy/compose.yaml --file deploy/compose.gpu.yaml";
        let expected = [
            "compose version".to_owned(),
            format!("{files} up --detach --wait --build"),
            format!("{files} up --detach --wait --no-recreate gender-age"),
            format!("{files} up --detach --wait --no-recreate --scale recognition=2 recognition"),
            format!("{files} logs --tail 20 --follow"),
            format!("{files} pull --ignore-buildable"),
            format!("{files} up --detach --wait"),
            format!("{files} ps --all --format json"),
            format!("{files} stop"),
        ];
        assert_eq!(told.lines().collect::<Vec<_>>(), expected);
        assert_eq!(compose.secrets(), Path::new("deploy/secrets"));
    }

    #[test]
    fn a_name_is_never_an_option() {
        assert_eq!(name("gender_age").unwrap(), "gender-age");
        for bad in ["", "--privileged", "a b", "a;b", "../x"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
