import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decode } from '../wire.js';
import { connected } from './fakes.js';

test('presence has versions, and old ones are set aside', async () => {
  const { client, server, last } = await connected();
  await server.push('state', '', { userId: 'bob', status: 'online', version: 8 });
  await server.push('state', '', { userId: 'bob', status: 'offline', lastSeen: 5, version: 7 });
  assert.equal(last('presence.state').status, 'online');
  assert.deepEqual([last('presence.stale').version, last('presence.stale').known], [7, 8]);
  const asked = client.askPresence('bob');
  await server.ack(server.last('state'), { userId: 'bob', status: 'offline', lastSeen: 9, version: 9 });
  assert.equal((await asked).status, 'offline');
  assert.equal(last('presence.state').last_seen, 9);
});

test('what became of a call is a message', async () => {
  const { server, last } = await connected();
  await server.push('message', '', { messageId: 'm', from: 'bob', to: 'alice', content: 'Missed call', call: { callId: 'c', outcome: 'missed' } });
  assert.deepEqual([last('im.message').call, last('im.message').outcome, last('im.message').duration], ['c', 'missed', 0]);
});

test('history comes page by page', async () => {
  const { client, server, events, last } = await connected();
  const asked = client.history({ what: 'calls', limit: 1 });
  assert.deepEqual(server.last('history').data, { what: 'calls', limit: 1 });
  await server.ack(server.last('history'), { items: [{ callId: 'c', caller: 'bob' }], next: 'n' });
  assert.deepEqual(await asked, { items: [{ callId: 'c', caller: 'bob' }], next: 'n' });
  assert.equal(events('history.item')[0].caller, 'bob');
  assert.deepEqual([last('history.page').count, last('history.page').more], [1, true]);
});

test('every frame of the protocol can be read', () => {
  const folder = new URL('../../../signaling/testdata/golden/', import.meta.url);
  const files = readdirSync(folder).filter((f) => f.endsWith('.json'));
  assert.ok(files.length > 40);
  for (const f of files) assert.ok(decode(readFileSync(new URL(f, folder), 'utf8')), f);
});

test('a handler can be taken off again', async () => {
  const { client, server } = await connected();
  let n = 0;
  const off = client.on('presence.state', () => n++);
  await server.push('state', '', { userId: 'bob', status: 'online' });
  off();
  await server.push('state', '', { userId: 'bob', status: 'offline' });
  assert.equal(n, 1);
});
