'use strict';
// The console's second factors. Who is asking, the browser knows by a cookie that no script sees. Text from the server
// becomes text on the page, never markup.

const part = (id) => document.getElementById(id);
const show = (id, yes) => { part(id).hidden = !yes; };

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));

function say(id, words) {
  part(id).textContent = words;
  show(id, words !== '');
  if (words !== '') part(id).scrollIntoView({ block: 'nearest' });
}

class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? 'the server did not answer as it should');
    this.status = status;
    this.code = problem.code;
  }
}

async function ask(method, path, body) {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  const answer = await fetch(`/console/api/v1${path}`, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body), redirect: 'error',
  });
  const said = await answer.text();
  const value = said === '' ? {} : JSON.parse(said);
  if (!answer.ok) throw new Refused(answer.status, value);
  return value;
}

const KINDS = { totp: 'One-time codes', webauthn: 'Security key or passkey', recovery: 'Recovery codes', provider: 'Your identity provider' };

function since(seconds) {
  if (seconds < 60) return 'less than a minute ago';
  if (seconds < 3600) return `${Math.floor(seconds / 60)} minutes ago`;
  return `${Math.floor(seconds / 3600)} hours ago`;
}

function factorRow(factor) {
  const row = document.createElement('li');
  const name = document.createElement('strong');
  name.textContent = factor.label === '' ? KINDS[factor.kind] : factor.label;
  const about = document.createElement('small');
  const used = factor.last_used ? `last used ${new Date(factor.last_used).toLocaleString()}` : 'never used';
  const left = factor.codes_left === undefined ? '' : `, ${factor.codes_left} left`;
  const copied = factor.backed_up ? ', copied to other devices' : '';
  const state = factor.usable ? used : 'not confirmed';
  about.textContent = `${KINDS[factor.kind]}, ${state}${left}${copied}`;
  const remove = document.createElement('button');
  remove.textContent = 'Remove';
  remove.className = 'quiet';
  remove.addEventListener('click', () => attempt(async () => {
    await ask('DELETE', `/mfa/${encodeURIComponent(factor.id)}`);
    say('done', 'It was removed.');
  }));
  const what = document.createElement('div');
  what.append(name, about);
  row.append(what, remove);
  return row;
}

async function refresh() {
  let person;
  try {
    person = await ask('GET', '/tokens/self');
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 401) throw error;
    for (const id of ['person', 'show', 'factors', 'enrol']) show(id, false);
    show('sign-in', true);
    if (location.search === '?refused') say('trouble', 'That token is not good: it is mistyped, has ended or was revoked.');
    return;
  }
  const status = await ask('GET', '/mfa');
  part('who').textContent = person.principal;
  part('roles').textContent = person.roles.length === 0 ? 'none' : person.roles.join(', ');
  part('until').textContent = person.expires ? new Date(person.expires).toLocaleString() : '';
  part('shown').textContent = status.shown ? `${KINDS[status.shown]}, ${since(status.shown_seconds_ago)}` : 'not yet';
  part('list').replaceChildren(...status.factors.map(factorRow));
  const usable = status.factors.filter((factor) => factor.usable);
  const keys = status.authenticators && window.PublicKeyCredential !== undefined;
  show('none', status.factors.length === 0);
  show('show', usable.length > 0);
  show('show-key', keys && usable.some((factor) => factor.kind === 'webauthn'));
  show('invited', usable.length === 0);
  show('add-key', keys);
  show('add-paper', usable.some((factor) => factor.kind !== 'recovery'));
  show('sign-in', false);
  for (const id of ['person', 'factors', 'enrol']) show(id, true);
}

async function attempt(work) {
  say('trouble', '');
  say('done', '');
  const buttons = [...document.querySelectorAll('button')];
  for (const button of buttons) button.disabled = true;
  try {
    await work();
    await refresh();
  } catch (error) {
    const cancelled = error instanceof DOMException && error.name === 'NotAllowedError';
    say('trouble', cancelled ? 'The browser was told to stop, or nothing answered in time.' : error.message);
    await refresh().catch(() => {});
  } finally {
    for (const button of document.querySelectorAll('button')) button.disabled = false;
  }
}

const invitation = () => part('invitation').value.trim() || undefined;

async function addKey() {
  const asked = await ask('POST', '/mfa/webauthn', { invitation: invitation() });
  const made = await navigator.credentials.create({
    publicKey: {
      rp: { id: asked.rp_id, name: 'Keyreeve' },
      user: { id: bytes(asked.user_id), name: asked.user, displayName: asked.user },
      challenge: bytes(asked.challenge),
      pubKeyCredParams: asked.algorithms.map((alg) => ({ type: 'public-key', alg })),
      excludeCredentials: asked.exclude.map((id) => ({ type: 'public-key', id: bytes(id) })),
      authenticatorSelection: { userVerification: 'required' },
      attestation: 'none',
      timeout: 300000,
    },
  });
  await ask('POST', '/mfa/webauthn/finish', {
    id: asked.id,
    label: part('label').value.trim(),
    client_data: text(made.response.clientDataJSON),
    attestation: text(made.response.attestationObject),
    transports: made.response.getTransports ? made.response.getTransports() : [],
  });
  part('add').reset();
  say('done', 'The key is registered.');
}

let waiting;

async function addCodes() {
  const started = await ask('POST', '/mfa/totp', { label: part('label').value.trim(), invitation: invitation() });
  waiting = started.id;
  part('seed').textContent = started.seed.replace(/(.{4})(?=.)/g, '$1 ');
  part('address').setAttribute('href', started.address);
  show('confirm', true);
  part('first').focus();
}

async function confirmCodes() {
  await ask('POST', '/mfa/totp/finish', { id: waiting, code: part('first').value.trim() });
  part('seed').textContent = '';
  part('address').removeAttribute('href');
  part('confirm').reset();
  part('add').reset();
  show('confirm', false);
  say('done', 'One-time codes are set up.');
}

async function addPaper() {
  const made = await ask('POST', '/mfa/recovery-codes');
  part('codes').replaceChildren(...made.codes.map((code) => {
    const row = document.createElement('li');
    row.textContent = code;
    return row;
  }));
  show('paper', true);
}

// An authenticator's answer to a challenge, in the form in which the server takes it.
async function signed(challenge) {
  const got = await navigator.credentials.get({
    publicKey: {
      rpId: challenge.rp_id,
      challenge: bytes(challenge.challenge),
      allowCredentials: challenge.credentials.map((id) => ({ type: 'public-key', id: bytes(id) })),
      userVerification: 'required',
      timeout: 300000,
    },
  });
  return {
    assertion: {
      challenge: challenge.id,
      credential_id: text(got.rawId),
      client_data: text(got.response.clientDataJSON),
      auth_data: text(got.response.authenticatorData),
      signature: text(got.response.signature),
    },
  };
}

async function showKey() {
  await ask('POST', '/mfa/verify', await signed(await ask('POST', '/mfa/challenge', {})));
  say('done', 'Shown.');
}

async function showCode() {
  const code = part('code').value.trim();
  await ask('POST', '/mfa/verify', /^[0-9 ]+$/.test(code) ? { code: code.replaceAll(' ', '') } : { recovery_code: code });
  part('show-code').reset();
  say('done', 'Shown.');
}

function on(id, kind, work) {
  part(id).addEventListener(kind, (event) => {
    event.preventDefault();
    attempt(() => work(event));
  });
}

const ADD = { key: addKey, codes: addCodes, paper: addPaper };
on('add', 'submit', (event) => ADD[event.submitter.value]());
on('confirm', 'submit', confirmCodes);
on('show-key', 'click', showKey);
on('show-code', 'submit', showCode);
refresh().catch((error) => say('trouble', error.message));
