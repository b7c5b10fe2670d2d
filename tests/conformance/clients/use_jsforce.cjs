// Runs under node with jsforce on NODE_PATH: a task as JSON comes in, what the client read goes out as JSON.
const crypto = require('node:crypto');
const fs = require('node:fs');
const jsforce = require('jsforce');

const task = JSON.parse(fs.readFileSync(0, 'utf8'));

async function connect() {
  const connection = new jsforce.Connection({
    version: task.api_version,
    oauth2: {
      clientId: task.consumer_key,
      clientSecret: task.consumer_secret,
      loginUrl: `https://${task.my_domain_host}`,
    },
  });
  const user = await connection.authorize({ grant_type: 'client_credentials' });
  return { connection, user };
}

const everything = { autoFetch: true, maxFetch: 1_000_000 };

async function read() {
  const { connection } = await connect();
  const query = await connection.query(task.soql, everything);
  const queryAll = await connection.query(task.soql, { ...everything, scanAll: true });
  const small = await connection.query(task.soql, { ...everything, headers: { 'Sforce-Query-Options': 'batchSize=350' } });
  const bulk = await connection.bulk2.query(task.soql, { pollInterval: 100, pollTimeout: 120_000 });
  return {
    total: query.totalSize,
    query: query.records,
    query_all: queryAll.records,
    query_in_small_pages: small.records,
    bulk2_query: await bulk.toArray(),
  };
}

async function edit() {
  const { connection } = await connect();
  const accounts = connection.sobject('Account');
  const created = await accounts.create(task.values);
  const first = await accounts.retrieve(created.id);
  const updated = await accounts.update({ Id: created.id, ...task.changes });
  const second = await accounts.retrieve(created.id);
  const start = new Date(Date.now() - 300_000);
  const end = new Date(Date.now() + 120_000);
  const touched = await accounts.updated(start, end);
  const deleted = await accounts.destroy(created.id);
  return {
    created,
    first,
    updated,
    second,
    updated_ids: touched.ids,
    deleted,
    deleted_records: (await accounts.deleted(start, end)).deletedRecords,
    gone: await refused(accounts.retrieve(created.id)),
    unknown_field: await refused(accounts.create({ Nonsense__c: 1 })),
  };
}

async function lookAround() {
  const { connection, user } = await connect();
  const global = await connection.describeGlobal();
  const described = await connection.describe('Account');
  const limits = await connection.limits();
  const identity = await connection.identity();
  const children = await connection.query('SELECT Id, (SELECT Id FROM Contacts) FROM Account WHERE Id IN (SELECT AccountId FROM Contact) LIMIT 3');
  const first = await connection.sobject('Account').findOne({ Name: { $ne: null } }, ['Id', 'Name']);
  return {
    user,
    sobjects: global.sobjects.map((each) => each.name),
    fields: described.fields.map((field) => field.name),
    limits: limits.DailyApiRequests,
    usage: connection.limitInfo.apiUsage,
    identity: { user_id: identity.user_id, organization_id: identity.organization_id, username: identity.username },
    children: children.records.map((record) => record.Contacts.records.length),
    found_one: Object.keys(first),
    bad_query: await refused(connection.query('SELECT Nonsense FROM Account')),
    bad_login: await refused(new jsforce.OAuth2({
      clientId: task.consumer_key,
      clientSecret: 'wrong',
      loginUrl: `https://${task.my_domain_host}`,
    }).requestToken({ grant_type: 'client_credentials' })),
    wrong_host: await refused(new jsforce.OAuth2({
      clientId: task.consumer_key,
      clientSecret: task.consumer_secret,
    }).requestToken({ grant_type: 'client_credentials' })),
  };
}

// jsforce leaves the assertion to its caller: signed here by node itself, as its users do.
async function loginByJwt() {
  const connection = new jsforce.Connection({
    version: task.api_version,
    oauth2: { loginUrl: `https://${task.my_domain_host}` },
  });
  const grantType = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
  const user = await connection.authorize({ grant_type: grantType, assertion: assertion(task.private_key) });
  const identity = await connection.identity();
  const again = new jsforce.OAuth2({ loginUrl: `https://${task.my_domain_host}` });
  return {
    user,
    username: identity.username,
    total: (await connection.query('SELECT COUNT() FROM Account')).totalSize,
    wrong_key: await refused(again.requestToken({ grant_type: grantType, assertion: assertion(task.other_key) })),
  };
}

function assertion(privateKey) {
  const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = {
    iss: task.consumer_key,
    sub: task.username,
    aud: 'https://login.salesforce.com',
    exp: Math.floor(Date.now() / 1000) + 180,
  };
  const signed = `${encoded({ alg: 'RS256' })}.${encoded(claims)}`;
  return `${signed}.${crypto.createSign('RSA-SHA256').update(signed).sign(privateKey, 'base64url')}`;
}

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    return { name: error.name, errorCode: error.errorCode, message: error.message };
  }
  throw new Error('the call was not refused');
}

({ read, edit, look_around: lookAround, login_by_jwt: loginByJwt })[task.do]().then(
  // JSON has a negative zero, but JSON.stringify does not write it.
  (done) => process.stdout.write(JSON.stringify(done, (_, value) => (Object.is(value, -0) ? '-0.0' : value))),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exitCode = 1;
  },
);
