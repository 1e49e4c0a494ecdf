//! The comparisons, each alternating between its two sides.

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

use crate::http::Target;
use crate::load::{Measured, Shape, load};
use crate::process::resident_mib;
use crate::report::{Row, Target as Goal, print};
use crate::setup::{Side, bare, key, key_ids, keyreeve, many_keys, policies};
use crate::{Failure, access, raw};

/// Rounds of each comparison; the median counts.
const ROUNDS: usize = 3;
const SHAPE: Shape =
    Shape { connections: 64, warm_up: Duration::from_millis(700), measured: Duration::from_millis(3000) };

/// What the caller chose.
#[derive(Default)]
pub(crate) struct Options {
    /// Also the comparisons that take many minutes.
    pub(crate) long: bool,
    /// Only the comparisons whose name starts so.
    pub(crate) only: Option<String>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.starts_with(only))
    }
}

/// Runs everything and prints the table.
pub(crate) fn run(program: &str, options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rows = runtime.block_on(async {
        let place = tempfile::tempdir()?;
        let (low, high) = (place.path().join("bare"), place.path().join("keyreeve"));
        std::fs::create_dir_all(&low)?;
        std::fs::create_dir_all(&high)?;
        let ceiling = bare(&low).await?;
        let (ours, _) = keyreeve(program, &high).await?;
        policies(&ours.target).await?;
        let mut rows = Vec::new();
        if options.wants("encrypt") {
            rows.extend(encrypt(&ceiling, &ours).await?);
        }
        if options.wants("decrypt") {
            rows.extend(decrypt(&ceiling, &ours).await?);
        }
        if options.wants("sign") {
            rows.extend(sign(&ceiling, &ours).await?);
        }
        if options.wants("batch") {
            rows.extend(batch(&ceiling, &ours).await?);
        }
        if options.wants("octets") {
            rows.push(octets(&ceiling, &ours).await?);
        }
        drop(ceiling);
        if options.wants("access") {
            rows.extend(access::compare(program, place.path(), SHAPE).await?);
        }
        if options.wants("scale") {
            rows.extend(scale(program, ours, &high, options.long).await?);
        }
        Ok::<_, Failure>(rows)
    })?;
    print(&rows);
    Ok(())
}

fn post(target: &Target, path: &str, body: &Value) -> Result<Arc<Vec<Vec<u8>>>, Failure> {
    Ok(Arc::new(vec![target.request("POST", path, "application/json", &serde_json::to_vec(body)?)]))
}

fn kibibyte() -> String {
    base64_simd::STANDARD.encode_to_string([7; 1024])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Both sides in turn; returns the measurements of each round.
async fn alternate(
    ceiling: (&Side, Arc<Vec<Vec<u8>>>),
    ours: (&Side, Arc<Vec<Vec<u8>>>),
    shape: Shape,
) -> Result<Vec<(Measured, Measured)>, Failure> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let low = load(&ceiling.0.target, ceiling.0.server.pid(), Arc::clone(&ceiling.1), shape).await?;
        let high = load(&ours.0.target, ours.0.server.pid(), Arc::clone(&ours.1), shape).await?;
        rounds.push((low, high));
    }
    Ok(rounds)
}

fn compared(name: &str, rounds: &[(Measured, Measured)]) -> Vec<Row> {
    let cpu =
        |side: fn(&(Measured, Measured)) -> Measured| median(rounds.iter().map(|round| side(round).cpu_us).collect());
    let rate = |side: fn(&(Measured, Measured)) -> Measured| {
        median(rounds.iter().map(|round| side(round).per_second).collect())
    };
    let low: fn(&(Measured, Measured)) -> Measured = |round| round.0;
    let high: fn(&(Measured, Measured)) -> Measured = |round| round.1;
    let last = rounds.last().map(|round| round.1);
    let latency = last.map(|m| format!("; p50 {:.0} µs, p99 {:.0} µs", m.p50_us, m.p99_us)).unwrap_or_default();
    vec![
        Row {
            what: format!("{name}: server CPU, Keyreeve / bare"),
            figures: format!("{:.1} µs / {:.1} µs", cpu(high), cpu(low)),
            ratio: median(rounds.iter().map(|(low, high)| high.cpu_us / low.cpu_us).collect()),
            target: Goal::AtMost(1.6),
        },
        Row {
            what: format!("{name}: throughput, Keyreeve / bare"),
            figures: format!("{:.0}/s / {:.0}/s{latency}", rate(high), rate(low)),
            ratio: median(rounds.iter().map(|(low, high)| high.per_second / low.per_second).collect()),
            target: Goal::AtLeast(0.6),
        },
    ]
}

async fn encrypt(ceiling: &Side, ours: &Side) -> Result<Vec<Row>, Failure> {
    let body = json!({ "plaintext": kibibyte() });
    let id = key(&ours.target, "xaes-256-gcm", "encrypt").await?;
    let theirs = post(&ceiling.target, "/encrypt", &body)?;
    let mine = post(&ours.target, &format!("/v1/keys/{id}/encrypt"), &body)?;
    Ok(compared("encrypt 1 KiB, 50 policies", &alternate((ceiling, theirs), (ours, mine), SHAPE).await?))
}

async fn decrypt(ceiling: &Side, ours: &Side) -> Result<Vec<Row>, Failure> {
    let body = json!({ "plaintext": kibibyte() });
    let id = key(&ours.target, "xaes-256-gcm", "encrypt").await?;
    let low = ceiling.target.call("POST", "/encrypt", &body).await?;
    let high = ours.target.call("POST", &format!("/v1/keys/{id}/encrypt"), &body).await?;
    let theirs = post(&ceiling.target, "/decrypt", &json!({ "ciphertext": low["ciphertext"] }))?;
    let mine = post(&ours.target, &format!("/v1/keys/{id}/decrypt"), &json!({ "ciphertext": high["ciphertext"] }))?;
    Ok(compared("decrypt 1 KiB, 50 policies", &alternate((ceiling, theirs), (ours, mine), SHAPE).await?))
}

async fn sign(ceiling: &Side, ours: &Side) -> Result<Vec<Row>, Failure> {
    let id = key(&ours.target, "ec-p256", "sign").await?;
    let body = json!({ "message": base64_simd::STANDARD.encode_to_string([7; 32]) });
    let theirs = post(&ceiling.target, "/sign", &body)?;
    let mine = post(&ours.target, &format!("/v1/keys/{id}/sign"), &body)?;
    let alone = raw::sign()?;
    let rounds = alternate((ceiling, theirs), (ours, mine), SHAPE).await?;
    Ok(per_core("sign P-256", 1.0, alone, &rounds))
}

async fn batch(ceiling: &Side, ours: &Side) -> Result<Vec<Row>, Failure> {
    const ITEMS: usize = 1000;
    let id = key(&ours.target, "xaes-256-gcm", "encrypt").await?;
    let items: Vec<Value> = (0..ITEMS).map(|_| json!({ "plaintext": kibibyte() })).collect();
    let theirs = post(&ceiling.target, "/batch", &json!({ "items": &items }))?;
    let mine = post(&ours.target, &format!("/v1/keys/{id}/encrypt"), &json!({ "items": items }))?;
    let alone = raw::encrypt(1024)?;
    let rounds = alternate((ceiling, theirs), (ours, mine), Shape { connections: 4, ..SHAPE }).await?;
    Ok(per_core("encrypt batches of 1,000 × 1 KiB", ITEMS as f64, alone, &rounds))
}

/// What a core does in a second: beside raw calls, and the same of the bare server, which shows what TLS and JSON take.
fn per_core(name: &str, items: f64, alone: f64, rounds: &[(Measured, Measured)]) -> Vec<Row> {
    let rate = |side: fn(&(Measured, Measured)) -> Measured| {
        items * 1e6 / median(rounds.iter().map(|round| side(round).cpu_us).collect())
    };
    let (low, high) = (rate(|round| round.0), rate(|round| round.1));
    let row = |who: &str, rate: f64, target| Row {
        what: format!("{name}: {who} / raw calls, per core"),
        figures: format!("{rate:.0}/s of server CPU / {alone:.0}/s"),
        ratio: rate / alone,
        target,
    };
    vec![row("Keyreeve", high, Goal::AtLeast(0.5)), row("bare server", low, Goal::Shown)]
}

async fn octets(ceiling: &Side, ours: &Side) -> Result<Row, Failure> {
    let body = vec![7; 1024 * 1024];
    let id = key(&ours.target, "xaes-256-gcm", "encrypt").await?;
    let kind = "application/octet-stream";
    let theirs = Arc::new(vec![ceiling.target.request("POST", "/octets", kind, &body)]);
    let mine = Arc::new(vec![ours.target.request("POST", &format!("/v1/keys/{id}/encrypt"), kind, &body)]);
    let shape = Shape { connections: 4, ..SHAPE };
    let rounds = alternate((ceiling, theirs), (ours, mine), shape).await?;
    let last = rounds.last().ok_or("no rounds")?;
    Ok(Row {
        what: "encrypt 1 MiB as octet stream: Keyreeve / (AEAD plus TLS), per core".to_owned(),
        figures: format!("{:.0} µs / {:.0} µs of server CPU", last.1.cpu_us, last.0.cpu_us),
        ratio: median(rounds.iter().map(|(low, high)| low.cpu_us / high.cpu_us).collect()),
        target: Goal::AtLeast(0.6),
    })
}

/// Memory, start-up and cost per operation as keys grow in number.
async fn scale(program: &str, ours: Side, place: &std::path::Path, long: bool) -> Result<Vec<Row>, Failure> {
    let many: usize = if long { 1_000_000 } else { 100_000 };
    let mut rows = Vec::new();
    let target = ours.target.clone();
    many_keys(&target, 1000).await?;
    let few_cost = spread(&ours, 1000, SHAPE).await?;
    let rate = many_keys(&target, 100_000 - 1000).await?;
    println!("keys made: {rate:.0}/s");
    let million = Shape { measured: Duration::from_secs(40), ..SHAPE };
    let hundred = spread(&ours, 100_000, million).await?;
    let operations = hundred.per_second * 40.0;
    rows.push(Row {
        what: "resident memory with 100,000 keys after the load (MiB)".to_owned(),
        figures: format!("{operations:.0} operations at {:.0}/s", hundred.per_second),
        ratio: resident_mib(ours.server.pid())?,
        target: Goal::AtMost(100.0),
    });
    let many_cost = if many > 100_000 {
        many_keys(&target, many - 100_000).await?;
        spread(&ours, many, SHAPE).await?
    } else {
        hundred
    };
    let used = spread(&ours, 1000, SHAPE).await?;
    rows.push(Row {
        what: format!("encrypt, 1,000 keys in use of {many} / of 1,000, server CPU"),
        figures: format!("{:.1} µs / {:.1} µs", used.cpu_us, few_cost.cpu_us),
        ratio: used.cpu_us / few_cost.cpu_us,
        target: Goal::AtMost(1.3),
    });
    rows.push(Row {
        what: format!("encrypt, each of {many} keys in turn / 1,000 keys in turn, server CPU"),
        figures: format!("{:.1} µs / {:.1} µs", many_cost.cpu_us, few_cost.cpu_us),
        ratio: many_cost.cpu_us / few_cost.cpu_us,
        target: Goal::AtMost(1.3),
    });
    ours.server.stop()?;
    std::fs::remove_file(place.join("data/client.toml"))?;
    let (again, ready) = keyreeve(program, place).await?;
    rows.push(Row {
        what: format!("ready after a restart with {many} keys (ms)"),
        figures: String::new(),
        ratio: ready.as_secs_f64() * 1000.0,
        target: Goal::AtMost(300.0),
    });
    again.server.stop()?;
    Ok(rows)
}

/// Encrypts 1 KiB under each of so many keys in turn.
async fn spread(ours: &Side, keys: usize, shape: Shape) -> Result<Measured, Failure> {
    let body = serde_json::to_vec(&json!({ "plaintext": kibibyte() }))?;
    let ids = key_ids(&ours.target, keys).await?;
    let request =
        |id: &String| ours.target.request("POST", &format!("/v1/keys/{id}/encrypt"), "application/json", &body);
    load(&ours.target, ours.server.pid(), Arc::new(ids.iter().map(request).collect()), shape).await
}
