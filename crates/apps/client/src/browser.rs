//! Logging in with a browser on this machine: the provider sends it back to a listener of this program's (RFC 8252,
//! section 7.3).

use keyreeve_secret::SecretString;
use keyreeve_wire::SecretText;
use keyreeve_wire::login::{FinishOidc, LoggedIn, StartOidc, StartedOidc};
use reqwest::Url;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

/// Where the browser is sent back to, below the listener's address, before the name of the method: what comes back
/// elsewhere was answered by another provider, and is shown to none (RFC 9700, section 4.4.2.2).
const CALLBACK: &str = "/callback/";
/// The longest head of a request that is read, in bytes.
const HEAD_MAX: u64 = 16 * 1024;

/// A login that waits for a browser.
#[derive(Debug)]
pub struct BrowserLogin {
    listener: TcpListener,
    method: String,
    started: StartedOidc,
}

/// What the browser brings back.
struct Callback {
    code: SecretText,
    state: SecretText,
    iss: Option<String>,
}

/// What tells the answer to this login from all others.
#[derive(Clone, Debug)]
struct Awaited {
    method: String,
    state: Option<String>,
}

impl Client {
    /// Begins a login at an OpenID provider, and listens on this machine for the browser that comes back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn begin_browser_login(&self, method: &str) -> Result<BrowserLogin, ClientError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.map_err(|error| cannot_listen(&error))?;
        let port = listener.local_addr().map_err(|error| cannot_listen(&error))?.port();
        let start = StartOidc { redirect_uri: format!("http://127.0.0.1:{port}{CALLBACK}{method}") };
        let started = self.start_oidc(method, &start).await?.value;
        Ok(BrowserLogin { listener, method: method.to_owned(), started })
    }
}

impl BrowserLogin {
    /// Where the browser goes.
    #[must_use]
    pub fn authorization_url(&self) -> &str {
        &self.started.authorization_url
    }

    /// Waits for the browser to come back, and finishes the login.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Setup`] when the provider refused.
    pub async fn wait(self, client: &Client) -> Result<Answer<LoggedIn>, ClientError> {
        let awaited = self.awaited();
        // Browsers ask for more than they were sent to, and open connections that they do not use.
        let mut open = JoinSet::new();
        let callback = loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted.map_err(|error| cannot_listen(&error))?;
                    open.spawn(answered(stream, awaited.clone()));
                }
                ended = open.join_next(), if !open.is_empty() => {
                    if let Some(Ok(Some(callback))) = ended {
                        break callback?;
                    }
                }
            }
        };
        self.finish(client, callback).await
    }

    /// Finishes the login with the address at which a browser elsewhere ended.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Setup`] when the address is not one of a login, or the provider refused.
    pub async fn finish_with(self, client: &Client, address: &str) -> Result<Answer<LoggedIn>, ClientError> {
        let callback = address.trim().parse().ok().and_then(|url: Url| read(&url, &self.awaited()));
        let none = || ClientError::Setup("this is not the address at which a login ends: it has no `code`".to_owned());
        self.finish(client, callback.ok_or_else(none)??).await
    }

    fn awaited(&self) -> Awaited {
        let url: Option<Url> = self.started.authorization_url.parse().ok();
        let state = url.as_ref().and_then(|url| url.query_pairs().find(|(name, _)| name == "state"));
        Awaited { method: self.method.clone(), state: state.map(|(_, value)| value.into_owned()) }
    }

    async fn finish(self, client: &Client, callback: Callback) -> Result<Answer<LoggedIn>, ClientError> {
        let Callback { code, state, iss } = callback;
        let StartedOidc { attempt, starter, .. } = self.started;
        client.finish_oidc(&self.method, &FinishOidc { attempt, starter, state, code, iss }).await
    }
}

fn cannot_listen(error: &std::io::Error) -> ClientError {
    ClientError::Setup(format!("cannot listen on 127.0.0.1 for the browser: {error}"))
}

/// Reads one request and answers it; what it brought, if it is the one that is waited for.
async fn answered(stream: TcpStream, awaited: Awaited) -> Option<Result<Callback, ClientError>> {
    let mut stream = BufReader::new(stream);
    let url = requested(&mut stream).await?;
    let callback = read(&url, &awaited);
    let (status, text) = match &callback {
        Some(Ok(_)) => ("200 OK", "Keyreeve has what it needs. This window can be closed."),
        Some(Err(_)) => ("200 OK", "The login was refused. The terminal tells more."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\
         \r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    // A browser that does not listen any more has still brought what it had.
    let _ = stream.get_mut().write_all(answer.as_bytes()).await;
    let _ = stream.get_mut().shutdown().await;
    callback
}

/// The address a request asks for. Nothing when it is no request, or for somebody else: a page anywhere may make a
/// browser send requests here, under whatever name its author gave to this machine.
async fn requested(stream: &mut BufReader<TcpStream>) -> Option<Url> {
    let port = stream.get_ref().local_addr().ok()?.port();
    let here = format!("127.0.0.1:{port}");
    let mut lines = (&mut *stream).take(HEAD_MAX).lines();
    let first = lines.next_line().await.ok()??;
    let path = first.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")?.to_owned();
    let mut meant = false;
    loop {
        let line = lines.next_line().await.ok()??;
        if line.is_empty() {
            break;
        }
        let host = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("host"));
        meant |= host.is_some_and(|(_, value)| value.trim() == here);
    }
    if !meant {
        return None;
    }
    format!("http://{here}{path}").parse().ok()
}

/// What stands in the query of a callback (RFC 6749, sections 4.1.2 and 4.1.2.1); nothing for other addresses, and for
/// answers to somebody else's login: a page anywhere may send a browser here.
fn read(url: &Url, awaited: &Awaited) -> Option<Result<Callback, ClientError>> {
    if url.path().strip_prefix(CALLBACK) != Some(awaited.method.as_str()) {
        return None;
    }
    let field = |wanted: &str| url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned());
    let answered = field("state").filter(|answered| Some(answered) == awaited.state.as_ref())?;
    if let Some(error) = field("error") {
        let known: String = error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        return Some(Err(ClientError::Setup(format!("the provider refused the login: {known}"))));
    }
    let secret = |text: String| SecretText(SecretString::from(text));
    Some(Ok(Callback { code: secret(field("code")?), state: secret(answered), iss: field("iss") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaited(state: &str) -> Awaited {
        Awaited { method: "corp/eu:1".to_owned(), state: Some(state.to_owned()) }
    }

    fn callback(url: &str) -> Option<Result<Callback, ClientError>> {
        read(&url.parse().unwrap(), &awaited("s"))
    }

    #[test]
    fn the_query_is_decoded() {
        let url = "http://127.0.0.1:1/callback/corp/eu:1?code=a%2Bb+c&state=s&iss=https%3A%2F%2Fid.example";
        let found = callback(url).unwrap().unwrap();
        assert_eq!((found.code.expose(), found.state.expose()), ("a+b c", "s"));
        assert_eq!(found.iss.as_deref(), Some("https://id.example"));
    }

    #[test]
    fn a_refusal_is_told_in_its_code_only() {
        let url = "http://127.0.0.1:1/callback/corp/eu:1?error=access_denied%1b[2J&error_description=x&state=s";
        let refused = callback(url).unwrap().err().unwrap();
        assert!(refused.to_string().contains("access_denied2J"), "{refused}");
    }

    #[test]
    fn other_addresses_are_none() {
        for url in [
            "http://127.0.0.1:1/favicon.ico",
            "http://127.0.0.1:1/callback/corp/eu:1",
            "http://127.0.0.1:1/callback/corp/eu:1?code=a",
            "http://127.0.0.1:1/callback/corp/eu:1?code=a&state=t",
            // What another provider answered.
            "http://127.0.0.1:1/callback/corp?code=a&state=s",
            "http://127.0.0.1:1/callback?code=a&state=s",
        ] {
            assert!(callback(url).is_none(), "{url}");
        }
    }

    async fn asks(request: &str) -> (bool, String) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let request = request.replace("PORT", &address.port().to_string());
        let asking = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            answer
        };
        let (found, answer) =
            tokio::join!(async { answered(listener.accept().await.unwrap().0, awaited("b")).await }, asking);
        (found.is_some_and(|found| found.is_ok()), answer)
    }

    #[tokio::test]
    async fn only_what_names_this_listener_is_listened_to() {
        let (found, answer) =
            asks("GET /callback/corp/eu:1?code=a&state=b HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n").await;
        assert!(found && answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        for request in [
            "GET /callback/corp/eu:1?code=a&state=b HTTP/1.1\r\nHost: evil.example:PORT\r\n\r\n",
            "POST /callback/corp/eu:1?code=a&state=b HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n",
            "GET /other?code=a&state=b HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(!asks(request).await.0, "{request}");
        }
    }
}
