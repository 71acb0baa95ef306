//! A command line in Markdown, from clap's own definitions.

use std::{collections::BTreeSet, fmt::Write};

use clap::{Arg, ArgAction, Args, Command, Id};
use facesocial::{
    config::{AccessArgs, DistributedArgs, JobArgs, KeepArgs, LiveArgs, ObserveArgs, StoreArgs, UpkeepArgs},
    engine_args::{EngineArgs, MemoryArgs},
    networks::NetworkArgs,
};

/// What stands before the tables.
const HEAD: &str = "\
# Configuration

Every command, flag and environment variable with its default, as the program itself defines them: this file is written by
`cargo xtask config-reference` from the command line's definitions, and a test compares the two. `facesocial COMMAND --help`
says the same.

A flag goes before its environment variable, and the variable before the default. Lists are separated by commas. A flag without a
value is switched on by a variable that holds `true`; any other value but `false` is an error. An empty variable is an error, too:
only `DATABASE_URL`, `REDIS_URL`, `FACESOCIAL_METRICS_LISTEN` and secrets count as not given when they are empty. Secrets are given as
files or variables, because flags stand in the list of processes; a URL that holds a password is better given as a file as well.

Variables that no flag has: `FACESOCIAL_LOG`, or `RUST_LOG` without it, says what is logged, as `info,facesocial=debug`; unless
given, `info` of the server and warnings of other commands. A build with the feature `otel` reads those of OpenTelemetry
(`OTEL_EXPORTER_OTLP_ENDPOINT` and its like).
";

/// Options that several commands share: a heading, and their identifiers.
fn shared() -> Vec<(&'static str, BTreeSet<Id>)> {
    let engine = ids::<EngineArgs>();
    let networks = ids::<NetworkArgs>().into_iter().filter(|id| !engine.contains(id)).collect();
    let named = |ids: &[&'static str]| ids.iter().map(|id| Id::from(*id)).collect();
    vec![
        ("Networks", networks),
        ("Device, threads and batches", engine),
        ("Memory", ids::<MemoryArgs>()),
        ("Database", ids::<StoreArgs>()),
        ("What is kept", ids::<KeepArgs>()),
        ("Access", ids::<AccessArgs>()),
        ("Retention and imports", ids::<UpkeepArgs>()),
        ("Jobs", ids::<JobArgs>()),
        ("Live video", ids::<LiveArgs>()),
        ("Several servers", ids::<DistributedArgs>()),
        ("Metrics and logs", ids::<ObserveArgs>()),
        ("Which deployment", named(&["folder", "compose_file"])),
        ("Folders of networks", named(&["dir", "weights", "manifests"])),
    ]
}

/// What a struct of options defines.
fn ids<A: Args>() -> BTreeSet<Id> {
    A::augment_args(Command::new("options")).get_arguments().map(|arg| arg.get_id().clone()).collect()
}

/// The command line in Markdown.
pub fn of(program: &Command) -> String {
    let mut program = program.clone();
    program.build();
    let mut out = HEAD.to_owned();
    let global: Vec<&Arg> = program.get_arguments().filter(|arg| is_told(arg)).collect();
    out += "\n## Every command\n\n";
    table(&mut out, &global);
    // The server first: its options are those that others share.
    let mut told = BTreeSet::new();
    let server = program.find_subcommand("serve").expect("the program serves");
    command(&mut out, server, "facesocial", 2, &mut told);
    for sub in program.get_subcommands().filter(|sub| !["serve", "help"].contains(&sub.get_name())) {
        command(&mut out, sub, "facesocial", 2, &mut told);
    }
    out
}

/// A command and those below it. `told` are the headings of shared options that have their tables already.
fn command(out: &mut String, command: &Command, above: &str, level: usize, told: &mut BTreeSet<&'static str>) {
    let name = format!("{above} {}", command.get_name());
    let hashes = "#".repeat(level);
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    writeln!(out, "\n{hashes} {name}\n\n{}", sentence(&about)).unwrap();
    let mut rest: Vec<&Arg> = command.get_arguments().filter(|arg| is_told(arg) && !arg.is_global_set()).collect();
    let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
    for (heading, ids) in shared() {
        let (members, others): (Vec<&Arg>, _) = rest.iter().partition(|arg| ids.contains(arg.get_id()));
        // A command that has some of them alone has its own.
        if members.len() < ids.len() {
            continue;
        }
        rest = others;
        if told.insert(heading) {
            here.push((heading, members));
        } else {
            elsewhere.push(heading);
        }
    }
    if !rest.is_empty() {
        out.push('\n');
        table(out, &rest);
    }
    for (heading, members) in here {
        writeln!(out, "\n{hashes}# {heading}\n").unwrap();
        table(out, &members);
    }
    if !elsewhere.is_empty() {
        let links: Vec<String> = elsewhere.iter().map(|heading| format!("[{heading}](#{})", anchor(heading))).collect();
        writeln!(out, "\nAlso, as above: {}.", links.join(", ")).unwrap();
    }
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
        self::command(out, sub, &name, level + 1, told);
    }
}

/// Whether an argument is for people to set.
fn is_told(arg: &Arg) -> bool {
    let help =
        matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version);
    !help && !arg.is_hide_set()
}

fn table(out: &mut String, args: &[&Arg]) {
    out.push_str("| option | environment | default | |\n|---|---|---|---|\n");
    args.iter().for_each(|arg| out.push_str(&row(arg)));
}

fn row(arg: &Arg) -> String {
    let takes_value = arg.get_action().takes_values();
    let values = arg.get_value_names().unwrap_or_default();
    let values = if takes_value && !values.is_empty() { values.join(" ") } else { String::new() };
    let option = match (arg.get_long(), arg.get_short()) {
        (Some(long), Some(short)) => format!("`-{short}, --{long}{}`", spaced(&values)),
        (Some(long), None) => format!("`--{long}{}`", spaced(&values)),
        (None, _) if values.is_empty() => format!("`{}`", arg.get_id().as_str().to_uppercase()),
        (None, _) => format!("`{values}`"),
    };
    let variable = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = if takes_value && !defaults.is_empty() {
        format!("`{}`", defaults.join(","))
    } else if arg.is_required_set() {
        "required".to_owned()
    } else {
        String::new()
    };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut help = sentence(&help);
    let choices = arg.get_possible_values();
    if takes_value && !choices.is_empty() && !arg.is_hide_possible_values_set() {
        let choices: Vec<String> = choices.iter().map(|choice| format!("`{}`", choice.get_name())).collect();
        write!(help, " One of {}.", choices.join(", ")).unwrap();
    }
    format!("| {} | {variable} | {} | {} |\n", cell(&option), cell(&default), cell(&help))
}

fn spaced(values: &str) -> String {
    if values.is_empty() { String::new() } else { format!(" {values}") }
}

/// Ends with a full stop, which clap takes from a help of one line.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', ':', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// Text within a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "&lt;")
}

/// As GitHub names a heading.
fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace(' ', "-").replace(',', "")
}
