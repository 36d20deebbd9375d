// The rack's OpenID Connect provider: the library `oidc-provider`, at the paths that Okta uses, with a page to
// sign in at. Who people are, and whether a password is right, the NAS's directory says each time it is asked.
// Runs on the NAS as root, which the directory knows by its socket. Takes its settings from one file of JSON.
import { execFile } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { Provider } from 'oidc-provider';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { issuer, base, store } = settings;
const prefix = new URL(issuer).pathname;
const NAME = /^[a-z][a-z0-9._-]*$/;

// What outlives a restart: keys, sessions, grants and tokens.
const kept = existsSync(store) ? JSON.parse(readFileSync(store, 'utf8')) : {};
function keep() {
  writeFileSync(`${store}.new`, JSON.stringify(kept), { mode: 0o600 });
  renameSync(`${store}.new`, store);
}
kept.cookies ??= [randomBytes(32).toString('hex')];
kept.jwks ??= {
  keys: [{
    ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
    use: 'sig', alg: 'RS256', kid: randomBytes(8).toString('hex'),
  }],
};
kept.entries ??= {};
keep();

class Kept {
  constructor(kind) { this.kind = kind; }
  key(id) { return `${this.kind}:${id}`; }
  async upsert(id, payload, seconds) {
    const now = Date.now() / 1000;
    for (const [key, entry] of Object.entries(kept.entries)) {
      if (entry.until && entry.until < now) delete kept.entries[key];
    }
    kept.entries[this.key(id)] = { payload, until: seconds ? now + seconds : 0 };
    keep();
  }
  async find(id) {
    const entry = kept.entries[this.key(id)];
    return entry && !(entry.until && entry.until < Date.now() / 1000) ? entry.payload : undefined;
  }
  async with(field, value) {
    const start = this.key('');
    return Object.entries(kept.entries)
      .find(([key, entry]) => key.startsWith(start) && entry.payload[field] === value)?.[1].payload;
  }
  findByUid(uid) { return this.with('uid', uid); }
  findByUserCode(code) { return this.with('userCode', code); }
  async consume(id) {
    const entry = kept.entries[this.key(id)];
    if (entry) { entry.payload.consumed = Math.floor(Date.now() / 1000); keep(); }
  }
  async destroy(id) { delete kept.entries[this.key(id)]; keep(); }
  async revokeByGrantId(grant) {
    for (const [key, entry] of Object.entries(kept.entries)) {
      if (entry.payload.grantId === grant) delete kept.entries[key];
    }
    keep();
  }
}

function run(program, words, input = '') {
  return new Promise((done) => {
    const child = execFile(program, words, { timeout: 5000 }, (error, out) => done(error ? null : out));
    // A program that ends before it has read its input says how it ended in another way.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

const dn = (name) => `uid=${name},cn=users,${base}`;

async function person(name) {
  if (!NAME.test(name)) return undefined;
  const words = ['-Q', '-LLL', '-o', 'ldif-wrap=no', '-Y', 'EXTERNAL', '-H', 'ldapi:///', '-s', 'base'];
  const found = await run('ldapsearch', [...words, '-b', dn(name), 'uid', 'mail', 'displayName', 'memberOf']);
  if (!found?.includes('uid: ')) return undefined;
  const values = (field) => [...found.matchAll(new RegExp(`^${field}: (.*)$`, 'gm'))].map((match) => match[1]);
  return {
    preferred_username: name,
    name: values('displayName')[0] ?? name,
    email: values('mail')[0],
    groups: values('memberOf').map((group) => /^cn=([^,]+)/i.exec(group)?.[1]).filter(Boolean),
  };
}

async function passwordIsRight(name, password) {
  if (!NAME.test(name) || !password) return false;
  const words = ['-x', '-H', settings.directory, '-D', dn(name)];
  // Node's own standard input is a socket, which cannot be opened by its name; a pipe can.
  const piped = ['-c', 'cat | ldapwhoami "$@" -y /dev/stdin', 'sh', ...words];
  return await run('sh', piped, password) !== null;
}

const provider = new Provider(issuer, {
  adapter: Kept,
  cookies: { keys: kept.cookies },
  jwks: kept.jwks,
  clients: [{
    client_id: settings.client_id,
    client_secret: settings.client_secret,
    redirect_uris: settings.redirect_uris,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  scopes: ['openid', 'profile', 'email', 'groups', 'offline_access'],
  claims: { profile: ['preferred_username', 'name'], email: ['email'], groups: ['groups'] },
  pkce: { required: () => true },
  // As strict as providers can be set: a refresh token is good for one use, and a second use ends the log-in.
  rotateRefreshToken: true,
  routes: {
    authorization: '/v1/authorize', token: '/v1/token', userinfo: '/v1/userinfo', jwks: '/v1/keys',
    end_session: '/v1/logout',
  },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `${prefix}/signin/${interaction.uid}` },
  async findAccount(_, name) {
    return await person(name) && { accountId: name, claims: async () => ({ sub: name, ...await person(name) }) };
  },
});

// Okta grants offline access by its own policy; the library wants to be told that it was asked about.
function askedAbout(url) {
  const [path, query = ''] = url.split('?');
  const asked = new URLSearchParams(query);
  const offline = (asked.get('scope') ?? '').split(' ').includes('offline_access');
  if (path !== `${prefix}/v1/authorize` || !offline || asked.has('prompt')) return url;
  asked.set('prompt', 'consent');
  return `${path}?${asked}`;
}

const page = (uid, said) => `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Sign in</title>
<body style="font-family: sans-serif; max-width: 20em; margin: 4em auto">
<h1>Sign in</h1><p role="alert">${said}</p>
<form method="post" action="${prefix}/signin/${uid}">
<p><label>Name <input name="username" autocomplete="username" required></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label></p>
<p><button type="submit">Sign in</button></p>
</form></body></html>`;

async function granted(details) {
  const grant = new provider.Grant({ accountId: details.session.accountId, clientId: details.params.client_id });
  grant.addOIDCScope(details.params.scope);
  return { consent: { grantId: await grant.save() } };
}

async function signIn(request, response, uid) {
  const details = await provider.interactionDetails(request, response);
  const answer = (text) => response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(text);
  if (details.prompt.name === 'consent') {
    return provider.interactionFinished(request, response, await granted(details), { mergeWithLastSubmission: true });
  }
  if (request.method !== 'POST') return answer(page(uid, ''));
  let body = '';
  for await (const part of request) {
    body += part;
    if (body.length > 4096) return response.writeHead(413).end();
  }
  const form = new URLSearchParams(body);
  const name = form.get('username') ?? '';
  if (!await passwordIsRight(name, form.get('password') ?? '')) {
    return answer(page(uid, 'That name or password is not right.'));
  }
  return provider.interactionFinished(request, response, { login: { accountId: name } });
}

const handle = provider.callback();
https.createServer({ cert: readFileSync(settings.certificate), key: readFileSync(settings.key) }, (request, response) => {
  const found = new RegExp(`^${prefix}/signin/([\\w-]+)$`).exec(request.url);
  if (found) {
    signIn(request, response, found[1]).catch((error) => {
      console.error(error.message);
      response.writeHead(400, { 'content-type': 'text/plain' }).end('This sign-in has ended. Begin again at the hub.');
    });
  } else if (request.url.startsWith(`${prefix}/`)) {
    request.originalUrl = askedAbout(request.url);
    request.url = request.originalUrl.slice(prefix.length);
    handle(request, response);
  } else {
    response.writeHead(404).end();
  }
}).listen(settings.port);
