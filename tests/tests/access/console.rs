//! The console in a real browser: people sign in the way their house has it, and vote on what waits for consent.

mod chromium {
    use keyreeve_tests::{Api, Browser, Factor, Layout, Production, Screen, Up};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::path::Path;

    /// The session's cookie.
    const SESSION: &str = "__Host-keyreeve";
    /// Those who consent, and one who looks only.
    const PEOPLE: [(&str, &str); 3] = [("sue", "security-lead"), ("carl", "ciso"), ("owen", "system-owner")];
    /// The row of the shipped rule book that this is about.
    const RULES: &str = r#"
        [[rule]]
        name = "destroy"
        operations = ["key.schedule-destruction"]
        seats = [{ role = "security-lead" }, { role = "ciso" }]

        [[rule]]
        name = "rules"
        operations = ["rules.put"]
        seats = [{ role = "ciso" }]
    "#;

    /// The value of a cookie, that of the session being its token.
    fn cookie(browser: &Browser, name: &str) -> Option<String> {
        let cookies = browser.cookies();
        let found = cookies.as_array().unwrap().iter().find(|cookie| cookie["name"] == name);
        found.map(|cookie| cookie["value"].as_str().unwrap().to_owned())
    }

    /// The reason that the newest record of a refused login tells.
    fn reason(api: &Api, operation: &str) -> String {
        let found = api.get(&format!("/v1/audit?operation={operation}&outcome=refused&limit=1")).ok();
        let details = &found["items"][0]["details"];
        details["login_refused"].as_str().unwrap_or_else(|| panic!("no reason: {found}")).to_owned()
    }

    fn pictures(browser: &Browser, name: &str) {
        let Some(folder) = std::env::var_os("KEYREEVE_TEST_PICTURES") else { return };
        for (width, height, dark) in [(1280, 1700, false), (1280, 1700, true), (400, 2600, false), (400, 2600, true)] {
            let picture = browser.picture(Screen { width, height, dark });
            let name = format!("{name}-{width}-{}.png", if dark { "dark" } else { "light" });
            std::fs::write(Path::new(&folder).join(name), picture).unwrap();
        }
    }

    /// Nothing on the page is wider than a telephone.
    fn fits_a_telephone(browser: &Browser) {
        let _ = browser.picture(Screen { width: 400, height: 800, dark: false });
        let wide = "return [document.documentElement.scrollWidth, \
            [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 401 && \
            !e.closest('pre')).map((e) => e.outerHTML.slice(0, 120))]";
        let found = browser.run(wide);
        assert!(found[0].as_u64().unwrap() <= 400 && found[1] == json!([]), "{found}");
    }

    fn sign_in_with_token(browser: &Browser, token: &str, name: &str) {
        browser.fill("#token", token);
        browser.click("#by-token button");
        browser.wait(&format!("return document.querySelector('#who')?.textContent === '{name}'"));
    }

    fn came_by(browser: &Browser, method: &str) {
        browser.wait(&format!("return document.querySelector('#by')?.textContent === 'the login {method}'"));
    }

    fn sign_out(browser: &Browser) {
        browser.click("#person form button");
        browser.find("#sign-in");
        assert_eq!(cookie(browser, SESSION), None);
    }

    /// A deployment whose rules are in force, and a browser that has nothing of it yet.
    struct House {
        deployment: Production,
        up: Up,
        tokens: BTreeMap<&'static str, String>,
        factors: BTreeMap<&'static str, Factor>,
        browser: Browser,
        origin: String,
    }

    impl House {
        fn open(home: &Path) -> Option<Self> {
            let more = "[webauthn]\nid = \"localhost\"".to_owned();
            let mut deployment = Production::prepare(home, &Layout { more, ..Layout::default() });
            let browser = Browser::start(deployment.pki.pem())?;
            let up = deployment.start_new();
            let operator = up.api("admin", &deployment.people.operator);
            let (mut tokens, mut factors) = (BTreeMap::new(), BTreeMap::new());
            for (name, role) in PEOPLE {
                let who = json!({ "kind": "person", "roles": [role] });
                let _ = operator.put(&format!("/v1/principals/{name}"), &who).ok();
                let issued = operator.post("/v1/tokens", &json!({ "principal": name, "seconds": 86_400 })).ok();
                let token = issued["token"].as_str().unwrap().to_owned();
                factors.insert(name, Factor::invited(&operator, &up.api("admin", &token), name));
                tokens.insert(name, token);
            }
            let _ = operator.put("/v1/rules", &json!({ "text": RULES })).ok();
            let _ = operator.post("/v1/governance/enact", &json!({})).ok();
            let port = up.endpoint("admin").authority().rsplit(':').next().unwrap().to_owned();
            let origin = format!("https://localhost:{port}");
            Some(Self { deployment, up, tokens, factors, browser, origin })
        }

        fn keeper(&self) -> Api {
            self.up.api("admin", &self.deployment.people.keeper)
        }

        /// Asks for the destruction of a key; the id of what waits, and of the key.
        fn asked(&self) -> (String, String) {
            let keeper = self.keeper();
            let key = keeper.post("/v1/keys", &json!({ "aliases": ["payroll-2019"], "consumers": ["payslips"] })).ok();
            let key = key["id"].as_str().unwrap().to_owned();
            let form = json!({ "days": 30, "reason": "replaced in March" });
            let answer = keeper.post(&format!("/v1/keys/{key}/schedule-destruction"), &form);
            assert_eq!(answer.status, 202, "{answer}");
            (answer.json()["approval"]["id"].as_str().unwrap().to_owned(), key)
        }

        fn approval(&self, id: &str) -> Value {
            self.up.api("admin", &self.tokens["carl"]).get(&format!("/v1/approvals/{id}")).ok()
        }
    }

    /// From a request to its execution, on the page alone: one votes with a code, one with an authenticator over the
    /// digest, and the one who asked runs it.
    #[test]
    fn votes_given_on_the_page_carry_a_destruction_to_its_execution() {
        let home = tempfile::tempdir().unwrap();
        let Some(mut house) = House::open(home.path()) else { return };
        let (id, key) = house.asked();
        let code = house.factors.get_mut("carl").unwrap().code();
        let browser = &house.browser;
        let _authenticator = browser.plug();

        // The CISO sees all of it, and agrees with a code.
        browser.open(&format!("{}/console/approvals", house.origin));
        sign_in_with_token(browser, &house.tokens["carl"], "carl");
        for text in ["key.schedule-destruction", "payroll-2019", "replaced in March", "keeper", "payslips"] {
            browser.says(text);
        }
        browser.says(house.approval(&id)["digest"].as_str().unwrap());
        pictures(browser, "approvals");
        fits_a_telephone(browser);
        browser.click(&format!("#{id} input[value=approve]"));
        browser.fill(&format!("#{id} input[name=reason]"), "checked with payroll");
        browser.fill(&format!("#{id} input[name=code]"), "000000");
        browser.click(&format!("#{id} button[value=code]"));
        browser.find("#trouble");
        // What was typed is still there, but for the code.
        browser.fill(&format!("#{id} input[name=code]"), &code);
        browser.click(&format!("#{id} button[value=code]"));
        browser.says("Your consent is counted.");
        pictures(browser, "voted");
        sign_out(browser);

        // The Security Lead enrols an authenticator and signs with it, without a mouse.
        sign_in_with_token(browser, &house.tokens["sue"], "sue");
        browser.click("a[href='/console/security']");
        browser.fill("#label", "key ring");
        browser.click("#add-key");
        browser.says("The key is registered.");
        browser.click("a[href='/console/approvals']");
        browser.find(&format!("#{id} form"));
        browser.run(&format!("document.querySelector('#{id} input[value=reject]').focus()"));
        // Arrow up, on to the reason, on to the button, and pressed.
        browser.press("\u{e013}\u{e004}");
        browser.press("agreed in writing");
        browser.press("\u{e004}\u{e00d}");
        browser.says("Nothing is missing any more: keeper can run it.");
        let approval = house.approval(&id);
        assert_eq!((&approval["state"], &approval["missing"]), (&json!("approved"), &json!([])));
        let votes = approval["votes"].as_array().unwrap();
        let vote = |by: &str| votes.iter().find(|vote| vote["by"] == by).unwrap();
        assert_eq!((&vote("carl")["proof"], &vote("carl")["reason"]), (&json!("totp"), &json!("checked with payroll")));
        assert_eq!((&vote("sue")["proof"], &vote("sue")["reason"]), (&json!("webauthn"), &json!("agreed in writing")));
        assert!(vote("sue")["evidence"].as_str().unwrap().starts_with("webauthn:"));
        sign_out(browser);

        // Whoever asked runs it, once.
        sign_in_with_token(browser, &house.deployment.people.keeper, "keeper");
        browser.says("agreed: keeper can run it");
        pictures(browser, "own");
        browser.click(&format!("#{id} .own button"));
        browser.says("key.schedule-destruction was done.");
        browser.says("Nothing waits that you may look at.");
        let keeper = house.keeper();
        let waits = keeper.get(&format!("/v1/keys/{key}")).ok()["destruction"].clone();
        assert_eq!(waits["requested_by"], "keeper", "{waits}");
        assert_eq!(house.approval(&id)["state"], "executed");
        sign_out(browser);
        // A token that somebody issued is still good: it was not this browser's alone.
        assert_eq!(keeper.get("/v1/tokens/self").ok()["principal"], "keeper");
    }

    #[test]
    fn a_refusal_closes_a_request_and_nobody_votes_without_a_seat_or_twice_with_a_code() {
        let home = tempfile::tempdir().unwrap();
        let Some(mut house) = House::open(home.path()) else { return };
        let (id, _) = house.asked();
        let mut code = |name: &str| house.factors.get_mut(name).unwrap().code();
        let (of_owen, of_carl) = (code("owen"), code("carl"));
        let browser = &house.browser;
        browser.open(&format!("{}/console/approvals#{id}", house.origin));
        let vote = |name: &str, decision: &str, code: &str| {
            sign_in_with_token(browser, &house.tokens[name], name);
            browser.click(&format!("#{id} input[value={decision}]"));
            browser.fill(&format!("#{id} input[name=code]"), code);
            browser.press("\u{e007}");
        };
        vote("owen", "approve", &of_owen);
        browser.says("your consent is not asked for here");
        sign_out(browser);
        vote("carl", "reject", &of_carl);
        browser.says("You refused it: the request is closed.");
        browser.says("Nothing waits that you may look at.");
        let closed = house.approval(&id);
        assert_eq!((&closed["state"], &closed["rejected_by"]), (&json!("rejected"), &json!("carl")));
        assert_eq!(closed["votes"].as_array().unwrap().len(), 1);
    }

    /// What is shown is what the server reads: a text that looks like another one is refused, and whatever is not seen
    /// is shown as what it is.
    #[test]
    fn people_see_all_of_what_they_agree_to() {
        let home = tempfile::tempdir().unwrap();
        let Some(house) = House::open(home.path()) else { return };
        let operator = house.up.api("admin", &house.deployment.people.operator);
        let hidden = "// office hours, as agreed.\rpermit (principal, action, resource);\n";
        let refused = operator.put("/v1/policies/hours", &json!({ "text": hidden }));
        assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("invalid-request")), "{refused}");
        let long = format!("# {}\r\n{RULES}", "as agreed in writing ".repeat(40));
        let answer = operator.put("/v1/rules", &json!({ "text": long }));
        assert_eq!(answer.status, 202, "{answer}");
        let approval = house.approval(answer.json()["approval"]["id"].as_str().unwrap());

        let browser = &house.browser;
        browser.open(&format!("{}/console/approvals", house.origin));
        sign_in_with_token(browser, &house.tokens["carl"], "carl");
        browser.says("Builds on");
        browser.says(&format!("version {}", approval["base_revision"]));
        browser.says(&format!("in the deployment {}", approval["deployment"].as_str().unwrap()));
        // A line is one, however long, and all of it is there without scrolling sideways.
        let lines = "return [...document.querySelectorAll('.facts pre')].filter((e) => e.innerText.includes('# as')) \
            .map((e) => [e.children.length, e.firstChild.textContent, e.scrollWidth <= e.clientWidth])[0]";
        let first = long.lines().next().unwrap();
        assert_eq!(browser.run(lines), json!([long.split('\n').count(), first, true]));
        pictures(browser, "rules");
        let shown = "return import('/console/common.js').then(({ made }) => \
            made('code', {}, 'a\\rb\\r\\nc\\td\\u{202e}e\\u{2028}\\u{200b}\\u{7f}\\u{85}é').textContent)";
        assert_eq!(browser.run(shown), json!("a␍b\nc\td\\u{202e}e\\u{2028}\\u{200b}␡\\u{85}é"));
    }

    mod idp {
        use super::*;
        use crate::site::Site;
        use keyreeve_tests::Idp;

        /// A server that believes a provider, and a browser that trusts both.
        struct House {
            site: Site,
            idp: Idp,
            browser: Browser,
            origin: String,
        }

        impl House {
            fn open() -> Option<Self> {
                let idp = Idp::start()?;
                let site = Site::new();
                let endpoint = &site.dev.endpoint;
                let ours = std::str::from_utf8(&endpoint.ca_pem).unwrap();
                let browser = Browser::start_trusting(&[ours, idp.ca_pem()])?;
                let port = endpoint.authority().rsplit(':').next().unwrap().to_owned();
                let house = Self { site, idp, browser, origin: format!("https://localhost:{port}") };
                house.idp.redirect_console(&house.callback());
                house.method("corp", &[house.callback()]);
                // One that sends nobody back to the console is for the command line only.
                house.method("cli-only", &["https://elsewhere.example/console/login/callback/cli-only".to_owned()]);
                for name in ["alice", "bob"] {
                    house.site.principal(name, "person", &[]);
                }
                Some(house)
            }

            fn callback(&self) -> String {
                format!("{}/console/login/callback/corp", self.origin)
            }

            fn method(&self, name: &str, returns_to: &[String]) {
                let method = json!({
                    "kind": {"oidc": {
                        "issuer": self.idp.issuer(),
                        "client_id": "keyreeve-console",
                        "redirect_uris": returns_to,
                        "scopes": ["groups"],
                        "mfa_values": ["mfa"],
                        "ca_pem": self.idp.ca_pem(),
                    }},
                    "bindings": [{
                        "name": "everybody",
                        "principal": {"from-claim": {"claim": "sub"}},
                        "role_from_group": {"keys": "key-admin"},
                    }],
                });
                self.site.method(name, &method);
                let secret = json!({"secret": "the secret of the console"});
                let _ = self.site.api.put(&format!("/v1/login-methods/{name}/secret"), &secret).ok();
            }

            fn page(&self, page: &str) {
                self.browser.open(&format!("{}/console/{page}", self.origin));
            }

            /// Fills in the provider's own form.
            fn at_provider(&self, name: &str, password: &str) {
                self.browser.click("#providers button");
                self.browser.fill("input[name=login]", name);
                self.browser.fill("input[name=password]", password);
                self.browser.click("form button");
            }
        }

        #[test]
        fn people_sign_in_at_their_provider_and_out_for_good() {
            let Some(house) = House::open() else { return };
            let browser = &house.browser;
            house.page("approvals");
            browser.says("Sign in with corp");
            assert!(!browser.text("body").contains("cli-only"));
            pictures(browser, "sign-in");
            house.at_provider("alice", "alice knows this");
            came_by(browser, "corp");
            assert_eq!(browser.url(), format!("{}/console/approvals", house.origin));
            assert_eq!(browser.text("#who"), "alice");
            browser.click("#about summary");
            assert!(browser.text("#roles").contains("key-admin"));
            assert_eq!(cookie(browser, "__Host-keyreeve-login"), None, "nothing is left of the way there");
            let token = cookie(browser, SESSION).unwrap();
            let session = house.site.dev.endpoint.with_token(&token).api();
            assert_eq!(session.get("/v1/tokens/self").ok()["login"], "corp");
            // Whatever scripts can see has nothing of it.
            assert_eq!(browser.run("return document.cookie + location.href.includes('code')"), json!("false"));
            sign_out(browser);
            assert_eq!(session.get("/v1/tokens/self").status, 401, "the session ended at the server too");
        }

        #[test]
        fn what_comes_back_counts_in_the_browser_that_went() {
            let Some(house) = House::open() else { return };
            let browser = &house.browser;
            let begun = || {
                let body = json!({ "redirect_uri": house.callback() });
                house.site.anybody.post("/v1/login/oidc/corp/start", &body).ok()
            };
            // Somebody else's whole login, brought here by an address: this browser went nowhere.
            let brought = |user: &str| house.idp.login(begun()["authorization_url"].as_str().unwrap(), user, false).url;
            browser.open(&brought("bob"));
            browser.says("That sign-in began in another browser");
            assert_eq!(cookie(browser, SESSION), None);
            // It went, and something comes back that another provider answered: that is shown to no provider.
            house.page("security");
            browser.click("#providers button");
            browser.find("input[name=login]");
            browser.open(&brought("bob").replace("/callback/corp?", "/callback/cli-only?"));
            browser.says("That sign-in began in another browser");
            // It went, and is brought somebody else's answer.
            house.page("security");
            browser.click("#providers button");
            browser.find("input[name=login]");
            browser.open(&brought("bob"));
            browser.says("That sign-in was not accepted.");
            assert_eq!(reason(&house.site.api, "login.oidc-finish"), "other-attempt");
            assert_eq!(cookie(browser, SESSION), None);
            // The provider says no.
            house.page("security");
            house.at_provider("alice", "wrong");
            browser.says("Your identity provider did not let you in.");
            // And nobody goes through it twice: the address that let in is worth nothing after that.
            house.page("approvals");
            house.at_provider("alice", "alice knows this");
            came_by(browser, "corp");
            browser.open(&format!("{}?code=a&state=b", house.callback()));
            browser.says("That sign-in began in another browser");
            assert_eq!(browser.text("#who"), "alice", "the session that there is stays");
        }
    }

    mod slapd {
        use super::*;
        use crate::slapd::ldap::House;

        #[test]
        fn people_sign_in_with_the_password_of_the_directory_and_out_for_good() {
            let Some(house) = House::new() else { return };
            let house = house.searched_by_service();
            let endpoint = &house.site.dev.endpoint;
            let Some(browser) = Browser::start(std::str::from_utf8(&endpoint.ca_pem).unwrap()) else { return };
            let port = endpoint.authority().rsplit(':').next().unwrap().to_owned();
            browser.open(&format!("https://localhost:{port}/console/approvals"));
            let typed = |password: &str| {
                browser.fill("#user", "alice");
                browser.fill("#password", password);
                // The page that is left says the same as the one that comes, now and then.
                let _ = browser.run("document.body.dataset.left = 'yes'");
                browser.click("#directory button");
                browser.wait("return document.body !== null && document.body.dataset.left === undefined");
            };
            pictures(&browser, "directory");
            typed("wrong & 100%");
            browser.says("That sign-in was not accepted.");
            assert_eq!(reason(&house.site.api, "login.ldap"), "wrong-password");
            typed("alice knows this");
            came_by(&browser, "ad");
            assert_eq!(browser.text("#who"), "alice");
            let session = endpoint.with_token(&cookie(&browser, SESSION).unwrap()).api();
            assert_eq!(session.get("/v1/tokens/self").ok()["login"], "ad");
            sign_out(&browser);
            assert_eq!(session.get("/v1/tokens/self").status, 401);
            // Too many wrong ones: it says so.
            for _ in 0..5 {
                typed("wrong");
                browser.says("That sign-in was not accepted.");
            }
            typed("wrong");
            browser.says("Too many sign-ins failed.");
        }
    }
}
