//! Chromium without a window, driven through WebDriver (W3C WebDriver; for the virtual authenticator W3C WebAuthn level
//! 3, section 11).

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::server::Server;

/// How long a page may take to show something.
const LIMIT: Duration = Duration::from_secs(30);
/// The key under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Where Debian and others put the browser.
const PROGRAMS: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// A browser with a profile of its own. It ends with the value.
#[derive(Debug)]
pub struct Browser {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    session: String,
    driver: Server,
    home: tempfile::TempDir,
}

/// What goes on the screen.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Dark or light.
    pub dark: bool,
}

impl Browser {
    /// Starts one that trusts this certificate authority; none, said aloud, where there is no browser.
    ///
    /// # Panics
    /// When it does not start, or is missing and everything must run.
    #[must_use]
    pub fn start(ca_pem: &str) -> Option<Self> {
        Self::start_trusting(&[ca_pem])
    }

    /// The same with several certificate authorities.
    ///
    /// # Panics
    /// When it does not start, or is missing and everything must run.
    #[must_use]
    pub fn start_trusting(authorities: &[&str]) -> Option<Self> {
        let program = PROGRAMS.iter().find(|path| Path::new(path).is_file());
        let there = |tool: &str| Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
        let found = |tool| there(tool).is_ok_and(|output| output.status.success());
        let Some(program) = program.filter(|_| found("chromedriver") && found("certutil")) else {
            crate::not_run("there is no Chromium with chromedriver and certutil to test with");
            return None;
        };
        let home = tempfile::tempdir().unwrap();
        trust(home.path(), authorities);
        let mut command = Command::new("chromedriver");
        crate::tidy_environment(&mut command, home.path());
        command.arg("--port=0").current_dir(home.path());
        let mut driver = Server::spawn(&mut command);
        let port = driver.wait_line(|line| {
            let rest = line.strip_prefix("ChromeDriver was started successfully on port ")?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let session = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { runtime, http, session, driver, home };
        let profile = browser.home.path().join("profile");
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            format!("--user-data-dir={}", profile.display()),
        ]);
        let options = json!({ "binary": program, "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let begun = browser.ask("POST", "", &wanted);
        browser.session = format!("{}/{}", browser.session, begun["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn tried(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.session));
        if method == reqwest::Method::POST {
            request = request.json(body);
        }
        let answer = self.runtime.block_on(async { request.send().await?.json::<Value>().await });
        let answer = answer.map_err(|error| format!("{path}: {error}"))?;
        match answer["value"]["error"].as_str() {
            None => Ok(answer["value"].clone()),
            Some(error) => Err(format!("{error}: {}", answer["value"]["message"])),
        }
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.tried(method, path, body).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.driver.log()))
    }

    /// Goes to an address.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        self.ask("GET", "/url", &Value::Null).as_str().unwrap().to_owned()
    }

    /// What a script on the page returns; a promise is waited for.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns something true; what it returned.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait(&self, script: &str) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            // A page that is left meanwhile takes its scripts along.
            let found = self.tried("POST", "/execute/sync", &json!({ "script": script, "args": [] }));
            match &found {
                Ok(value) if !matches!(value, Value::Null | Value::Bool(false)) => return value.clone(),
                Ok(_) | Err(_) => {}
            }
            let page = || self.tried("POST", "/execute/sync", &json!({ "script": PAGE, "args": [] }));
            assert!(Instant::now() < deadline, "not seen: {script}: {found:?}\n{:?}", page());
            // Nothing tells of a page that changes: it is looked at again.
            let _ = crate::wait_until(Duration::from_millis(30), || false);
        }
    }

    /// Waits for an element that is shown.
    #[track_caller]
    pub fn find(&self, css: &str) -> String {
        let css = css.replace('\'', "\\'");
        let found = self.wait(&format!(
            "const e = document.querySelector('{css}'); return e !== null && e.getClientRects().length > 0 ? e : null;"
        ));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Presses it.
    #[track_caller]
    pub fn click(&self, css: &str) {
        let element = self.find(css);
        self.ask("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types into it, in place of what was there.
    #[track_caller]
    pub fn fill(&self, css: &str, text: &str) {
        let element = self.find(css);
        self.ask("POST", &format!("/element/{element}/clear"), &json!({}));
        self.ask("POST", &format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys where the focus is, with the keyboard alone: text, and the code points of WebDriver for others.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })])
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.ask("POST", "/actions", &actions);
    }

    /// What it says.
    #[track_caller]
    #[must_use]
    pub fn text(&self, css: &str) -> String {
        let element = self.find(css);
        self.ask("GET", &format!("/element/{element}/text"), &Value::Null).as_str().unwrap().to_owned()
    }

    /// Waits until the whole page says this somewhere.
    #[track_caller]
    pub fn says(&self, text: &str) {
        let text = Value::from(text);
        self.wait(&format!("return document.body.innerText.includes({text});"));
    }

    /// The cookies of the page, those included that its scripts do not see.
    #[must_use]
    pub fn cookies(&self) -> Value {
        self.ask("GET", "/cookie", &Value::Null)
    }

    /// A picture of the page on this screen, PNG.
    #[must_use]
    pub fn picture(&self, screen: Screen) -> Vec<u8> {
        let Screen { width, height, dark } = screen;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.cdp("Emulation.setEmulatedMedia", &json!({ "features": features }));
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", &metrics);
        let text = self.ask("GET", "/screenshot", &Value::Null);
        crate::unbase64(text.as_str().unwrap())
    }

    fn cdp(&self, command: &str, parameters: &Value) {
        self.ask("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    /// Plugs in an authenticator that recognises its user; its name.
    #[must_use]
    pub fn plug(&self) -> String {
        self.plug_one(true)
    }

    /// Plugs in one that only sees that it is touched; its name.
    #[must_use]
    pub fn plug_careless(&self) -> String {
        self.plug_one(false)
    }

    fn plug_one(&self, recognises: bool) -> String {
        let options = json!({
            "protocol": "ctap2",
            "transport": "usb",
            "hasResidentKey": recognises,
            "hasUserVerification": recognises,
            "isUserConsenting": true,
            "isUserVerified": recognises,
        });
        self.ask("POST", "/webauthn/authenticator", &options).as_str().unwrap().to_owned()
    }

    /// Pulls it out.
    pub fn unplug(&self, authenticator: &str) {
        self.ask("DELETE", &format!("/webauthn/authenticator/{authenticator}"), &Value::Null);
    }

    /// The credentials in it, private keys and counters included.
    #[must_use]
    pub fn credentials(&self, authenticator: &str) -> Vec<Value> {
        let path = format!("/webauthn/authenticator/{authenticator}/credentials");
        self.ask("GET", &path, &Value::Null).as_array().unwrap().clone()
    }

    /// Puts a credential into it, such as one that was taken out of another.
    pub fn put_credential(&self, authenticator: &str, credential: &Value) {
        self.ask("POST", &format!("/webauthn/authenticator/{authenticator}/credential"), credential);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver ends with its process.
        let _ = self.tried("DELETE", "", &Value::Null);
    }
}

const PAGE: &str = "return location.href + '\\n' + (document.body ? document.body.innerText : '');";

/// Puts certificate authorities into the store that Chromium reads in this home.
fn trust(home: &Path, authorities: &[&str]) {
    let store = home.join(".pki/nssdb");
    std::fs::create_dir_all(&store).unwrap();
    let database = format!("sql:{}", store.display());
    let run = |arguments: &[&str]| {
        let output = Command::new("certutil").args(["-d", &database]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["-N", "--empty-password"]);
    for (number, pem) in authorities.iter().enumerate() {
        let file = home.join(format!("ca-{number}.pem"));
        std::fs::write(&file, pem).unwrap();
        run(&["-A", "-n", &format!("test-{number}"), "-t", "C,,", "-i", file.to_str().unwrap()]);
    }
}
