//! Starting the two sides and preparing what they are asked.

use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::http::Target;
use crate::load::once;
use crate::process::Server;

/// Policies in force during the measurements, the shipped ones included (count).
const POLICIES: usize = 50;

/// A server and how to reach it.
pub(crate) struct Side {
    pub(crate) server: Server,
    pub(crate) target: Target,
}

/// The ceiling, in a process of its own.
pub(crate) async fn bare(directory: &Path) -> Result<Side, Failure> {
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or("a path that is not UTF-8")?;
    let place = directory.to_str().ok_or("a path that is not UTF-8")?;
    let mut server = Server::start(program, &["bare", place], directory)?;
    server.wait_for(&directory.join("address")).await?;
    let address = std::fs::read_to_string(directory.join("address"))?;
    let target = Target::new(&address, &directory.join("ca.pem"), None)?;
    Ok(Side { server, target })
}

/// What `keyreeve dev` leaves for clients.
#[derive(Deserialize)]
struct Profile {
    address: String,
    ca_file: PathBuf,
    token_file: PathBuf,
}

/// Keyreeve with everything on. Returns how long it took to get ready, too.
pub(crate) async fn keyreeve(program: &str, directory: &Path) -> Result<(Side, Duration), Failure> {
    let data = directory.join("data");
    let place = data.to_str().ok_or("a path that is not UTF-8")?;
    let port = free_port()?;
    let started = Instant::now();
    let arguments = ["dev", "--data-dir", place, "--listen", &format!("127.0.0.1:{port}")];
    let mut server = Server::start(program, &arguments, directory)?;
    let profile_file = data.join("client.toml");
    server.wait_for(&profile_file).await?;
    let profile: Profile = toml::from_str(&std::fs::read_to_string(&profile_file)?)?;
    let token = std::fs::read_to_string(data.join(&profile.token_file))?.trim().to_owned();
    let address = profile.address.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let target = Target::new(&address, &data.join(&profile.ca_file), Some(token))?;
    wait_ready(&mut server, &target).await?;
    Ok((Side { server, target }, started.elapsed()))
}

async fn wait_ready(server: &mut Server, target: &Target) -> Result<(), Failure> {
    let request = target.request("GET", "/readyz", "application/json", b"");
    let started = Instant::now();
    loop {
        if let Ok(mut connection) = target.connect().await
            && matches!(connection.fire(&request).await, Ok(200))
        {
            return Ok(());
        }
        server.wait_for(&server.directory.clone()).await?;
        if started.elapsed() > Duration::from_secs(60) {
            return Err("Keyreeve did not get ready within a minute".into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn free_port() -> Result<u16, Failure> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Adds policies until there are as many as measurements ask for.
pub(crate) async fn policies(target: &Target) -> Result<(), Failure> {
    let listed = target.call("GET", "/v1/policies?limit=1000", &Value::Null).await?;
    let there = listed["items"].as_array().map_or(0, Vec::len);
    for number in there..POLICIES {
        let text = format!(
            "permit (principal in Keyreeve::Role::\"team-{number}\", \
             action in Keyreeve::Action::\"encrypt-side\", resource) \
             when {{ resource.keyring == \"team-{number}\" && resource.classification <= 3 }};"
        );
        target.call("PUT", &format!("/v1/policies/team-{number}"), &json!({ "text": text })).await?;
    }
    Ok(())
}

/// Makes a key and returns its id.
pub(crate) async fn key(target: &Target, algorithm: &str, purpose: &str) -> Result<String, Failure> {
    let body = json!({ "keyring": "default", "algorithm": algorithm, "purpose": purpose });
    let made = target.call("POST", "/v1/keys", &body).await?;
    Ok(made["id"].as_str().ok_or("a key without an id")?.to_owned())
}

/// Makes many keys at once; returns keys made in a second.
pub(crate) async fn many_keys(target: &Target, count: usize) -> Result<f64, Failure> {
    let body = serde_json::to_vec(&json!({ "keyring": "default", "algorithm": "xaes-256-gcm" }))?;
    let request = target.request("POST", "/v1/keys", "application/json", &body);
    let took = once(target, Arc::new(vec![request; count]), 64).await?;
    Ok(count as f64 / took.as_secs_f64())
}

/// Ids of keys there are, at most so many.
pub(crate) async fn key_ids(target: &Target, count: usize) -> Result<Vec<String>, Failure> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    while ids.len() < count {
        let page = target.call("GET", &format!("/v1/keys?limit=1000{after}"), &Value::Null).await?;
        let items = page["items"].as_array().ok_or("a page without items")?;
        ids.extend(
            items
                .iter()
                .filter(|key| key["purpose"] == "encrypt")
                .filter_map(|key| key["id"].as_str().map(str::to_owned)),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    ids.truncate(count);
    Ok(ids)
}
