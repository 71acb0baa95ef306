//! `facesocial admin`: accounts from the server's own machine, for the first one and for forgotten passwords.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use facesocial_store::{NewUser, PageRequest, Role, Store, StoreError, User, UserChange, Write as Change};

use super::{database, table::TextTable};
use crate::{
    auth::{names, passwords::Passwords},
    config::StoreArgs,
};

const EXAMPLES: &str = "Examples:
  facesocial admin create ann < password.txt
  facesocial admin create bob --role operator --password-file bob.txt
  facesocial admin reset-password ann --password-file new.txt
  facesocial admin list --json

With the embedded database the server must be stopped; with Postgres it may run.";

/// Options of `facesocial admin`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AdminArgs {
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Makes an account.
    Create(CreateArgs),
    /// Gives an account another password and ends all its logins.
    ResetPassword(ResetArgs),
    /// Lists the accounts.
    List(ListArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// 3 to 50 ASCII letters, digits, dots, underscores and hyphens.
    username: String,
    /// Address, which serves as another name at the login.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// What the account may do: admin, operator, user, read-only.
    #[arg(long, value_parser = role, default_value = "admin")]
    role: Role,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
struct ResetArgs {
    /// User name or address of the account.
    login: String,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Writes JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Where the password comes from. Never from the command line: others can read that.
#[derive(Debug, Args)]
struct PasswordArgs {
    /// File with the password. Unless given, it is read from standard input, to the end of the first line.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordArgs {
    fn read(&self) -> anyhow::Result<String> {
        let text = match &self.password_file {
            Some(file) => fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
            None if io::stdin().is_terminal() => {
                bail!("a password typed here would be seen; pipe it into this command, or give --password-file FILE")
            }
            None => {
                let mut text = String::new();
                io::stdin().take(4096).read_to_string(&mut text).context("cannot read the password")?;
                text
            }
        };
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("allowed are {}", Role::ALL.map(Role::as_str).join(", ")))
}

/// Runs the command.
///
/// # Errors
/// A database that cannot be opened; a name or password that is not allowed; no such account.
pub fn run(args: AdminArgs) -> anyhow::Result<ExitCode> {
    database::block_on(async {
        match args.command {
            AdminCommand::Create(args) => create(args).await,
            AdminCommand::ResetPassword(args) => reset_password(args).await,
            AdminCommand::List(args) => list(args).await,
        }
    })
}

async fn create(args: CreateArgs) -> anyhow::Result<ExitCode> {
    let told = |e: crate::error::ApiError| anyhow::anyhow!(e.detail);
    names::username(&args.username).map_err(told)?;
    args.email.as_deref().map(names::email).transpose().map_err(told)?;
    let password = args.password.read()?;
    let password_hash = Passwords::default().hash(password.into()).await.map_err(told)?;
    let store = database::open(args.store).await?;
    let new = NewUser {
        username: args.username,
        email: args.email,
        password_hash,
        first_name: String::new(),
        last_name: String::new(),
        role: args.role,
        collections: Vec::new(),
    };
    let made = store.create_user(&Change::system(), new).await;
    store.close().await;
    let user = made?.value;
    writeln!(io::stdout(), "made the account {} with the role {}", user.username, user.role.as_str())?;
    Ok(ExitCode::SUCCESS)
}

async fn reset_password(args: ResetArgs) -> anyhow::Result<ExitCode> {
    let password = args.password.read()?;
    let hash = Passwords::default().hash(password.into()).await.map_err(|e| anyhow::anyhow!(e.detail))?;
    let store = database::open(args.store).await?;
    let changed = change_password(store.as_ref(), &args.login, hash).await;
    store.close().await;
    let user = changed?;
    writeln!(io::stdout(), "the account {} has a new password; its logins have ended", user.username)?;
    if !user.is_active {
        writeln!(io::stdout(), "it may not log in all the same: it is not active")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn change_password(store: &dyn Store, login: &str, hash: String) -> Result<User, StoreError> {
    let user = store.credentials(login).await?.user;
    let change = UserChange { password_hash: Some(hash), ..UserChange::default() };
    Ok(store.update_user(&Change::system(), user.id, change).await?.value)
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let store = database::open(args.store).await?;
    let users = all_users(store.as_ref()).await;
    store.close().await;
    let users = users?;
    let mut out = io::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&users)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = TextTable::new(["username", "role", "email", "active", "made", "id"]);
    for user in users {
        table.row([
            user.username,
            user.role.as_str().to_owned(),
            user.email.unwrap_or_default(),
            if user.is_active { "yes" } else { "no" }.to_owned(),
            user.created_at.date().to_string(),
            user.id.to_string(),
        ]);
    }
    out.write_all(table.render().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn all_users(store: &dyn Store) -> Result<Vec<User>, StoreError> {
    let (mut users, mut after) = (Vec::new(), None);
    loop {
        let page = store.users(PageRequest { after, limit: 100 }).await?;
        users.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(users);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_as_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p");
        let read = |text: &str| {
            fs::write(&file, text).unwrap();
            PasswordArgs { password_file: Some(file.clone()) }.read().unwrap()
        };
        assert_eq!(read(" correct horse \r\nother line"), " correct horse ");
        assert_eq!(read("pass"), "pass");
        assert_eq!(read(""), "");
    }

    #[test]
    fn roles_are_named() {
        assert_eq!(role("read-only"), Ok(Role::ReadOnly));
        assert!(role("root").unwrap_err().contains("operator"));
    }
}
