// What the console's pages share: asking the server, signing in, showing a second factor. Who is asking, the browser
// knows by a cookie that no script sees. Text from the server becomes text on the page, never markup.

export const part = (id) => document.getElementById(id);
export const show = (id, yes) => { part(id).hidden = !yes; };

export const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
export const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));

// Characters that are not seen, or that change what others look like: controls, ends of lines that the server does not
// know, marks of writing direction, what has no width. What the server refuses in policies (`misleading`) is all here.
const MISLEADING = new RegExp(
  '[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e'
  + '\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}]', 'gu',
);

// Such a character as one sees it: controls as their pictures, others by number.
function named(character) {
  const point = character.codePointAt(0);
  if (point < 0x20) return String.fromCodePoint(0x2400 + point);
  return point === 0x7f ? '\u2421' : `\\u{${point.toString(16)}}`;
}

/** A text in which everything is seen. */
export const visible = (words) => words.replaceAll('\r\n', '\n').replace(MISLEADING, named);

/** An element with attributes and content, of which all is seen; what is false, null or undefined is left out. */
export function made(tag, attributes, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  const there = content.filter((one) => one !== undefined && one !== null && one !== false);
  element.append(...there.map((one) => (one instanceof Node ? one : visible(String(one)))));
  return element;
}

export function say(id, words) {
  part(id).textContent = visible(words);
  show(id, words !== '');
  if (words === '') return;
  part(id).scrollIntoView({ block: 'nearest' });
  part(id).focus({ preventScroll: true });
}

// Why somebody comes back to a page.
const TOLD = {
  token: 'That token is not good: it is mistyped, has ended or was revoked.',
  login: 'That sign-in was not accepted. The audit log tells an operator why.',
  wait: 'Too many sign-ins failed. Wait some minutes, then try again.',
  provider: 'Your identity provider did not let you in.',
  late: 'That sign-in began in another browser, or too long ago. Begin again.',
  unreachable: 'Your identity provider or directory does not answer. Try again in a moment.',
  failed: 'The server cannot do that now. Its state tells more.',
  kept: 'You are signed out in this browser, but the server could not end the session: it lasts until its time is over.',
};

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? 'the server did not answer as it should');
    this.status = status;
    this.code = problem.code;
  }
}

async function asked(method, path, body) {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  const answer = await fetch(`/console/api${path}`, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body), redirect: 'error',
  });
  const said = await answer.text();
  let value = {};
  try {
    if (said !== '') value = JSON.parse(said);
  } catch {
    throw new Refused(answer.status, {});
  }
  if (!answer.ok) throw new Refused(answer.status, value);
  return value;
}

/** Asks the interface `/v1`. */
export const ask = (method, path, body) => asked(method, `/v1${path}`, body);

export const KINDS = {
  totp: 'One-time codes',
  webauthn: 'Security key or passkey',
  recovery: 'Recovery codes',
  provider: 'Your identity provider',
};

const UNITS = [[86400, 'day'], [3600, 'hour'], [60, 'minute']];

/** So many seconds in words, at most two of them. */
export function span(seconds) {
  const words = [];
  let left = seconds;
  for (const [length, name] of UNITS) {
    const count = Math.floor(left / length);
    left -= count * length;
    if (count > 0) words.push(`${count} ${name}${count === 1 ? '' : 's'}`);
  }
  return words.length === 0 ? 'less than a minute' : words.slice(0, 2).join(' ');
}

/** An instant, for people and for machines. */
export const moment = (at) => made('time', { datetime: at }, new Date(at).toLocaleString());

// An authenticator's answer to a challenge, in the form in which the server takes it.
export async function signed(challenge) {
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

/** A code as it was typed: of an application, or of a piece of paper. */
export const codeTyped = (code) => (/^[0-9 ]+$/.test(code) ? { code: code.replaceAll(' ', '') } : { recovery_code: code });

let page;

function inside(yes) {
  for (const section of document.querySelectorAll('section.inside')) section.hidden = !yes;
  show('person', yes);
  if (!yes) show('show', false);
  show('sign-in', !yes);
}

async function waysIn() {
  const { items } = await asked('GET', '/login/methods');
  const named = (kind) => items.filter((method) => method.kind === kind).map((method) => method.name);
  const [providers, directories] = [named('oidc'), named('ldap')];
  part('providers').replaceChildren(...providers.map((name) => {
    const button = made('button', { type: 'button' }, `Sign in with ${name}`);
    button.addEventListener('click', () => attempt(async () => {
      const { address } = await asked('POST', '/login/oidc', { method: name, page: document.body.dataset.page });
      location.assign(address);
    }));
    return button;
  }));
  part('method').replaceChildren(...directories.map((name) => made('option', { value: name }, name)));
  show('providers', providers.length > 0);
  show('directory', directories.length > 0);
  show('which', directories.length > 1);
  part('of').textContent = directories.length === 1 ? `in the directory ${directories[0]}` : '';
  part('by-token').open = items.length === 0;
}

export async function refresh() {
  let person;
  try {
    person = await ask('GET', '/tokens/self');
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 401) throw error;
    inside(false);
    await waysIn();
    return;
  }
  const status = await ask('GET', '/mfa');
  part('who').textContent = person.principal;
  part('roles').textContent = person.roles.length === 0 ? 'none' : person.roles.join(', ');
  part('by').textContent = person.login === undefined ? 'a token that was issued' : `the login ${person.login}`;
  part('until').replaceChildren(...(person.expires ? [moment(person.expires)] : []));
  const ago = `${KINDS[status.shown]}, ${span(status.shown_seconds_ago)} ago`;
  part('shown').textContent = status.shown ? ago : 'not yet';
  const usable = status.factors.filter((factor) => factor.usable);
  const keys = status.authenticators && window.PublicKeyCredential !== undefined;
  show('show-key', keys && usable.some((factor) => factor.kind === 'webauthn'));
  inside(true);
  await page({ person, status, usable, keys });
}

/** Does something that somebody asked for, and looks anew at what there is then. */
export async function attempt(work) {
  say('trouble', '');
  say('done', '');
  const buttons = [...document.querySelectorAll('button')];
  for (const button of buttons) button.disabled = true;
  try {
    await work();
    await refresh();
  } catch (error) {
    const cancelled = error instanceof DOMException && error.name === 'NotAllowedError';
    await refresh().catch(() => {});
    say('trouble', cancelled ? 'The browser was told to stop, or nothing answered in time.' : error.message);
  } finally {
    for (const button of document.querySelectorAll('button')) button.disabled = false;
  }
}

export function on(id, kind, work) {
  part(id).addEventListener(kind, (event) => {
    event.preventDefault();
    attempt(() => work(event));
  });
}

async function showKey() {
  await ask('POST', '/mfa/verify', await signed(await ask('POST', '/mfa/challenge', {})));
  say('done', 'Shown.');
}

async function showCode() {
  await ask('POST', '/mfa/verify', codeTyped(part('code').value.trim()));
  part('show-code').reset();
  say('done', 'Shown.');
}

/** Begins a page; `shown` is called with who is there each time that is known anew. */
export function begin(shown) {
  page = shown;
  part('about').open = document.body.dataset.page === 'security';
  on('show-key', 'click', showKey);
  on('show-code', 'submit', showCode);
  const told = TOLD[new URLSearchParams(location.search).get('told')];
  // Once is enough: not again when the page is loaded anew.
  if (location.search !== '') history.replaceState(null, '', location.pathname + location.hash);
  refresh().catch((error) => say('trouble', error.message)).then(() => {
    if (told !== undefined) say('trouble', told);
  });
}
