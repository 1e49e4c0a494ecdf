//! The steps of the tour, in order.

use keyreeve_client::{AuditFilter, ClientError, Context};
use keyreeve_crypto::{KeyAlgorithm, Message, SignatureScheme, verify_with_public_key};
use keyreeve_secret::SecretBytes;
use keyreeve_wire::access::{ExplainRequest, PutPrincipal};
use keyreeve_wire::cipher::CiphertextRequest;
use keyreeve_wire::keys::{CreateKey, ScheduleDestruction, SuspendKey};
use keyreeve_wire::names::{Algorithm, PrincipalKind, Purpose};
use keyreeve_wire::signing::{SignRequest, VerifyRequest};
use keyreeve_wire::{Base64, Ciphertext, Pairs, SecretBase64};

use super::tour::{Tour, must, wrong};
use crate::commands::audit::check_proof;
use crate::failure::Failure;

const LETTER: &str = "letter.txt";
const SEALED: &str = "letter.txt.krv";

/// The whole tour.
pub(super) async fn all(tour: &mut Tour<'_>) -> Result<(), Failure> {
    make_keys(tour).await?;
    encrypt_file(tour).await?;
    tamper(tour).await?;
    let small = encrypt_small(tour).await?;
    sign(tour).await?;
    rotate(tour, &small).await?;
    suspend(tour, &small).await?;
    destroy(tour, &small).await?;
    explain(tour).await?;
    audit(tour).await
}

async fn make_keys(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let (key, signer) = (tour.key.clone(), tour.signer.clone());
    let commands = [
        format!("keyreeve key create --alias {key}"),
        format!("keyreeve key create --alias {signer} --algorithm ec-p256 --purpose sign"),
    ];
    tour.step("Two keys", "Keys are made in the server and stay there; you work with their names.", &commands)?;
    let reason = "demonstration".to_owned();
    let new = CreateKey { aliases: vec![key], reason: reason.clone(), ..CreateKey::default() };
    let made = tour.client.create_key(&new).await?.value.summary;
    tour.result(&format!("{} is {}, {}, {}", made.aliases.join(" "), made.id, made.algorithm, made.state))?;
    let (algorithm, purpose) = (Some(Algorithm::EcP256), Some(Purpose::Sign));
    let new = CreateKey { aliases: vec![signer], algorithm, purpose, reason, ..CreateKey::default() };
    let made = tour.client.create_key(&new).await?.value.summary;
    tour.result(&format!("{} is {}, {}, {}", made.aliases.join(" "), made.id, made.algorithm, made.state))
}

fn letter() -> Vec<u8> {
    let lines = (1..=20_000).map(|number| format!("line {number} of a letter that only its reader should read\n"));
    lines.collect::<String>().into_bytes()
}

async fn encrypt_file(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let (path, sealed) = (tour.named(LETTER), tour.named(SEALED));
    let commands = [format!("keyreeve encrypt {} {}", tour.key, path), format!("keyreeve decrypt {} -o -", sealed)];
    let why = "The server gives a fresh data key; the file is encrypted here, with one request, whatever its size.";
    tour.step("A file, encrypted and decrypted", why, &commands)?;
    let plaintext = letter();
    tour.write(LETTER, &plaintext)?;
    let envelope = tour.client.new_envelope(&tour.key, &Context::new()).await?.value;
    let mut file = Vec::new();
    envelope.encrypt(&plaintext[..], &mut file, |_| ())?;
    tour.write(SEALED, &file)?;
    tour.result(&format!("{} bytes became {}", plaintext.len(), file.len()))?;
    let back = open(tour, &tour.read(SEALED)?).await?;
    must(back == plaintext, "the decrypted file is not the one that was encrypted")?;
    tour.result("decrypted: identical to the last byte")
}

async fn open(tour: &Tour<'_>, mut file: &[u8]) -> Result<Vec<u8>, ClientError> {
    let header = keyreeve_client::read_header(&mut file)?;
    let envelope = tour.client.open_envelope(header, None).await?.value;
    let mut plaintext = Vec::new();
    envelope.decrypt(file, &mut plaintext, |_| ())?;
    Ok(plaintext)
}

async fn tamper(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let why = "One bit is flipped in the middle of the file; then the file is cut short at the end.";
    tour.step("Tampering is noticed", why, &[format!("keyreeve decrypt {}", tour.named(SEALED))])?;
    let file = tour.read(SEALED)?;
    let mut altered = file.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for bad in [&altered[..], &file[..file.len() - 1000]] {
        match open(tour, bad).await {
            Err(error @ ClientError::Stream(_)) => tour.result(&format!("refused, as it must be: {error}"))?,
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(wrong("an altered file was decrypted")),
        }
    }
    Ok(())
}

fn context(user: &str) -> Context {
    Context::from([("user".to_owned(), user.to_owned())])
}

async fn encrypt_small(tour: &mut Tour<'_>) -> Result<Ciphertext, Failure> {
    let commands = [
        format!("printf 4711 | keyreeve encrypt {} --small --context user=42", tour.key),
        "echo kr1... | keyreeve decrypt --context user=42".to_owned(),
    ];
    let why = "A value for a database column becomes a short text. The context binds it to its row: in another it\n\
               does not open.";
    tour.step("A small value, bound to a context", why, &commands)?;
    let answer = tour.client.encrypt(&tour.key, SecretBytes::copy_from(b"4711"), &context("42")).await?;
    tour.result(&answer.value.to_string())?;
    let back = tour.client.decrypt(answer.value.clone(), &context("42")).await?.value;
    must(back.ct_eq(b"4711"), "the value came back altered")?;
    tour.result("with user=42 it decrypts to 4711")?;
    let outcome = tour.client.decrypt(answer.value.clone(), &context("43")).await;
    tour.refused(outcome, "decryption-failed")?;
    Ok(answer.value)
}

async fn sign(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let (letter, signature, public) = (tour.named(LETTER), tour.named("letter.sig"), tour.named("letter.pem"));
    let commands = [
        format!("keyreeve sign {} {} -o {}", tour.signer, letter, signature),
        format!("keyreeve key public {} -o {}", tour.signer, public),
        format!("openssl dgst -sha256 -verify {} -signature {} {}", public, signature, letter),
    ];
    let why = "Only the digest travels. Anybody verifies with the public key, without asking the server.";
    tour.step("A signature that other programs verify", why, &commands)?;
    let text = tour.read(LETTER)?;
    let digest = keyreeve_crypto::digest::sha256(&text);
    let message = || Some(SecretBase64(SecretBytes::copy_from(&digest)));
    let request = SignRequest { message: message(), prehashed: true, ..SignRequest::default() };
    let made = tour.client.sign(&tour.signer, &request).await?.value;
    let made = made.signature.ok_or_else(|| wrong("there is no signature in the answer"))?;
    let key = tour.client.public_key(&tour.signer, None).await?.value;
    tour.write("letter.sig", &made.0)?;
    tour.write("letter.pem", key.pem.as_bytes())?;
    let (algorithm, scheme) = (KeyAlgorithm::EcP256, SignatureScheme::EcdsaSha256);
    let here = |text: &[u8]| verify_with_public_key(algorithm, &key.der.0, scheme, Message::Raw(text), &made.0).is_ok();
    must(here(&text), "the signature does not verify with the public key")?;
    tour.result(&format!("verified on this machine with the public key: {} bytes", made.0.len()))?;
    must(!here(b"another letter"), "the signature fits another letter")?;
    let forged = Some(SecretBase64(SecretBytes::copy_from(&keyreeve_crypto::digest::sha256(b"another letter"))));
    let signature = Some(Base64(made.0.clone()));
    let request = VerifyRequest { message: forged, signature, prehashed: true, ..VerifyRequest::default() };
    let verdict = tour.client.verify(&tour.signer, &request).await?.value;
    must(verdict.valid == Some(false), "the server takes the signature for that of another letter")?;
    tour.result("for another letter the server says: NOT valid")
}

async fn rotate(tour: &mut Tour<'_>, small: &Ciphertext) -> Result<(), Failure> {
    let commands = [
        format!("keyreeve key rotate {} --reason demonstration", tour.key),
        "echo kr1... | keyreeve rewrap --context user=42".to_owned(),
    ];
    let why =
        "A new version protects from now on; what older versions protected still opens, and can be brought along.";
    tour.step("Rotation", why, &commands)?;
    let key = tour.client.rotate_key(&tour.key, "demonstration").await?.value.summary;
    tour.result(&format!("version {} of {} protects now", key.primary_version, key.version_count))?;
    let back = tour.client.decrypt(small.clone(), &context("42")).await?.value;
    must(back.ct_eq(b"4711"), "an old ciphertext no longer opens")?;
    open(tour, &tour.read(SEALED)?).await?;
    tour.result("the old value and the old file still decrypt")?;
    let pairs = Pairs(context("42"));
    let request = CiphertextRequest { ciphertext: Some(small.clone()), context: pairs, ..CiphertextRequest::default() };
    let moved = tour.client.rewrap(&request).await?.value;
    must(moved.version == key.primary_version, "rewrapping did not reach the newest version")?;
    tour.result(&format!("rewrapped inside of the server: the value is under version {} now", moved.version))
}

async fn suspend(tour: &mut Tour<'_>, small: &Ciphertext) -> Result<(), Failure> {
    let commands = [
        format!("keyreeve key suspend {} --reason 'a suspicion'", tour.key),
        format!("keyreeve key activate {} --reason 'all clear'", tour.key),
    ];
    tour.step(
        "A suspended key does nothing",
        "One command stops all use of a key, another allows it again.",
        &commands,
    )?;
    let suspend = SuspendKey { risk_accepted: false, reason: "a suspicion".to_owned() };
    let key = tour.client.suspend_key(&tour.key, &suspend).await?.value.summary;
    tour.result(&format!("{} is {}", tour.key, key.state))?;
    let outcome = tour.client.decrypt(small.clone(), &context("42")).await;
    tour.refused(outcome, "wrong-state")?;
    let key = tour.client.activate_key(&tour.key, "all clear").await?.value.summary;
    tour.client.decrypt(small.clone(), &context("42")).await?;
    tour.result(&format!("{} is {} again, and decrypts", tour.key, key.state))
}

async fn destroy(tour: &mut Tour<'_>, small: &Ciphertext) -> Result<(), Failure> {
    let commands = [
        format!("keyreeve key destroy schedule {} --days 7 --reason demonstration", tour.key),
        format!("keyreeve key destroy cancel {}", tour.key),
    ];
    let why = "Destruction waits 7 to 30 days, in which the key is out of use and can still be saved. Afterwards no\n\
               backup brings it back.";
    tour.step("Destruction, scheduled and cancelled", why, &commands)?;
    let schedule = ScheduleDestruction { days: Some(7), reason: "demonstration".to_owned() };
    let key = tour.client.schedule_destruction(&tour.key, &schedule).await?.value.summary;
    let due = key.destruction.ok_or_else(|| wrong("no destruction was scheduled"))?.due;
    tour.result(&format!("it would be destroyed on {due}"))?;
    let outcome = tour.client.decrypt(small.clone(), &context("42")).await;
    tour.refused(outcome, "wrong-state")?;
    tour.client.cancel_destruction(&tour.key, "demonstration").await?;
    tour.client.decrypt(small.clone(), &context("42")).await?;
    tour.result("saved: it decrypts again")
}

async fn explain(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let guest = format!("demo-guest-{}", tour.key.rsplit('-').next().unwrap_or_default());
    let (me, key) = (tour.principal.clone(), tour.key.clone());
    let commands = [
        format!("keyreeve principal put {guest} --role key-auditor"),
        format!("keyreeve policy explain {me} key.decrypt {key}"),
        format!("keyreeve policy explain {guest} key.decrypt {key}"),
    ];
    let why =
        "Nothing is allowed that no policy permits; the server says which statement decides, and what is missing.";
    tour.step("Who may, and why", why, &commands)?;
    let put = PutPrincipal {
        kind: PrincipalKind::Service,
        roles: vec!["key-auditor".to_owned()],
        labels: Pairs::default(),
        networks: Vec::new(),
        certificates: Vec::new(),
        disabled: false,
        person: None,
    };
    tour.client.put_principal(&guest, &put).await?;
    for (principal, expected) in [(me, true), (guest.clone(), false)] {
        let request = ExplainRequest {
            principal,
            action: "key.decrypt".to_owned(),
            resource: Some(key.clone()),
            context: Pairs(context("42")),
            ..ExplainRequest::default()
        };
        let answer = tour.client.explain_policy(&request).await?.value;
        must(answer.allowed == expected, &format!("the policies decide wrongly for {}", request.principal))?;
        tour.result(&answer.answer)?;
    }
    tour.client.delete_principal(&guest).await?;
    Ok(())
}

async fn audit(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let id = tour.client.key(&tour.key).await?.value.summary.id;
    let commands = [
        format!("keyreeve audit search --resource {id}"),
        "keyreeve audit prove RECORD".to_owned(),
        "keyreeve audit verify --remote".to_owned(),
    ];
    let why = "Each operation left a record before its answer was given, refusals included. A proof shows that\n\
               a record is in the log, and is checked on this machine with the log's public key alone.";
    tour.step("Everything was recorded, and that is proved", why, &commands)?;
    let filter = AuditFilter { resource: Some(id), ..AuditFilter::default() };
    let records = tour.client.search_audit(&filter, None, Some(200)).await?.value.items;
    let refusals = records.iter().filter(|record| record.code.is_some()).count();
    must(!records.is_empty() && refusals > 0, "operations of this tour are missing in the audit log")?;
    tour.result(&format!("{} records about {}, {refusals} of them refusals", records.len(), tour.key))?;
    let Some(record) = records.iter().find(|record| record.code.is_some()) else { return Ok(()) };
    tour.result(&format!(
        "{} {} {} {} {}",
        record.time, record.principal, record.operation, record.outcome, record.id
    ))?;
    let proof = tour.client.prove_audit(&record.id).await?.value;
    let checkpoint = check_proof(&proof, &tour.profile.log_vkeys, &record.id)?;
    let whose = if tour.profile.log_vkeys.is_empty() { "the key the server names" } else { "the key in your profile" };
    tour.result(&format!("proved with {whose}: entry {} of {} in {}", proof.index, checkpoint.size, checkpoint.origin))
}
