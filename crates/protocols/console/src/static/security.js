// The second factors of whoever is signed in.
import { KINDS, ask, attempt, begin, bytes, made, on, part, say, show, text } from '/console/common.js';

function factorRow(factor) {
  const used = factor.last_used ? `last used ${new Date(factor.last_used).toLocaleString()}` : 'never used';
  const left = factor.codes_left === undefined ? '' : `, ${factor.codes_left} left`;
  const copied = factor.backed_up ? ', copied to other devices' : '';
  const state = factor.usable ? used : 'not confirmed';
  const remove = made('button', { class: 'quiet' }, 'Remove');
  remove.addEventListener('click', () => attempt(async () => {
    await ask('DELETE', `/mfa/${encodeURIComponent(factor.id)}`);
    say('done', 'It was removed.');
  }));
  const what = made(
    'div', {},
    made('strong', {}, factor.label === '' ? KINDS[factor.kind] : factor.label),
    made('small', {}, `${KINDS[factor.kind]}, ${state}${left}${copied}`),
  );
  return made('li', {}, what, remove);
}

const invitation = () => part('invitation').value.trim() || undefined;

async function addKey() {
  const asked = await ask('POST', '/mfa/webauthn', { invitation: invitation() });
  const created = await navigator.credentials.create({
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
    client_data: text(created.response.clientDataJSON),
    attestation: text(created.response.attestationObject),
    transports: created.response.getTransports ? created.response.getTransports() : [],
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
  const codes = await ask('POST', '/mfa/recovery-codes');
  part('codes').replaceChildren(...codes.codes.map((code) => made('li', {}, code)));
  show('paper', true);
}

const ADD = { key: addKey, codes: addCodes, paper: addPaper };
on('add', 'submit', (event) => ADD[event.submitter.value]());
on('confirm', 'submit', confirmCodes);

begin(({ status, usable, keys }) => {
  part('list').replaceChildren(...status.factors.map(factorRow));
  show('none', status.factors.length === 0);
  show('show', usable.length > 0);
  show('invited', usable.length === 0);
  show('add-key', keys);
  show('add-paper', usable.some((factor) => factor.kind !== 'recovery'));
});
