// A real OpenID provider for the tests: npm's `oidc-provider`, with accounts in memory.
//
//   node idp.mjs LIBRARY CERTIFICATE KEY
//
// LIBRARY is the folder in which npm installed it. Writes `ready https://localhost:PORT` when it serves, and ends with
// its standard input. Below `/_test/` the tests alter it; below `/hostile/` answers come that no provider gives.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [library, certificate, key] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(`${library}/node_modules/${path}`));
const { default: Provider } = await load('oidc-provider/lib/index.js');
const jose = await load('jose/dist/webapi/index.js');

const accounts = {
  alice: { password: 'alice knows this', email: 'alice@example.com', email_verified: true, groups: ['staff', 'keys'] },
  bob: { password: 'bob knows this', email: 'bob@example.com', email_verified: true, groups: ['staff'] },
  // Says of itself what was never checked.
  mallory: { password: 'mallory knows this', email: 'alice@example.com', email_verified: false, groups: [] },
};

const clients = [
  {
    client_id: 'keyreeve',
    client_secret: 'the secret of : keyreeve & 100%',
    application_type: 'native',
    grant_types: ['authorization_code'],
    redirect_uris: ['http://127.0.0.1/callback', 'http://127.0.0.1/callback/corp'],
    require_auth_time: true,
  },
  {
    client_id: 'keyreeve-cli',
    token_endpoint_auth_method: 'none',
    application_type: 'native',
    grant_types: ['authorization_code'],
    redirect_uris: ['http://127.0.0.1/callback', 'http://127.0.0.1/callback/corp'],
    id_token_signed_response_alg: 'ES256',
    require_auth_time: true,
  },
  {
    // Is sent back to a page of its own; `/_test/redirect` says to which.
    client_id: 'keyreeve-console',
    client_secret: 'the secret of the console',
    grant_types: ['authorization_code'],
    redirect_uris: ['https://console.invalid/callback'],
    require_auth_time: true,
  },
  {
    client_id: 'build-robot',
    client_secret: 'the secret of the robot',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  },
];

// The clock of the provider may go wrong by so many seconds.
let skew = 0;
const clock = Date.now;
Date.now = () => clock() + skew * 1000;

let issuer;
let provider;
let serve;
let keys;
let rotations = 0;

function makeKey(type, options, alg) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg.toLowerCase()}-${rotations}` };
}

function begin() {
  keys = [
    makeKey('rsa', { modulusLength: 2048 }, 'RS256'),
    makeKey('ec', { namedCurve: 'P-256' }, 'ES256'),
    makeKey('ed25519', {}, 'EdDSA'),
  ];
  rotations += 1;
  provider = new Provider(issuer, {
    clients,
    jwks: { keys },
    cookies: { keys: ['of the tests'] },
    pkce: { required: () => true },
    claims: {
      openid: ['sub', 'acr', 'amr'],
      profile: ['name'],
      email: ['email', 'email_verified'],
      groups: ['groups'],
    },
    // Claims of scopes stand in the ID token, as most providers have it.
    conformIdTokenClaims: false,
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: '',
          audience: resource,
          accessTokenTTL: 600,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
    extraTokenClaims: () => ({ repository: 'acme/app', ref: 'refs/heads/main' }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    async findAccount(_, sub) {
      const account = accounts[sub];
      if (!account) return undefined;
      const { password, ...claims } = account;
      return { accountId: sub, claims: () => ({ sub, name: sub, ...claims }) };
    },
    ttl: { AccessToken: 600, AuthorizationCode: 60, ClientCredentials: 600, Grant: 600, IdToken: 300, Interaction: 600, Session: 600 },
  });
  serve = provider.callback();
}

function answer(response, status, body, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

// The form of a login: name, password, and whether a second factor was shown.
async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'consent') {
    // Everybody agrees to everything.
    const grant = new provider.Grant({ clientId: params.client_id, accountId: session.accountId });
    grant.addOIDCScope('openid profile email groups');
    return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
  }
  if (request.method === 'GET') {
    const form = '<!doctype html><title>Log in</title><form method="post"><input name="login"><input name="password" '
      + 'type="password"><input name="otp"><button>Log in</button></form>';
    return answer(response, 200, form, { 'content-type': 'text/html' });
  }
  const form = new URLSearchParams(await bodyOf(request));
  const account = accounts[form.get('login')];
  if (!account || account.password !== form.get('password')) {
    return provider.interactionFinished(request, response, { error: 'access_denied' });
  }
  const amr = form.get('otp') ? ['pwd', 'otp', 'mfa'] : ['pwd'];
  const acr = form.get('otp') ? 'two-factors' : 'one-factor';
  const login = { accountId: form.get('login'), acr, amr, remember: false };
  return provider.interactionFinished(request, response, { login });
}

// Tokens as other issuers make them: any claims, any header, signed with the provider's key of that algorithm, or with
// a text as the secret of an HMAC.
async function sign({ header, claims, secret }) {
  if (header.alg === 'none') {
    const part = (value) => jose.base64url.encode(JSON.stringify(value));
    return `${part(header)}.${part(claims)}.`;
  }
  const jwk = keys.find((candidate) => candidate.alg === header.alg);
  const material = secret ? new TextEncoder().encode(secret) : await jose.importJWK(jwk, header.alg);
  const signer = new jose.CompactSign(new TextEncoder().encode(typeof claims === 'string' ? claims : JSON.stringify(claims)));
  return signer.setProtectedHeader({ kid: jwk?.kid, ...header }).sign(material);
}

async function alter(path, request, response) {
  const told = JSON.parse((await bodyOf(request)) || '{}');
  switch (path) {
    case '/_test/rotate': begin(); return answer(response, 200, {});
    case '/_test/skew': skew = told.seconds; return answer(response, 200, {});
    case '/_test/redirect':
      clients.find((client) => client.client_id === 'keyreeve-console').redirect_uris = [told.uri];
      begin();
      return answer(response, 200, {});
    case '/_test/sign': return answer(response, 200, { jwt: await sign(told) });
    default: return answer(response, 404, {});
  }
}

function hostile(path, request, response) {
  const [, , kind] = path.split('/');
  switch (kind) {
    case 'elsewhere': return answer(response, 307, {}, { location: `${issuer}${path.slice('/hostile/elsewhere'.length)}` });
    case 'huge':
      response.writeHead(200, { 'content-type': 'application/json' });
      for (let sent = 0; sent < 300; sent += 1) response.write(' '.repeat(1024));
      return response.end('{}');
    case 'promised': return answer(response, 200, ' '.repeat(300 * 1024), { 'content-length': 300 * 1024 });
    case 'broken': response.writeHead(200, { 'content-length': 1000 }); response.write('{'); return request.socket.destroy();
    case 'busy': return answer(response, 503, {});
    default: return answer(response, 404, {});
  }
}

const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, async (request, response) => {
  try {
    const path = request.url.split('?')[0];
    if (path.startsWith('/_test/')) await alter(path, request, response);
    else if (path.startsWith('/hostile/')) hostile(path, request, response);
    else if (path.startsWith('/interaction/')) await interact(request, response);
    else await serve(request, response);
  } catch (error) {
    console.error(error);
    if (!response.headersSent) answer(response, 500, { error: String(error) });
  }
});
server.listen(0, '127.0.0.1', () => {
  issuer = `https://localhost:${server.address().port}`;
  begin();
  console.log(`ready ${issuer}`);
});
process.stdin.resume().on('end', () => process.exit(0));
