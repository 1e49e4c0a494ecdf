//! Why a command ended without doing what it was asked, and the exit code that says so to scripts.

use std::fmt;
use std::io::ErrorKind;

use keyreeve_client::{ClientError, EnvelopeError, StreamError, TlsTrouble};
use keyreeve_wire::Problem;

/// How the process ends. The numbers are part of the interface: scripts depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// The answer to the question is no.
    No = 1,
    /// The command line, a file or a request is not as it must be. The same number as clap's.
    Usage = 2,
    /// Policy refuses, or nobody is known to be asking.
    Refused = 3,
    /// No such thing.
    Absent = 4,
    /// The thing's state forbids it.
    State = 5,
    /// The server does not answer, or is sealed.
    Unavailable = 6,
    /// Something was altered or cut short.
    Integrity = 7,
    /// A defect, or this machine fails.
    Internal = 8,
    /// An audit log is not whole, and nothing in it was altered.
    Incomplete = 9,
    /// Somebody answers, and the connection cannot be trusted.
    Untrusted = 10,
    /// Others have to agree first: it waits.
    Waiting = 11,
    /// A device refused the PIN: another start may lock it. systemd does not try again (RestartPreventExitStatus).
    PinRefused = 12,
    /// Somebody pressed Ctrl-C.
    Interrupted = 130,
    /// Whoever read the output went away.
    BrokenPipe = 141,
}

/// What `keyreeve --help` says about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  the answer is no: a signature does not verify, the server is not ready, policy would refuse
    2  the command line, a file or a request is not as it must be
    3  refused by policy, or not authenticated
    4  no such key, keyring, token, ...
    5  wrong state, or somebody else changed it: read the message, then decide
    6  the server does not answer, is sealed or cannot write; safe to try again later
    7  integrity: altered, cut short, or not proved
    8  a defect, or this machine failed (disk full)
    9  an audit log is incomplete, with nothing in it altered
   10  no trusted connection: the certificate of the server, or of this client, is not accepted
   11  waits for the consent of others, and was not done; `keyreeve approval show` tells for whose
   12  a device refused the PIN: do not start the server again before somebody has looked
  130  interrupted      141  the reader of the output went away";

/// A command that failed: what to tell the person, what to tell the script.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For the script.
    pub(crate) exit: Exit,
    /// What is wrong.
    pub(crate) what: String,
    /// What to do next.
    pub(crate) next: Option<String>,
    /// Where the refusal stands in the audit log.
    pub(crate) audit_record: Option<String>,
    /// The stable code the server gave.
    pub(crate) code: Option<String>,
    /// What is wrong with TLS; the profile knows what to do about it.
    pub(crate) trouble: Option<TlsTrouble>,
    /// What the request waits as, where it waits for consent.
    pub(crate) approval: Option<Box<str>>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), next: None, audit_record: None, code: None, trouble: None, approval: None }
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Adds what the person can do about it.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Adds where to look when the state of what the command is about forbids it. Known by the server's code and the
    /// command, not by the words of the refusal.
    pub(crate) fn about(mut self, subject: Option<Subject>) -> Self {
        if self.next.is_none() && self.code.as_deref() == Some("wrong-state") {
            self.next = subject.map(|subject| subject.state_shown_by().to_owned());
        }
        self
    }

    /// A file that cannot be read or written.
    pub(crate) fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::BrokenPipe => Exit::BrokenPipe,
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => {
                Exit::Usage
            }
            _ => Exit::Internal,
        };
        Self::new(exit, format!("{what}: {error}"))
    }
}

/// The exit code for a stable code of the server.
fn exit_of(code: &str, status: u16) -> Exit {
    match code {
        "decryption-failed" | "tampered" | "rolled-back" | "quarantined" => Exit::Integrity,
        "unauthenticated" | "denied" => Exit::Refused,
        "not-found" => Exit::Absent,
        "internal" => Exit::Internal,
        "rate-limited" => Exit::Unavailable,
        // Codes may be added; the status says whose fault they are.
        _ => match status {
            401 | 403 => Exit::Refused,
            404 => Exit::Absent,
            409 => Exit::State,
            429 | 503 => Exit::Unavailable,
            400..500 => Exit::Usage,
            _ => Exit::Internal,
        },
    }
}

/// What a person can do about a refusal.
fn next_step(code: &str) -> Option<&'static str> {
    Some(match code {
        "unauthenticated" => {
            "give a token with `--token-file FILE`, or a profile with `--profile FILE`; `keyreeve token self` tests it"
        }
        "denied" => {
            "an operator or auditor learns from `keyreeve policy explain PRINCIPAL ACTION RESOURCE` which policy would \
             have to allow it"
        }
        "mfa-needed" => {
            "show a second factor with `keyreeve mfa verify`, or in the console, then repeat the command; `keyreeve \
             mfa status` shows what is enrolled, `keyreeve mfa totp` enrols a first one"
        }
        "under-hold" => {
            "`keyreeve hold list --key KEY` shows the holds; Legal consents to the destruction, or releases them"
        }
        "other-person-needed" => "ask somebody else with the role for it: `keyreeve token self` shows who you are",
        "sealed" => {
            "`keyreeve status` shows what opens the server: `keyreeve unseal` with the shares that are missing, or its \
             next start where there are no shares"
        }
        "rolled-back" => {
            "an old copy of the server runs: find out why before anything else; `keyreeve system info` shows what is \
             older, `keyreeve system accept-rollback --help` how people go on with it"
        }
        "anchor-unavailable" => "see that the anchor is there (`keyreeve config check`); the server tries every minute",
        "not-initialised" => "`keyreeve init` initialises the server; `keyreeve init --help` explains shares",
        "already-exists" => "`keyreeve key list` and `keyreeve keyring list` show which names are taken",
        "wrong-key-use" => {
            "`keyreeve key show KEY` shows what the key is for; `keyreeve algorithms` what else there is"
        }
        "custody-too-low" => "`keyreeve root list` shows the roots of trust and how well each keeps keys",
        "algorithm-not-allowed" => "`keyreeve algorithms` shows which algorithms may still be used",
        "invalid-policy" => "`keyreeve policy actions` lists the actions; `keyreeve policy show NAME` shows examples",
        "decryption-failed" => "the context must be the one given when encrypting: `--context NAME=VALUE`",
        "rate-limited"
        | "overloaded"
        | "timeout"
        | "store-unavailable"
        | "archive-unavailable"
        | "root-unavailable"
        | "identity-unavailable"
        | "too-many-attempts" => "try again later",
        "outcome-unknown" => "the change may have been made: look before you repeat the command",
        "unknown-route" => {
            "a listener for use of keys serves no administration, and the other way round: give the address of the \
             other one as `--admin-address URL`, or as `admin_address` of the profile"
        }
        "audit-unavailable" => "the server's disk may be full: nothing is done until the audit log can be written",
        _ => return None,
    })
}

/// What a person can do about a refusal of which the code alone does not tell enough: the code, what its text says, and
/// the step.
const IN_PARTICULAR: [(&str, &str, &str); 13] = [
    (
        "decryption-failed",
        "the material does not open",
        "wrap it for these very parameters, with the method that they name: `keyreeve key wrap-for-import PARAMETERS \
         FILE -o WRAPPED`",
    ),
    (
        "already-exists",
        "this material is that of another key",
        "bring fresh material; `keyreeve key reimport KEY PARAMETERS --wrapped FILE` puts back what has ended",
    ),
    ("already-exists", "the root of trust", "`keyreeve root list` shows which there are"),
    (
        "invalid-share",
        "root",
        "`keyreeve status` shows which roots of trust wait for shares; `keyreeve share show` tells whose set a share \
         is of",
    ),
    (
        "unauthenticated",
        "this login was not accepted",
        "look at name, password and method (`keyreeve login --list`) and try again, or ask an operator for the reason",
    ),
    ("denied", "`policy.explain`", "ask somebody with the role `operator` or `key-auditor`"),
    ("denied", "votes on their own request", "`keyreeve approval show` tells whose consent is missing"),
    ("denied", "consent is not asked for here", "`keyreeve approval show` tells whose consent is missing"),
    (
        "invalid-policy",
        "would lock people out",
        "let the policies allow two people at least, or give more people the role, then apply them again",
    ),
    ("wrong-state", "are to be renewed", "`keyreeve emergency show EMERGENCY` shows what is owed"),
    (
        "already-exists",
        "is shipped with Keyreeve",
        "`keyreeve policy list` shows which policies are shipped; one of your own applies besides them, and what it \
         forbids stays forbidden",
    ),
    ("already-exists", "a certificate proves", "`keyreeve principal list --output json` shows which principal has it"),
    ("wrong-key-use", "cannot be made for", "`keyreeve algorithms` shows what keys of each algorithm can be made for"),
];

fn in_particular(problem: &Problem) -> Option<&'static str> {
    let fits = |(code, words, _): &&(&str, &str, &'static str)| problem.code == *code && problem.detail.contains(words);
    IN_PARTICULAR.iter().find(fits).map(|(_, _, next)| *next)
}

/// What a command is about, for telling where to see the state that forbids it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A key, or what is done with it.
    Key,
    /// A token.
    Token,
    /// A principal.
    Principal,
    /// The server as a whole.
    Server,
    /// Roots of trust of the deployment.
    Roots,
}

impl Subject {
    /// Where to see its state.
    const fn state_shown_by(self) -> &'static str {
        match self {
            Self::Key => "`keyreeve key show KEY` shows the state and what was done to the key",
            Self::Token => "`keyreeve token list` shows which there are and until when they are valid",
            Self::Principal => {
                "`keyreeve principal list` shows who there is, `keyreeve principal show NAME` what one of them may do"
            }
            Self::Server => "`keyreeve status` shows whether it is open; `keyreeve unseal` opens it",
            Self::Roots => {
                "`keyreeve root list` shows where each root stands and what is under it, `keyreeve job list` what is \
                 on its way"
            }
        }
    }
}

/// Where to see the names of what there is.
fn where_to_look(problem: &Problem) -> Option<&'static str> {
    const LISTS: [(&str, &str); 8] = [
        ("root of trust", "`keyreeve root list` shows which there are"),
        ("job", "`keyreeve job list --ended` shows which there are"),
        ("keyring", "`keyreeve keyring list` shows which there are"),
        ("token", "`keyreeve token list` shows which there are"),
        ("principal", "`keyreeve principal list` shows which there are"),
        ("policy", "`keyreeve policy list` shows which there are"),
        ("record", "`keyreeve audit search` shows which there are"),
        ("key", "`keyreeve key list` shows which there are"),
    ];
    let found = LISTS.iter().find(|(what, _)| problem.detail.contains(&format!("no such {what}")));
    found.filter(|_| problem.code == "not-found").map(|(_, next)| *next)
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(problem) => {
                let next = in_particular(&problem).or_else(|| next_step(&problem.code));
                let next = next.or_else(|| where_to_look(&problem)).map(str::to_owned);
                let failure = Self::new(exit_of(&problem.code, problem.status), problem.detail);
                Self { next, audit_record: problem.audit_record, code: Some(problem.code), ..failure }
            }
            ClientError::Waiting(problem) => {
                let missing = problem.approval.as_ref().map(|waiting| waiting.missing.join(", ")).unwrap_or_default();
                let next = format!("consent is missing of: {missing}; once they agreed, repeat the command");
                let failure = Self::new(Exit::Waiting, problem.detail).next(next);
                let approval = problem.approval.map(|waiting| waiting.id.into_boxed_str());
                Self { audit_record: problem.audit_record, code: Some(problem.code), approval, ..failure }
            }
            ClientError::Unreachable { .. } => Self::new(Exit::Unavailable, error.to_string()).next(
                "is it running there? `keyreeve serve --config FILE` (or its service) starts it, `keyreeve dev` \
                     one to try things out; `--address URL` names another",
            ),
            ClientError::Untrusted { trouble, .. } => {
                Self { trouble: Some(trouble), ..Self::new(Exit::Untrusted, error.to_string()) }
            }
            ClientError::Setup(what) => Self::usage(what),
            ClientError::Name(_) => Self::usage(error.to_string()),
            ClientError::Answer(_) => Self::new(Exit::Internal, error.to_string())
                .next("is it a Keyreeve server that answers at this address? `keyreeve status` asks"),
            ClientError::Random(_) => Self::new(Exit::Internal, error.to_string()),
            ClientError::Stream(error) => error.into(),
        }
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        match &error {
            StreamError::Envelope(envelope) => Self::new(envelope_exit(envelope), error.to_string()),
            StreamError::Read(cause) => Self::io("the input cannot be read", cause),
            StreamError::Write(cause) => Self::io("the output cannot be written", cause),
        }
    }
}

fn envelope_exit(error: &EnvelopeError) -> Exit {
    match error {
        EnvelopeError::HeaderCut
        | EnvelopeError::WrongKey
        | EnvelopeError::HeaderAltered
        | EnvelopeError::Altered { .. }
        | EnvelopeError::Cut { .. }
        | EnvelopeError::CutOrAltered { .. }
        | EnvelopeError::Continues { .. }
        | EnvelopeError::HeaderLength
        | EnvelopeError::ChunkSize(_)
        | EnvelopeError::Context
        | EnvelopeError::WrappedKeyLength => Exit::Integrity,
        EnvelopeError::NotAnEnvelope | EnvelopeError::Version(_) | EnvelopeError::Suite(_) | EnvelopeError::TooLong => {
            Exit::Usage
        }
        EnvelopeError::DataKeyLength(_)
        | EnvelopeError::ChunkLength(_)
        | EnvelopeError::Finished
        | EnvelopeError::Crypto(_) => Exit::Internal,
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::io("the output cannot be written", &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, status: u16) -> Failure {
        let problem = Problem {
            kind: format!("urn:keyreeve:error:{code}"),
            title: code.to_owned(),
            status,
            code: code.to_owned(),
            detail: "there is no such principal".to_owned(),
            request_id: "r1".to_owned(),
            audit_record: Some("rec_1".to_owned()),
            approval: None,
        };
        ClientError::Refused(Box::new(problem)).into()
    }

    #[test]
    fn codes_of_the_server_become_exit_codes() {
        for (code, status, exit) in [
            ("denied", 403, 3),
            ("unauthenticated", 401, 3),
            ("not-found", 404, 4),
            ("wrong-state", 409, 5),
            ("already-exists", 409, 5),
            ("sealed", 503, 6),
            ("rate-limited", 429, 6),
            ("decryption-failed", 400, 7),
            ("tampered", 503, 7),
            ("quarantined", 409, 7),
            ("invalid-request", 400, 2),
            ("too-large", 413, 2),
            ("internal", 500, 8),
            ("a-code-of-a-newer-server", 409, 5),
        ] {
            assert_eq!(refused(code, status).exit as i32, exit, "{code}");
        }
    }

    #[test]
    fn refusals_name_the_next_step_and_the_record() {
        let failure = refused("denied", 403);
        assert!(failure.next.unwrap().contains("policy explain"));
        assert_eq!(failure.audit_record.as_deref(), Some("rec_1"));
        assert_eq!(failure.what, "there is no such principal");
        assert!(refused("not-found", 404).next.unwrap().contains("principal list"));
    }

    #[test]
    fn the_next_step_is_about_what_was_refused() {
        let next = |code: &str, status: u16, detail: &str| {
            let problem = Problem {
                kind: String::new(),
                title: String::new(),
                status,
                code: code.to_owned(),
                detail: detail.to_owned(),
                request_id: "r1".to_owned(),
                audit_record: None,
                approval: None,
            };
            Failure::from(ClientError::Refused(Box::new(problem))).next.unwrap_or_default()
        };
        let shipped = next("already-exists", 409, "`operator` is shipped with Keyreeve and cannot be changed");
        assert!(shipped.contains("policy list") && !shipped.contains("key list"), "{shipped}");
        let purpose = next("wrong-key-use", 400, "a key of algorithm `ec-p256` cannot be made for `encrypt`");
        assert!(purpose.contains("keyreeve algorithms") && !purpose.contains("key show"), "{purpose}");
        let explain = next("denied", 403, "policy does not allow `bob` to do `policy.explain` here");
        assert!(explain.contains("operator") && !explain.contains("policy explain"), "no circle: {explain}");
    }

    #[test]
    fn a_state_that_forbids_a_command_is_shown_where_the_command_belongs() {
        let next = |code, subject| refused(code, 409).about(subject).next;
        let shown = |subject| next("wrong-state", Some(subject)).unwrap();
        assert!(shown(Subject::Key).contains("key show"));
        assert!(shown(Subject::Token).contains("token list"));
        assert!(shown(Subject::Principal).contains("principal list"));
        assert!(shown(Subject::Server).contains("keyreeve status"));
        assert!(shown(Subject::Roots).contains("keyreeve root list"));
        assert_eq!(next("wrong-state", None), None);
        assert!(next("already-exists", Some(Subject::Token)).unwrap().contains("keyring list"), "what is known stays");
    }

    #[test]
    fn altered_and_cut_files_are_integrity_failures_and_foreign_ones_are_not() {
        let exit = |error: EnvelopeError| Failure::from(ClientError::from(error)).exit;
        assert_eq!(exit(EnvelopeError::Altered { chunk: 3 }), Exit::Integrity);
        assert_eq!(exit(EnvelopeError::Cut { chunk: 3 }), Exit::Integrity);
        assert_eq!(exit(EnvelopeError::NotAnEnvelope), Exit::Usage);
    }

    #[test]
    fn every_exit_code_is_documented() {
        for exit in [
            Exit::Done,
            Exit::No,
            Exit::Integrity,
            Exit::Incomplete,
            Exit::Untrusted,
            Exit::Waiting,
            Exit::PinRefused,
            Exit::Interrupted,
            Exit::BrokenPipe,
        ] {
            assert!(EXIT_CODES.contains(&format!("{}  ", exit as i32)), "{exit:?}");
        }
    }
}
