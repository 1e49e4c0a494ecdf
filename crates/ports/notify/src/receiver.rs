//! Receivers for tests: programs that print one JSON object a line for each notice that they took.

use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver as Lines, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a receiver is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing must come for it to count as nothing.
const SILENCE: Duration = Duration::from_millis(300);

/// A running program that receives. Its first line is `{"port": N}`; it takes orders on its standard input and repeats
/// each as `{"order": …}` when it is in force.
#[derive(Debug)]
pub struct Program {
    child: Child,
    orders: Mutex<ChildStdin>,
    lines: Mutex<Lines<Value>>,
    /// What came while an answer to an order was waited for.
    early: Mutex<VecDeque<Value>>,
    port: u16,
}

impl Program {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let orders = Mutex::new(child.stdin.take().unwrap());
        let output = BufReader::new(child.stdout.take().unwrap());
        let (teller, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if teller.send(value).is_err() {
                    break;
                }
            }
        });
        let mut program = Self { child, orders, lines: Mutex::new(lines), early: Mutex::default(), port: 0 };
        let first = program.next();
        program.port = first["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();
        program
    }

    /// Where it listens, on the loopback address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Gives an order and waits until it is in force.
    ///
    /// # Panics
    /// When it is not.
    pub fn order(&self, order: &str) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(orders, "{order}").unwrap();
        orders.flush().unwrap();
        drop(orders);
        loop {
            let line = self.line();
            if line["order"] == order {
                return;
            }
            self.early.lock().unwrap_or_else(PoisonError::into_inner).push_back(line);
        }
    }

    /// What came next.
    ///
    /// # Panics
    /// When nothing comes.
    #[must_use]
    pub fn next(&self) -> Value {
        let early = self.early.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        early.unwrap_or_else(|| self.line())
    }

    fn line(&self) -> Value {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was received for {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the receiver ended"),
        }
    }

    /// The next thing for which `wanted` holds; what comes before it is passed over.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn next_that(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.next();
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Sees that nothing comes.
    ///
    /// # Panics
    /// When something does.
    pub fn nothing(&self) {
        let early = self.early.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        assert!(early.is_none(), "this was received: {early:?}");
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(line) = lines.recv_timeout(SILENCE) {
            panic!("this was received: {line}");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
