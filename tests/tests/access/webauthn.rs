//! Authenticators in a real browser, and what a second verifier says of their answers.
//!
//! The module `chromium` holds what needs the browser, `fido2` inside of it what needs the second verifier too.

mod chromium {
    use keyreeve_identity::webauthn::{self, Assertion, Known, NewCredential, Registration, Relying, WebAuthnError};
    use keyreeve_tests::{Browser, Dev, Screen, base64, unbase64url};
    use serde_json::{Value, json};

    /// A page of a server with an authenticator plugged in.
    struct Site {
        browser: Browser,
        origins: [String; 1],
        dev: Dev,
        _home: tempfile::TempDir,
    }

    /// What `navigator.credentials.create` gave.
    struct Made {
        id: String,
        client_data: Vec<u8>,
        attestation: Vec<u8>,
    }

    /// What `navigator.credentials.get` gave.
    struct Got {
        client_data: Vec<u8>,
        auth_data: Vec<u8>,
        signature: Vec<u8>,
    }

    const CREATE: &str = "
        const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
            .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
        const challenge = Uint8Array.from(atob('CHALLENGE'), (c) => c.charCodeAt(0));
        return navigator.credentials.create({ publicKey: {
            rp: { id: 'localhost', name: 'test' },
            user: { id: new Uint8Array([1, 2, 3]), name: 'alice', displayName: 'alice' },
            challenge, pubKeyCredParams: [{ type: 'public-key', alg: NUMBER }],
            authenticatorSelection: { userVerification: 'VERIFY' }, attestation: 'none',
        } }).then((made) => ({
            id: made.id, clientData: text(made.response.clientDataJSON), object: text(made.response.attestationObject),
        }));";

    const GET: &str = "
        const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
            .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
        const bytes = (text) =>
            Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
        return navigator.credentials.get({ publicKey: {
            rpId: 'localhost', challenge: bytes('CHALLENGE'), userVerification: 'VERIFY',
            allowCredentials: [{ type: 'public-key', id: bytes('CREDENTIAL') }],
        } }).then((got) => ({
            clientData: text(got.response.clientDataJSON), data: text(got.response.authenticatorData),
            signature: text(got.response.signature),
        }));";

    fn bytes(answer: &Value, name: &str) -> Vec<u8> {
        unbase64url(answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")))
    }

    impl Site {
        fn open() -> Option<Self> {
            let home = tempfile::tempdir().unwrap();
            let dev = Dev::start(home.path());
            let browser = Browser::start(std::str::from_utf8(&dev.endpoint.ca_pem).unwrap())?;
            let port = dev.endpoint.authority().rsplit(':').next().unwrap().to_owned();
            let origin = format!("https://localhost:{port}");
            browser.open(&format!("{origin}/console"));
            Some(Self { browser, origins: [origin], dev, _home: home })
        }

        fn relying(&self) -> Relying<'_> {
            Relying { id: "localhost", origins: &self.origins }
        }

        fn create(&self, challenge: &[u8; 32], algorithm: i64, verify: &str) -> Made {
            let script = CREATE.replace("CHALLENGE", &base64(challenge)).replace("VERIFY", verify);
            let made = self.browser.run(&script.replace("NUMBER", &algorithm.to_string()));
            let id = made["id"].as_str().unwrap().to_owned();
            Made { id, client_data: bytes(&made, "clientData"), attestation: bytes(&made, "object") }
        }

        fn get(&self, challenge: &[u8; 32], id: &str, verify: &str) -> Got {
            let script = GET.replace("CHALLENGE", &base64(challenge)).replace("VERIFY", verify);
            let got = self.browser.run(&script.replace("CREDENTIAL", id));
            let (client_data, auth_data) = (bytes(&got, "clientData"), bytes(&got, "data"));
            Got { client_data, auth_data, signature: bytes(&got, "signature") }
        }

        fn register(&self, challenge: &[u8; 32], made: &Made) -> Result<NewCredential, WebAuthnError> {
            let answer = Registration { client_data: &made.client_data, attestation: &made.attestation };
            webauthn::register(&self.relying(), challenge, &answer)
        }

        fn assert(
            &self,
            challenge: &[u8; 32],
            known: &NewCredential,
            count: u32,
            got: &Got,
        ) -> Result<u32, WebAuthnError> {
            let backup_eligible = known.backup_eligible;
            let known = Known { cose_key: &known.cose_key, sign_count: count, backup_eligible };
            let answer =
                Assertion { client_data: &got.client_data, auth_data: &got.auth_data, signature: &got.signature };
            webauthn::assert(&self.relying(), challenge, &known, &answer).map(|asserted| asserted.sign_count)
        }
    }

    #[test]
    fn what_a_browser_answers_is_accepted_once_and_for_its_challenge_only() {
        let Some(site) = Site::open() else { return };
        let _authenticator = site.browser.plug();
        for number in [-7, -8, -257] {
            let made = site.create(&[1; 32], number, "required");
            let known = site.register(&[1; 32], &made).unwrap();
            assert_eq!(known.algorithm.number(), number);
            assert_eq!(site.register(&[2; 32], &made), Err(WebAuthnError::Challenge));
            let elsewhere = ["https://localhost".to_owned()];
            let other = Relying { id: "localhost", origins: &elsewhere };
            let answer = Registration { client_data: &made.client_data, attestation: &made.attestation };
            assert_eq!(webauthn::register(&other, &[1; 32], &answer), Err(WebAuthnError::Origin));
            let got = site.get(&[3; 32], &made.id, "required");
            let count = site.assert(&[3; 32], &known, known.sign_count, &got).unwrap();
            assert!(count > known.sign_count);
            assert_eq!(site.assert(&[4; 32], &known, known.sign_count, &got), Err(WebAuthnError::Challenge));
            // The same answer once more: its counter is known by now.
            assert_eq!(site.assert(&[3; 32], &known, count, &got), Err(WebAuthnError::Cloned));
        }
    }

    #[test]
    fn an_authenticator_that_recognises_nobody_is_refused() {
        let Some(site) = Site::open() else { return };
        let _authenticator = site.browser.plug_careless();
        let made = site.create(&[5; 32], -7, "discouraged");
        assert_eq!(site.register(&[5; 32], &made), Err(WebAuthnError::NotVerified));
    }

    #[test]
    fn a_copy_of_an_authenticator_is_noticed() {
        let Some(site) = Site::open() else { return };
        let first = site.browser.plug();
        let made = site.create(&[1; 32], -7, "required");
        let known = site.register(&[1; 32], &made).unwrap();
        let copy = site.browser.credentials(&first)[0].clone();
        let got = site.get(&[2; 32], &made.id, "required");
        let count = site.assert(&[2; 32], &known, known.sign_count, &got).unwrap();
        site.browser.unplug(&first);
        let second = site.browser.plug();
        site.browser.put_credential(&second, &copy);
        let got = site.get(&[3; 32], &made.id, "required");
        assert_eq!(site.assert(&[3; 32], &known, count, &got), Err(WebAuthnError::Cloned));
    }

    /// The console as people use it: signing in, registering a key by invitation, showing it, and the cookie.
    #[test]
    fn people_sign_in_enrol_and_show_their_keys_in_the_console() {
        let Some(site) = Site::open() else { return };
        let (browser, api) = (&site.browser, site.dev.api());
        let _authenticator = browser.plug();
        let _ = api.put("/v1/principals/alice", &json!({ "kind": "person", "roles": ["key-admin"] })).ok();
        let issued = api.post("/v1/tokens", &json!({ "principal": "alice", "seconds": 3600 })).ok();
        let invited = api.post("/v1/principals/alice/mfa/invitation", &json!({})).ok();
        browser.open(&format!("{}/console/security", site.origins[0]));
        browser.fill("#token", "krt_nonsense");
        browser.click("#by-token button");
        browser.says("That token is not good");
        browser.fill("#token", issued["token"].as_str().unwrap());
        browser.click("#by-token button");
        browser.says("alice");
        assert_eq!(browser.run("return document.cookie"), json!(""));
        let cookie = browser.cookies()[0].clone();
        assert_eq!(cookie["name"], "__Host-keyreeve");
        assert_eq!(
            (&cookie["httpOnly"], &cookie["secure"], &cookie["sameSite"]),
            (&json!(true), &json!(true), &json!("Strict"))
        );
        browser.fill("#label", "key ring");
        browser.click("#add-key");
        browser.says("a first second factor needs an invitation");
        browser.fill("#invitation", invited["code"].as_str().unwrap());
        browser.click("#add-key");
        browser.says("The key is registered.");
        browser.says("key ring");
        browser.click("#show-key");
        browser.says("Shown.");
        let kept = api.get("/v1/principals/alice/mfa").ok();
        assert_eq!((&kept["factors"][0]["kind"], &kept["factors"][0]["usable"]), (&json!("webauthn"), &json!(true)));
        let shown = site.dev.endpoint.with_token(issued["token"].as_str().unwrap()).api().get("/v1/mfa").ok();
        assert_eq!(shown["shown"], "webauthn");
        if let Some(folder) = std::env::var_os("KEYREEVE_TEST_PICTURES") {
            for (width, dark) in [(1280, false), (1280, true), (400, false), (400, true)] {
                let picture = browser.picture(Screen { width, height: 900, dark });
                let name = format!("security-{width}-{}.png", if dark { "dark" } else { "light" });
                std::fs::write(std::path::Path::new(&folder).join(name), picture).unwrap();
            }
        }
        browser.click("#person button");
        browser.find("#sign-in");
        assert_eq!(browser.cookies(), json!([]));
    }

    /// The cookie is worth nothing outside of the console's own requests.
    #[test]
    fn the_cookie_counts_under_the_consoles_own_addresses_only() {
        let Some(site) = Site::open() else { return };
        let browser = &site.browser;
        browser.open(&format!("{}/console/security", site.origins[0]));
        browser.fill("#token", site.dev.endpoint.token.as_deref().unwrap());
        browser.click("#by-token button");
        browser.says("developer");
        let asked = |path: &str| browser.run(&format!("return fetch('{path}').then((answer) => answer.status)"));
        assert_eq!(asked("/console/api/v1/tokens/self"), 200);
        assert_eq!(asked("/v1/tokens/self"), 401);
        assert_eq!(asked("/console/api/v1/keys"), 404);
        let post = "return fetch('/v1/keys', { method: 'POST' }).then((answer) => answer.status)";
        assert_eq!(browser.run(post), 403);
    }

    mod fido2 {
        use super::*;
        use keyreeve_tests::{Chance, base64url};
        use std::io::Write;
        use std::path::Path;
        use std::process::{Command, Stdio};

        /// The environment that `cargo xtask test` makes.
        fn python() -> Option<std::path::PathBuf> {
            let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
            let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target).join("fido2/bin/python");
            if python.is_file() {
                return Some(python);
            }
            keyreeve_tests::not_run("there is no python-fido2 to compare with");
            None
        }

        fn ask(python: &Path, site: &Site, answers: &[Value]) -> Vec<String> {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/webauthn.py");
            let mut child =
                Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let asked = json!({ "relying": "localhost", "origin": site.origins[0], "answers": answers });
            child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
        }

        fn flip(chance: &mut Chance, bytes: &mut [u8]) {
            let (at, bit) = (chance.below(bytes.len()), chance.below(8));
            bytes[at] ^= 1 << bit;
        }

        /// Both accept what is right; of answers with one bit changed, nothing that is accepted here is refused there.
        /// The other verifier does not look at copies, counters and frames, so it may accept more.
        #[test]
        fn the_other_verifier_accepts_what_is_accepted_here() {
            let Some(python) = python() else { return };
            let Some(site) = Site::open() else { return };
            let _authenticator = site.browser.plug();
            let (mut answers, mut here) = (Vec::new(), Vec::new());
            let mut chance = Chance::new(16);
            let text = |bytes: &[u8]| base64url(bytes);
            for number in [-7, -8, -257] {
                let made = site.create(&[1; 32], number, "required");
                let known = site.register(&[1; 32], &made).unwrap();
                let got = site.get(&[3; 32], &made.id, "required");
                let registered = text(&made.attestation);
                for round in 0..150 {
                    let mut made = clone_made(&made);
                    let mut got = Got {
                        client_data: got.client_data.clone(),
                        auth_data: got.auth_data.clone(),
                        signature: got.signature.clone(),
                    };
                    match round {
                        0 => {}
                        _ => {
                            let part = chance.below(2);
                            flip(&mut chance, if part == 0 { &mut made.client_data } else { &mut made.attestation });
                            let part = chance.below(3);
                            let parts = [&mut got.client_data, &mut got.auth_data, &mut got.signature];
                            flip(&mut chance, parts.into_iter().nth(part).unwrap());
                        }
                    }
                    here.push(site.register(&[1; 32], &made).is_ok());
                    answers.push(json!({
                        "id": made.id, "challenge": text(&[1; 32]),
                        "client_data": text(&made.client_data), "attestation": text(&made.attestation),
                    }));
                    here.push(site.assert(&[3; 32], &known, known.sign_count, &got).is_ok());
                    answers.push(json!({
                        "id": made.id, "challenge": text(&[3; 32]), "registered": registered,
                        "client_data": text(&got.client_data), "auth_data": text(&got.auth_data),
                        "signature": text(&got.signature),
                    }));
                    if round == 0 {
                        assert_eq!(&here[here.len() - 2..], [true, true]);
                    }
                }
            }
            let there = ask(&python, &site, &answers);
            assert_eq!(there.len(), here.len());
            for ((here, there), answer) in here.iter().zip(&there).zip(&answers) {
                assert!(!here || there == "yes", "accepted here, there {there}: {answer}");
            }
            let refused = here.iter().filter(|here| !**here).count();
            assert!(refused > here.len() / 2, "{refused} of {}", here.len());
        }

        fn clone_made(made: &Made) -> Made {
            Made { id: made.id.clone(), client_data: made.client_data.clone(), attestation: made.attestation.clone() }
        }
    }
}
