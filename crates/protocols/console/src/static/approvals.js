// Requests that wait for consent: what they ask for in full, and votes on them. A vote is signed by an authenticator
// over the digest of what is shown and the decision, or given with a one-time code.
import { KINDS, ask, attempt, begin, made, moment, on, part, say, show, signed, span } from '/console/common.js';

/** So many of each state are shown. */
const SHOWN_MAX = 200;
/** One who has not shown a factor for so many seconds is asked to. */
const PROOF_SECONDS = 43200;
const BY = { ...KINDS, totp: 'a one-time code', webauthn: 'a security key or passkey' };
const DONE = {
  approve: 'Your consent is counted.',
  reject: 'You refused it: the request is closed.',
};

async function all(state) {
  const found = [];
  let after = '';
  while (found.length < SHOWN_MAX) {
    const { items, next } = await ask('GET', `/approvals?state=${state}&limit=100${after}`);
    found.push(...items);
    if (next === undefined || next === null) return [found, false];
    after = `&after=${encodeURIComponent(next)}`;
  }
  return [found, true];
}

const fact = (name, ...value) => made('div', {}, made('dt', {}, name), made('dd', {}, ...value));
const named = (target) => made('code', {}, `${target.kind} ${target.id}`);

// What it is called by people, where it has names.
function called(request) {
  const names = request.shown.find((one) => one.name === 'aliases' || one.name === 'name');
  return names === undefined || names.value === '' ? request.target.id : names.value;
}

function seats(request) {
  const missing = [...request.missing];
  return made('ul', { class: 'seats' }, ...request.seats.map((seat) => {
    const at = missing.indexOf(seat);
    if (at >= 0) missing.splice(at, 1);
    return made('li', {}, made('span', { class: at >= 0 ? 'waiting' : 'good' }, at >= 0 ? 'missing' : 'agreed'), ` ${seat}`);
  }));
}

function vote(one) {
  const decided = one.decision === 'approve' ? 'agreed' : 'refused';
  const words = [made('strong', {}, one.by), ` ${decided} with ${BY[one.proof]}, `, moment(one.at)];
  if (one.superseded) words.push(' (voted again since)');
  if (one.reason) words.push(made('small', {}, one.reason));
  return made('li', {}, ...words);
}

// A text of several lines. Each has its number, so that a long one which goes on below does not look like two.
const wide = (words) => made('pre', { tabindex: '0' }, ...words.split(/\r?\n/).map((line) => made('code', {}, line)));
const worded = (words) => (words.includes('\n') ? wide(words) : words);

// Everything that is asked for: texts as they are, anything else as JSON.
function asked(form) {
  const fields = Object.entries(form ?? {});
  if (fields.length === 0) return 'nothing besides';
  return made('dl', {}, ...fields.map(([name, value]) => {
    const words = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
    return fact(name, words.includes('\n') ? wide(words) : made('code', {}, words));
  }));
}

function facts(request) {
  const users = request.shown.find((one) => one.name === 'consumers');
  const about = request.shown.filter((one) => one.value !== '' && one !== users);
  const based = request.base_revision !== undefined && request.base_revision !== null;
  const left = Math.max(0, (Date.parse(request.expires) - Date.now()) / 1000);
  return made(
    'dl', { class: 'facts' },
    fact('What', made('code', {}, request.operation)),
    fact('On', called(request), made('small', {}, named(request.target))),
    request.second && fact('And', named(request.second)),
    users !== undefined && fact('Used by', users.value || 'no consumer is named'),
    fact('Why', request.reason || 'no reason was given'),
    fact('Asked by', request.proposer, made('small', {}, moment(request.created))),
    fact('Needs', seats(request), made('small', {}, `${request.rules.length === 1 ? 'rule' : 'rules'} ${request.rules.join(', ')}`)),
    request.votes.length > 0 && fact('Votes', made('ul', { class: 'votes' }, ...request.votes.map(vote))),
    fact('Expires', `in ${span(left)}`, made('small', {}, moment(request.expires))),
    about.length > 0 && fact('As it was then', made('dl', {}, ...about.map(({ name, value }) => fact(name, worded(value))))),
    fact('Asked for, in full', asked(request.form)),
    based && fact('Builds on', `version ${request.base_revision}`, made('small', {}, 'and on no other')),
    fact(
      'Digest', made('code', { class: 'digest' }, request.digest),
      made('small', {}, 'SHA-256 of the request: what a vote is over'),
      made('small', {}, `in the deployment ${request.deployment}`),
    ),
  );
}

// How somebody shows who they are for this one vote.
async function proofOf(how, request, decision, form) {
  if (how === 'code') return { code: form.elements.code.value.replaceAll(' ', '') };
  const about = { approval: request.id, digest: request.digest, decision };
  return signed(await ask('POST', '/mfa/challenge', { vote: about }));
}

async function cast(request, form, how) {
  const decision = form.elements.decision.value;
  if (how === 'code' && form.elements.code.value.trim() === '') throw new Error('Type the code first.');
  const proof = await proofOf(how, request, decision, form);
  const body = { decision, digest: request.digest, reason: form.elements.reason.value.trim(), proof };
  const now = await ask('POST', `/approvals/${request.id}/votes`, body);
  form.reset();
  const then = now.state === 'approved' ? ` Nothing is missing any more: ${now.proposer} can run it.` : '';
  say('done', DONE[decision] + then);
}

const choice = (value, words, about) => made(
  'label', { class: 'choice' },
  made('input', { type: 'radio', name: 'decision', value, required: true }),
  made('span', {}, words, made('small', {}, about)),
);

function ballot(request, { person, usable, keys }) {
  const key = keys && usable.some((factor) => factor.kind === 'webauthn');
  const codes = usable.some((factor) => factor.kind === 'totp');
  if (!key && !codes) return undefined;
  const before = request.votes.some((one) => one.by === person.principal && !one.superseded);
  const id = `${request.id}-`;
  const form = made(
    'form', { class: 'ballot', autocomplete: 'off' },
    made(
      'fieldset', {},
      made('legend', {}, before ? 'Vote again' : 'Your vote'),
      choice('approve', 'I agree', 'to exactly what is shown here'),
      choice('reject', 'I refuse', 'which closes the request for everybody'),
    ),
    made('label', { for: `${id}reason` }, 'Why ', made('small', {}, 'goes on record')),
    made('input', { id: `${id}reason`, name: 'reason', maxlength: '500' }),
    key && made('button', { value: 'key' }, 'Sign with a security key or passkey'),
    codes && made('label', { for: `${id}code` }, key ? 'Or a code of your application' : 'A code of your application'),
    codes && made('input', { id: `${id}code`, name: 'code', inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: '12' }),
    codes && made('button', { value: 'code', class: key ? 'quiet' : '' }, 'Vote with the code'),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    // Enter in the code's field means the code, elsewhere the first button.
    const how = document.activeElement?.name === 'code' ? 'code' : event.submitter.value;
    attempt(() => cast(request, form, how));
  });
  return form;
}

// What whoever asked can do.
function own(request) {
  const run = made('button', {}, 'Run it now');
  run.addEventListener('click', () => attempt(async () => {
    await ask('POST', `/approvals/${request.id}/execute`);
    say('done', `${request.operation} was done.`);
  }));
  const back = made('button', { class: 'quiet' }, 'Take it back');
  back.addEventListener('click', () => attempt(async () => {
    await ask('DELETE', `/approvals/${request.id}`);
    say('done', 'It was taken back.');
  }));
  return made('p', { class: 'row own' }, request.state === 'approved' && run, back);
}

function headline(request) {
  const [mood, words] = request.state === 'approved'
    ? ['good', `agreed: ${request.proposer} can run it`]
    : ['waiting', `needs ${request.missing.join(', ')}`];
  return made(
    'summary', {},
    made('span', { class: 'what' }, made('strong', {}, request.operation), ` ${called(request)}`),
    made('span', { class: mood }, words),
  );
}

function card(request, who, open) {
  const mine = request.proposer === who.person.principal;
  return made(
    'li', { id: request.id },
    made('details', { open }, headline(request), facts(request), mine ? own(request) : ballot(request, who)),
  );
}

// What was opened and typed stays when the list is made anew.
const drafts = new Map();

function keep() {
  for (const item of part('requests').children) {
    const form = item.querySelector('form.ballot');
    const typed = form && { decision: form.elements.decision.value, reason: form.elements.reason.value };
    drafts.set(item.id, { open: item.querySelector('details').open, typed });
  }
}

function restore() {
  for (const item of part('requests').children) {
    const form = item.querySelector('form.ballot');
    const typed = drafts.get(item.id)?.typed;
    if (!form || !typed) continue;
    form.elements.reason.value = typed.reason;
    for (const one of form.elements.decision) one.checked = one.value === typed.decision;
  }
}

on('again', 'click', () => {});

begin(async (who) => {
  const proof = who.status.shown !== undefined && who.status.shown_seconds_ago < PROOF_SECONDS;
  show('show', !proof && who.usable.length > 0);
  show('no-proof', !proof && who.usable.length > 0);
  show('no-factor', !who.usable.some((factor) => factor.kind === 'totp' || factor.kind === 'webauthn'));
  const lists = [await all('waiting'), await all('approved')];
  const found = lists.flatMap(([items]) => items);
  keep();
  const asked = location.hash.slice(1);
  const open = (request) => drafts.get(request.id)?.open ?? (found.length === 1 || request.id === asked);
  part('requests').replaceChildren(...found.map((request) => card(request, who, open(request))));
  restore();
  show('nothing', found.length === 0);
  show('more', lists.some(([, more]) => more));
});
