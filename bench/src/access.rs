//! What policies and principals cost: the same requests with the shipped policies, and with many more of both.

use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::http::Target;
use crate::load::{Measured, Shape, load, once};
use crate::report::{Row, Target as Goal};
use crate::setup::{Side, key, keyreeve};

/// Policies besides the shipped ones (count).
const POLICIES: usize = 500;
/// Principals besides the callers (count).
const PRINCIPALS: usize = 10_000;
/// Those who call (count).
const CALLERS: usize = 64;
/// Alterations of a principal that are timed (count).
const ALTERATIONS: usize = 41;
const ROUNDS: usize = 3;

/// Both sides in turn.
pub(crate) async fn compare(program: &str, place: &Path, shape: Shape) -> Result<Vec<Row>, Failure> {
    let (few_place, many_place) = (place.join("few"), place.join("many"));
    std::fs::create_dir_all(&few_place)?;
    std::fs::create_dir_all(&many_place)?;
    let (few, _) = keyreeve(program, &few_place).await?;
    let (many, _) = keyreeve(program, &many_place).await?;
    let few_requests = callers(&few.target).await?;
    let many_requests = callers(&many.target).await?;
    policies(&many.target).await?;
    principals(&many.target).await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let low = load(&few.target, few.server.pid(), Arc::clone(&few_requests), shape).await?;
        let high = load(&many.target, many.server.pid(), Arc::clone(&many_requests), shape).await?;
        rounds.push((low, high));
    }
    let (few_alters, many_alters) = (alteration(&few).await?, alteration(&many).await?);
    let mut rows = encrypted(&rounds);
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    rows.push(Row {
        what: format!("altering one principal of {PRINCIPALS}: ms more than of {CALLERS}"),
        figures: format!("{:.1} ms / {:.1} ms", millis(many_alters), millis(few_alters)),
        ratio: millis(many_alters) - millis(few_alters),
        target: Goal::AtMost(5.0),
    });
    few.server.stop()?;
    many.server.stop()?;
    Ok(rows)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn encrypted(rounds: &[(Measured, Measured)]) -> Vec<Row> {
    let of = |figure: fn(&(Measured, Measured)) -> f64| median(rounds.iter().map(figure).collect());
    let name = format!("encrypt 1 KiB, {CALLERS} callers, {POLICIES} policies and {PRINCIPALS} principals / few");
    vec![
        Row {
            what: format!("{name}: throughput"),
            figures: format!("{:.0}/s / {:.0}/s", of(|r| r.1.per_second), of(|r| r.0.per_second)),
            ratio: of(|(few, many)| many.per_second / few.per_second),
            target: Goal::AtLeast(0.9),
        },
        Row {
            what: format!("{name}: server CPU"),
            figures: format!("{:.1} µs / {:.1} µs", of(|r| r.1.cpu_us), of(|r| r.0.cpu_us)),
            ratio: of(|(few, many)| many.cpu_us / few.cpu_us),
            target: Goal::AtMost(1.1),
        },
    ]
}

fn prepared(target: &Target, method: &str, path: &str, body: &Value) -> Result<Vec<u8>, Failure> {
    Ok(target.request(method, path, "application/json", &serde_json::to_vec(body)?))
}

fn service(target: &Target, name: &str, roles: &[&str]) -> Result<Vec<u8>, Failure> {
    let body = json!({ "kind": "service", "roles": roles, "networks": ["127.0.0.0/8", "::1/128"] });
    prepared(target, "PUT", &format!("/v1/principals/{name}"), &body)
}

/// A request to encrypt under one key from each of the callers.
async fn callers(target: &Target) -> Result<Arc<Vec<Vec<u8>>>, Failure> {
    let id = key(target, "xaes-256-gcm", "encrypt").await?;
    let body = json!({ "plaintext": base64_simd::STANDARD.encode_to_string([7; 1024]) });
    let mut requests = Vec::new();
    for number in 0..CALLERS {
        let name = format!("caller-{number}");
        once(target, Arc::new(vec![service(target, &name, &["key-user-encrypt"])?]), 1).await?;
        let issued = target.call("POST", "/v1/tokens", &json!({ "principal": name })).await?;
        let token = issued["token"].as_str().ok_or("a token without its text")?.to_owned();
        let mut caller = target.clone();
        caller.token = Some(token);
        requests.push(prepared(&caller, "POST", &format!("/v1/keys/{id}/encrypt"), &body)?);
    }
    Ok(Arc::new(requests))
}

/// Many policies, all of them about the action that is measured.
async fn policies(target: &Target) -> Result<(), Failure> {
    let policy = |number: usize| {
        let text = format!(
            "permit (principal in Keyreeve::Role::\"team-{number}\", \
             action in Keyreeve::Action::\"encrypt-side\", resource) \
             when {{ resource.keyring == \"team-{number}\" && resource.classification <= 3 }};"
        );
        (format!("team-{number}"), Value::from(text))
    };
    let policies: serde_json::Map<String, Value> = (0..POLICIES).map(policy).collect();
    target.call("POST", "/v1/policy-versions", &json!({ "policies": policies })).await?;
    Ok(())
}

async fn principals(target: &Target) -> Result<(), Failure> {
    let role = |number: usize| format!("team-{}", number % POLICIES);
    let made = (0..PRINCIPALS).map(|number| service(target, &format!("service-{number}"), &[&role(number)]));
    let requests: Vec<Vec<u8>> = made.collect::<Result<_, _>>()?;
    let took = once(target, Arc::new(requests), CALLERS).await?;
    println!("principals made: {:.0}/s", PRINCIPALS as f64 / took.as_secs_f64());
    Ok(())
}

/// How long it takes to alter a principal, until the answer is there: it is then in force.
async fn alteration(side: &Side) -> Result<Duration, Failure> {
    let mut connection = side.target.connect().await?;
    let mut times = Vec::new();
    for number in 0..ALTERATIONS {
        let roles: &[&str] = if number % 2 == 0 { &["key-user-encrypt", "team-1"] } else { &["key-user-encrypt"] };
        let request = service(&side.target, "caller-0", roles)?;
        let started = Instant::now();
        let status = connection.fire(&request).await?;
        times.push(started.elapsed());
        if !(200..300).contains(&status) {
            return Err(format!("altering a principal: {status}").into());
        }
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().ok_or_else(|| "nothing was timed".into())
}
