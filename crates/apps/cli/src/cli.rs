//! The command line as a whole: options of all commands, the list of commands, and what runs them.

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::app::{App, Outcome};
use crate::commands::{
    access, agreement, algorithms, approvals, audit, backups, ceremony, completions, credentials, data_keys, decrypt,
    demo, drill, emergencies, encrypt, escrow, grants, holds, incidents, integrity, jobs, keyrings, keys, login,
    login_methods, macs, mfa, notices, policies, principals, random, restore, reviews, rewrap, root, rules, runbook,
    server, shares, signing, system, system_info, tokens, version, waiting, wrapping,
};
use crate::failure::{EXIT_CODES, Exit, Failure, Subject};
use crate::files;
use crate::out::{Format, Out, be_wide, broken, columns};
use crate::profile::{Connection, Profile};
use crate::text::Span;

/// Keys that are generated, used, rotated and destroyed in one place, and an audit log that proves it.
///
/// Keyreeve is a key management server and its command line in one program. `keyreeve dev` starts a server on this
/// machine to try things out; `keyreeve demo` then shows what it can do. Every other command talks to a running server.
#[derive(Parser)]
#[command(
    name = "keyreeve",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "First steps:\n  \
        $ keyreeve dev                      # start a server here, in one terminal\n  \
        $ keyreeve demo                     # a tour, in another terminal\n  \
        $ keyreeve key create --alias docs  # make a key\n  \
        $ keyreeve encrypt docs report.pdf  # encrypt a file with it\n\n\
        Exit codes are explained by `keyreeve --help`.",
    after_long_help = EXIT_CODES
)]
pub(crate) struct Cli {
    #[command(flatten)]
    connection: Connection,
    /// Form of results: for people or for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORM")]
    output: Format,
    /// Let tables be wider than the terminal; what does not go to a terminal is never broken
    #[arg(long, global = true)]
    wide: bool,
    /// Print results and errors only; of a key or keyring that is made its id alone
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Where others have to agree first, wait until they did, run it then, and end with how it ended; at most so long
    /// (90s, 15m, 12h, 3d) where that is said
    #[arg(
        long,
        global = true,
        value_name = "SPAN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "90d"
    )]
    wait: Option<Span>,
    #[command(subcommand)]
    command: Command,
}

/// The order is that of the help: what somebody new needs stands first.
#[derive(Subcommand)]
enum Command {
    Dev(server::Dev),
    #[command(flatten)]
    Client(Box<ClientCommand>),
    #[command(flatten)]
    Server(ServerCommand),
    #[command(flatten)]
    Local(LocalCommand),
}

/// What talks to a server: trying it out, keys and their use, access, operating it.
#[derive(Subcommand)]
enum ClientCommand {
    Demo(demo::Demo),
    Status(system::Status),
    #[command(subcommand)]
    Key(keys::Command),
    Encrypt(encrypt::Encrypt),
    Decrypt(decrypt::Decrypt),
    Sign(signing::Sign),
    Verify(signing::Verify),
    #[command(subcommand)]
    Audit(audit::Command),
    Rewrap(rewrap::Rewrap),
    Reencrypt(rewrap::Reencrypt),
    Mac(macs::Mac),
    VerifyMac(macs::VerifyMac),
    DataKey(data_keys::DataKey),
    UnwrapDataKey(data_keys::UnwrapDataKey),
    Derive(agreement::Derive),
    Agree(agreement::Agree),
    Encapsulate(agreement::Encapsulate),
    Decapsulate(agreement::Decapsulate),
    Wrap(wrapping::Wrap),
    Unwrap(wrapping::Unwrap),
    Random(random::Random),
    Algorithms(algorithms::Algorithms),
    #[command(subcommand)]
    Keyring(keyrings::Command),
    Login(login::Login),
    Logout(login::Logout),
    #[command(subcommand)]
    Token(tokens::Command),
    #[command(subcommand)]
    Credential(credentials::Command),
    #[command(subcommand)]
    LoginMethod(login_methods::Command),
    #[command(subcommand)]
    Principal(principals::Command),
    #[command(subcommand)]
    Grant(grants::Command),
    Elevate(grants::Elevate),
    #[command(subcommand)]
    Access(access::Command),
    #[command(subcommand)]
    Review(reviews::Command),
    #[command(subcommand)]
    Mfa(mfa::Command),
    #[command(subcommand)]
    Policy(policies::Command),
    #[command(subcommand)]
    Approval(approvals::Command),
    #[command(subcommand)]
    Rules(rules::Command),
    #[command(subcommand)]
    Governance(rules::Governance),
    #[command(subcommand)]
    Notice(notices::Command),
    #[command(subcommand)]
    Backup(backups::Command),
    Runbook(runbook::Runbook),
    #[command(subcommand)]
    System(system_info::Command),
    #[command(subcommand)]
    Escrow(escrow::Command),
    #[command(subcommand)]
    Job(jobs::Command),
    #[command(subcommand)]
    Integrity(integrity::Command),
    #[command(subcommand)]
    Hold(holds::Command),
    #[command(subcommand)]
    Incident(incidents::Command),
    #[command(subcommand)]
    Emergency(emergencies::Command),
    Init(system::Init),
    Unseal(system::Unseal),
    Seal(system::Seal),
}

impl ClientCommand {
    /// What the command is about, where that has a state.
    fn subject(&self) -> Option<Subject> {
        match self {
            Self::Key(_)
            | Self::Encrypt(_)
            | Self::Decrypt(_)
            | Self::Sign(_)
            | Self::Verify(_)
            | Self::Rewrap(_)
            | Self::Reencrypt(_)
            | Self::Mac(_)
            | Self::VerifyMac(_)
            | Self::DataKey(_)
            | Self::UnwrapDataKey(_)
            | Self::Derive(_)
            | Self::Agree(_)
            | Self::Encapsulate(_)
            | Self::Decapsulate(_)
            | Self::Wrap(_)
            | Self::Unwrap(_) => Some(Subject::Key),
            Self::Token(_) | Self::Login(_) | Self::Logout(_) => Some(Subject::Token),
            Self::Principal(_) => Some(Subject::Principal),
            Self::Status(_) | Self::Init(_) | Self::Unseal(_) | Self::Seal(_) => Some(Subject::Server),
            Self::Demo(_)
            | Self::LoginMethod(_)
            | Self::Credential(_)
            | Self::Audit(_)
            | Self::Random(_)
            | Self::Algorithms(_)
            | Self::Keyring(_)
            | Self::Mfa(_)
            | Self::Hold(_)
            | Self::Incident(_)
            | Self::Emergency(_)
            | Self::Grant(_)
            | Self::Elevate(_)
            | Self::Access(_)
            | Self::Review(_)
            | Self::Policy(_)
            | Self::Approval(_)
            | Self::Rules(_)
            | Self::Governance(_)
            | Self::Notice(_)
            | Self::Job(_)
            | Self::System(_)
            | Self::Integrity(_)
            | Self::Escrow(_)
            | Self::Backup(_)
            | Self::Runbook(_) => None,
        }
    }
}

/// What runs a server, or looks at its configuration.
#[derive(Subcommand)]
enum ServerCommand {
    Serve(server::Serve),
    Restore(restore::Restore),
    #[command(subcommand)]
    Drill(drill::Command),
    #[command(subcommand)]
    Config(server::Config),
    #[command(subcommand)]
    Root(root::Command),
    #[command(name = keyreeve_server::PKCS11_WORKER, hide = true)]
    Pkcs11Worker(server::Worker),
}

/// What needs no server.
#[derive(Subcommand)]
enum LocalCommand {
    #[command(subcommand)]
    Ceremony(Box<ceremony::Command>),
    #[command(subcommand)]
    Share(shares::Offline),
    #[command(name = escrow::COMBINE, hide = true)]
    EscrowCombine(escrow::Combine),
    Completions(completions::Completions),
    Version(version::Version),
}

/// The commands by what they are for. What stands in no group is listed at the end.
const GROUPS: [(&str, &[&str]); 10] = [
    ("Try it out", &["dev", "demo", "status"]),
    ("Keys", &["key", "keyring", "algorithms"]),
    (
        "Use keys",
        &[
            "encrypt",
            "decrypt",
            "rewrap",
            "reencrypt",
            "sign",
            "verify",
            "mac",
            "verify-mac",
            "data-key",
            "unwrap-data-key",
            "derive",
            "agree",
            "encapsulate",
            "decapsulate",
            "wrap",
            "unwrap",
            "random",
        ],
    ),
    ("See what happened", &["audit"]),
    ("Show who you are", &["login", "logout", "mfa", "token", "credential", "login-method"]),
    ("Say who may do what", &["principal", "policy", "grant", "elevate", "access", "review"]),
    ("Agree to what others do", &["approval", "rules", "governance"]),
    ("When something happens", &["notice", "incident", "emergency", "hold", "integrity", "runbook"]),
    ("Run a server", &["init", "unseal", "seal", "serve", "config", "system", "backup", "restore", "drill", "job"]),
    ("Roots of trust and their holders", &["root", "share", "ceremony", "escrow"]),
];

/// The commands under headings, as wide as the terminal.
fn grouped(command: &clap::Command) -> String {
    let columns = columns().unwrap_or(100).min(100);
    let known = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let shown = || command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let others: Vec<&str> = shown().map(clap::Command::get_name).filter(|name| !known(name)).collect();
    let mut text = String::new();
    for (heading, names) in GROUPS.iter().map(|(heading, names)| (*heading, *names)).chain([("More", &others[..])]) {
        text.push_str(&format!("{heading}:\n"));
        for sub in names.iter().filter_map(|name| shown().find(|sub| sub.get_name() == *name)) {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            let lines = broken(&about, columns.saturating_sub(NAME + 2));
            text.push_str(&format!("  {:NAME$}{}\n", sub.get_name(), lines.join(&format!("\n  {:NAME$}", ""))));
        }
        text.push('\n');
    }
    text
}

/// Where what a command does begins, in the help (columns).
const NAME: usize = 17;

/// Reads a command line. A refusal's usage line repeats what was typed, and not what the environment says besides.
fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    let commands = grouped(&Cli::command());
    let command = Cli::command()
        .before_help(commands)
        .help_template("{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}Options:\n{options}{after-help}");
    match command.clone().try_get_matches_from(&words).and_then(|mut found| Cli::from_arg_matches_mut(&mut found)) {
        Ok(cli) => Ok(cli),
        Err(error) => {
            let typed = command.mut_args(|arg| arg.env(Resettable::Reset)).try_get_matches_from(&words);
            Err(typed.err().unwrap_or(error))
        }
    }
}

/// Runs the program; the process ends with what is returned.
pub(crate) fn run() -> Exit {
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Where nobody reads it, there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let out = Out::new(cli.output, cli.quiet);
    if cli.wide {
        be_wide();
    }
    let connection = cli.connection.clone();
    match execute(cli, out) {
        Ok(exit) => exit,
        Err(mut failure) => {
            if let (Some(trouble), Ok(profile)) = (failure.trouble, Profile::load(&connection)) {
                failure.next = Some(profile.advice(trouble));
            }
            tell(out, &failure);
            failure.exit
        }
    }
}

/// Tells of a failure: to a program that asked for JSON as JSON too, on standard error.
fn tell(out: Out, failure: &Failure) {
    if failure.exit == Exit::BrokenPipe {
        return;
    }
    if out.is_json() && !std::io::stderr().is_terminal() {
        let object = serde_json::json!({
            "error": failure.what,
            "code": failure.code,
            "next": failure.next,
            "audit_record": failure.audit_record,
            "exit": failure.exit as i32,
        });
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{object}\n").as_bytes());
    } else {
        out.failure(failure);
    }
}

fn execute(cli: Cli, out: Out) -> Outcome {
    let app = App { out, connection: cli.connection };
    match cli.command {
        // The server has its own way to run and to end.
        Command::Dev(command) => command.run(&app),
        Command::Server(ServerCommand::Serve(command)) => command.run(),
        Command::Server(ServerCommand::Restore(command)) => command.run(&app),
        Command::Server(ServerCommand::Drill(command)) => command.run(&app, cli.wait),
        Command::Server(ServerCommand::Config(command)) => command.run(&app),
        Command::Server(ServerCommand::Root(root::Command::Beside(command))) => command.run(&app),
        Command::Server(ServerCommand::Root(root::Command::Deployment(command))) => {
            connected(&app, cli.wait, command.run(&app)).map_err(|failure| failure.about(Some(Subject::Roots)))
        }
        Command::Server(ServerCommand::Root(root::Command::Shares(command))) => {
            connected(&app, cli.wait, command.run(&app))
        }
        Command::Server(ServerCommand::Pkcs11Worker(command)) => command.run(),
        Command::Local(LocalCommand::Ceremony(command)) => command.run(&app),
        Command::Local(LocalCommand::Share(command)) => command.run(&app),
        Command::Local(LocalCommand::EscrowCombine(command)) => command.run(),
        Command::Local(LocalCommand::Completions(command)) => command.run(&app),
        Command::Local(LocalCommand::Version(command)) => command.run(&app),
        Command::Client(command) => {
            let subject = command.subject();
            connected(&app, cli.wait, client_command(*command, &app)).map_err(|failure| failure.about(subject))
        }
    }
}

/// Runs what talks to a server, and waits for the consent of others where that is wanted.
pub(crate) fn connected(app: &App, wait: Option<Span>, command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(interruptible(async {
        match (command.await, wait) {
            (Err(failure), Some(wait)) => waiting::until_over(app, failure, wait).await,
            (outcome, _) => outcome,
        }
    }));
    // A thread may still wait for the terminal.
    runtime.shutdown_background();
    outcome
}

/// Ends on Ctrl-C, without leaving half a file behind.
async fn interruptible(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::select! {
        outcome = command => outcome,
        _ = tokio::signal::ctrl_c() => {
            files::remove_unfinished();
            Err(Failure::new(Exit::Interrupted, "interrupted"))
        }
    }
}

async fn client_command(command: ClientCommand, app: &App) -> Outcome {
    match command {
        ClientCommand::Demo(command) => command.run(app).await,
        ClientCommand::Status(command) => command.run(app).await,
        ClientCommand::Init(command) => command.run(app).await,
        ClientCommand::Unseal(command) => command.run(app).await,
        ClientCommand::Seal(command) => command.run(app).await,
        ClientCommand::Keyring(command) => command.run(app).await,
        ClientCommand::Key(command) => command.run(app).await,
        ClientCommand::Algorithms(command) => command.run(app).await,
        ClientCommand::Encrypt(command) => command.run(app).await,
        ClientCommand::Decrypt(command) => command.run(app).await,
        ClientCommand::Rewrap(command) => command.run(app).await,
        ClientCommand::Reencrypt(command) => command.run(app).await,
        ClientCommand::Sign(command) => command.run(app).await,
        ClientCommand::Verify(command) => command.run(app).await,
        ClientCommand::Mac(command) => command.run(app).await,
        ClientCommand::VerifyMac(command) => command.run(app).await,
        ClientCommand::DataKey(command) => command.run(app).await,
        ClientCommand::UnwrapDataKey(command) => command.run(app).await,
        ClientCommand::Derive(command) => command.run(app).await,
        ClientCommand::Agree(command) => command.run(app).await,
        ClientCommand::Encapsulate(command) => command.run(app).await,
        ClientCommand::Decapsulate(command) => command.run(app).await,
        ClientCommand::Wrap(command) => command.run(app).await,
        ClientCommand::Unwrap(command) => command.run(app).await,
        ClientCommand::Random(command) => command.run(app).await,
        ClientCommand::Login(command) => command.run(app).await,
        ClientCommand::Logout(command) => command.run(app).await,
        ClientCommand::Token(command) => command.run(app).await,
        ClientCommand::Credential(command) => command.run(app).await,
        ClientCommand::LoginMethod(command) => command.run(app).await,
        ClientCommand::Principal(command) => command.run(app).await,
        ClientCommand::Mfa(command) => command.run(app).await,
        ClientCommand::Grant(command) => command.run(app).await,
        ClientCommand::Elevate(command) => command.run(app).await,
        ClientCommand::Access(command) => command.run(app).await,
        ClientCommand::Review(command) => command.run(app).await,
        ClientCommand::Policy(command) => command.run(app).await,
        ClientCommand::Job(command) => command.run(app).await,
        ClientCommand::Integrity(command) => command.run(app).await,
        ClientCommand::Hold(command) => command.run(app).await,
        ClientCommand::Incident(command) => command.run(app).await,
        ClientCommand::Emergency(command) => command.run(app).await,
        ClientCommand::Approval(command) => command.run(app).await,
        ClientCommand::Rules(command) => command.run(app).await,
        ClientCommand::Governance(command) => command.run(app).await,
        ClientCommand::Notice(command) => command.run(app).await,
        ClientCommand::Backup(command) => command.run(app).await,
        ClientCommand::System(command) => command.run(app).await,
        ClientCommand::Escrow(command) => command.run(app).await,
        ClientCommand::Runbook(command) => command.run(app).await,
        ClientCommand::Audit(command) => command.run(app).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Every command with its full name.
    fn commands() -> Vec<(String, clap::Command)> {
        let mut all = Vec::new();
        let mut open = vec![(String::new(), Cli::command())];
        while let Some((prefix, command)) = open.pop() {
            let name = format!("{prefix}{}", command.get_name());
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                open.push((format!("{name} "), sub.clone()));
            }
            all.push((name, command));
        }
        all
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What people type in another terminal during a ceremony.
    #[test]
    fn scripts_of_ceremonies_name_commands_that_exist() {
        let known: std::collections::BTreeSet<String> = commands().into_iter().map(|(name, _)| name).collect();
        let mut named = 0;
        for script in keyreeve_ceremony::shipped::SCRIPTS {
            let text = script.text;
            for line in text.lines().filter_map(|line| line.trim_end_matches('"').strip_prefix("    keyreeve ")) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let plain = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
                let words: Vec<&str> =
                    words.iter().take_while(plain).take_while(|w| !w.starts_with('-')).copied().collect();
                let name = format!("keyreeve {}", words.join(" "));
                assert!(known.contains(&name), "{}: `{name}` is no command", script.name);
                named += 1;
            }
        }
        assert!(named >= 8, "{named} commands");
    }

    #[test]
    fn every_command_teaches_with_an_example_of_itself() {
        let all = commands();
        assert!(all.len() > 60, "{} commands", all.len());
        for (name, command) in &all {
            assert!(command.get_about().is_some(), "{name} says nothing about itself");
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let shown = examples(&example)
                .any(|line| line.starts_with(name.strip_prefix("keyreeve").unwrap_or_default().trim()));
            assert!(shown, "{name} has no example of itself:\n{example}");
        }
    }

    #[test]
    fn what_somebody_new_needs_is_listed_first() {
        let help = Cli::command().render_help().to_string();
        let place = |name: &str| help.find(&format!("\n  {name} ")).unwrap_or_else(|| panic!("no {name}:\n{help}"));
        let order = ["dev", "demo", "status", "key", "encrypt", "decrypt", "sign", "verify", "audit", "rewrap", "init"];
        assert!(order.is_sorted_by_key(|name| place(name)), "{help}");
        assert!(place("init") < place("serve") && place("serve") < place("version"), "{help}");
    }

    #[test]
    fn commands_are_listed_once_under_what_they_are_for() {
        let command = Cli::command();
        let text = grouped(&command);
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let line = format!("\n  {} ", sub.get_name());
            assert_eq!(text.matches(&line).count(), 1, "{}:\n{text}", sub.get_name());
        }
        let named: Vec<&&str> = GROUPS.iter().flat_map(|(_, names)| names.iter()).collect();
        let exists = |name: &str| command.get_subcommands().any(|sub| sub.get_name() == name);
        assert!(named.iter().all(|name| exists(name)), "{named:?}");
        let help = parse(["keyreeve", "--help"].map(OsString::from)).err().unwrap().to_string();
        assert!(help.contains("Use keys:") && help.contains("--output") && help.contains("Exit codes:"), "{help}");
        assert_eq!(help.matches("\n  encrypt ").count(), 1, "{help}");
    }

    #[test]
    fn every_argument_is_explained() {
        for (name, command) in commands() {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name}: {} is not explained", argument.get_id());
            }
        }
    }

    #[test]
    fn every_example_is_a_command_that_exists() {
        for (name, command) in commands() {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in examples(&text) {
                let words: Vec<String> = words(line);
                let parsed = Cli::try_parse_from(std::iter::once("keyreeve".to_owned()).chain(words));
                let error = parsed.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(error.is_empty(), "{name}: `{line}`: {error}");
            }
        }
    }

    #[test]
    fn every_command_in_a_runbook_exists() {
        let mut count = 0;
        for shipped in crate::runbook::RUNBOOKS {
            let commands = shipped.text.lines().filter(|line| line.starts_with("       "));
            for line in commands.filter_map(|line| line.trim().strip_prefix("keyreeve ")) {
                let parsed = Cli::try_parse_from(std::iter::once("keyreeve".to_owned()).chain(words(line)));
                let error = parsed.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(error.is_empty(), "{}: `{line}`: {error}", shipped.name);
                count += 1;
            }
        }
        assert!(count > 40, "{count} commands");
    }

    /// What stands after `keyreeve` in the examples of a help text, without what other programs do.
    fn examples(text: &str) -> impl Iterator<Item = &str> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("$ "));
        let commands = lines.flat_map(|line| line.split(" # ").next().unwrap_or_default().split([';', '|', '>']));
        commands
            .filter_map(|command| command.trim().trim_start_matches("until ").strip_prefix("keyreeve "))
            .map(str::trim)
    }

    /// Splits as a shell does, as far as the examples need it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
        for c in line.chars() {
            match (quote, c) {
                (None, '\'' | '"') => (quote, begun) = (Some(c), true),
                (Some(open), c) if open == c => quote = None,
                (None, ' ') if begun => {
                    words.push(std::mem::take(&mut word));
                    begun = false;
                }
                (None, ' ') => {}
                (_, c) => {
                    word.push(c);
                    begun = true;
                }
            }
        }
        if begun {
            words.push(word);
        }
        // What a shell would put in place.
        let filled = |word: String| match word.as_str() {
            word if word.contains("log.vkey") => VKEY.to_owned(),
            word if word.starts_with('$') => "AAAA".to_owned(),
            _ => word,
        };
        words.into_iter().map(filled).collect()
    }

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn secrets_cannot_be_given_on_the_command_line() {
        for (name, command) in commands() {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                assert!(
                    !matches!(id, "token" | "share" | "password" | "secret") || name.ends_with("token revoke"),
                    "{name} {id}"
                );
                let from_environment = argument.get_env().map(|env| env.to_string_lossy().into_owned());
                assert!(from_environment.is_none_or(|env| !env.ends_with("TOKEN")), "{name} {id}");
            }
        }
    }

    #[test]
    fn exit_codes_are_told_by_the_long_help() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("Exit codes:") && help.contains("integrity"));
    }
}
