import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NotPossible, Refused } from '../client.js';
import { connected, inCall, rig, settle } from './fakes.js';

/** Time in these tests goes on when they say so. */
function clock(t) {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  return async (ms) => {
    t.mock.timers.tick(ms);
    await settle();
  };
}

test('hello shows token and device, and welcome begins a session', async () => {
  const { client, server, last } = await connected();
  assert.deepEqual(server.frames[0], { type: 'hello', id: '1', data: { version: 1, features: ['resume'], token: 'jwt', device: 'd' } });
  assert.equal(last('session.welcome').session, 's-1');
  assert.equal(client.state.link, 'up');
  await assert.rejects(client.connect(), NotPossible);
});

test('a refused hello is what connect rejects with, and nobody tries again', async () => {
  const { client, server } = rig();
  const done = client.connect();
  await settle();
  server.socket.open();
  await server.refuse(server.last('hello'), 'unauthorized', 'expired');
  await server.close(4401);
  await assert.rejects(done, (e) => e instanceof Refused && e.code === 'unauthorized');
  assert.equal(server.sockets.length, 1);
});

test('a close code alone says why there was no welcome', async () => {
  const { client, server } = rig();
  const done = client.connect();
  await settle();
  server.socket.open();
  await server.close(4406);
  await assert.rejects(done, { code: 'version_unsupported' });
});

test('requests are answered by their ids, and refusals are told', async () => {
  const { client, server, last } = await connected();
  const a = client.message('bob', 'one');
  const b = client.message('bob', 'two');
  const [one, two] = server.frames.filter((f) => f.type === 'message');
  await server.refuse(two, 'user_unavailable', 'not there');
  await server.ack(one);
  assert.equal(await a, one.data.messageId);
  await assert.rejects(b, { code: 'user_unavailable' });
  assert.deepEqual([last('error').code, last('error').message], ['user_unavailable', 'not there']);
  assert.notEqual(one.data.messageId, two.data.messageId);
});

test('pushes are taken once and in order', async () => {
  const { server, events, last } = await connected();
  await server.push('message', '', { messageId: 'm', from: 'bob', to: 'alice', content: 'hi' });
  await server.send({ type: 'message', seq: 1, data: { messageId: 'x', from: 'bob', content: 'old' } });
  await server.send({ type: 'message', seq: 4, data: { messageId: 'm', from: 'bob', content: 'hi' } });
  assert.deepEqual(events('im.message').map((e) => e.text), ['hi']);
  assert.equal(last('signal.duplicate').seq, 1);
  assert.deepEqual([last('protocol.violation').what, last('protocol.violation').expected], ['seq_gap', 2]);
  assert.equal(last('im.duplicate').message, 'm');
});

test('the server is told what has arrived, after a second or 32 pushes', async (t) => {
  const pass = clock(t);
  const { server } = await connected();
  await server.push('state', '', { userId: 'bob', status: 'online' });
  await pass(999);
  assert.equal(server.last('ack'), undefined);
  await pass(1);
  assert.deepEqual(server.last('ack'), { type: 'ack', data: { seq: 1 } });
  for (let i = 0; i < 32; i++) await server.push('state', '', { userId: 'bob', status: 'online' });
  assert.equal(server.last('ack').data.seq, 33);
});

test('a dropped connection is resumed, and what was not answered is asked again', async (t) => {
  const pass = clock(t);
  const { client, server, last } = await connected();
  await server.push('state', '', { userId: 'bob', status: 'online' });
  const sent = client.message('bob', 'hi');
  const first = server.last('message');
  await server.close(1006);
  assert.equal(last('session.reconnecting').cause, 'read_error');
  await pass(499);
  assert.equal(server.sockets.length, 1);
  await pass(1);
  assert.equal(server.sockets.length, 2);
  server.socket.open();
  await settle();
  assert.deepEqual(server.last('hello').data, { version: 1, features: ['resume'], token: 'jwt', device: 'd', resume: 'r-1', lastSeq: 1 });
  await server.ack0({ resumed: true, resumeToken: 'r-2' });
  assert.deepEqual(server.last('message'), first);
  await server.push('state', '', { userId: 'carol', status: 'online' });
  assert.equal(last('session.resumed'), undefined);
  await server.ack(server.last('state'), { userId: 'alice', status: 'online' });
  assert.deepEqual([last('session.resumed').replayed, last('session.resumed').attempts, last('session.resumed').gap_ms], [1, 1, 500]);
  await server.ack(first);
  await sent;
});

test('attempts to come back are farther and farther apart, and end', async (t) => {
  const pass = clock(t);
  const { server, last, events } = await connected({ reconnect: { giveUp: 20000 } });
  await server.close(1012);
  for (const delay of [500, 1000, 2000, 4000, 8000]) {
    const n = server.sockets.length;
    await pass(delay - 1);
    assert.equal(server.sockets.length, n);
    await pass(1);
    assert.equal(server.sockets.length, n + 1);
    await server.close(1006);
  }
  assert.equal(last('session.ended').reason, 'gave_up');
  assert.equal(events('session.retry').length, 5);
});

test('who is replaced by another connection does not come back', async (t) => {
  const pass = clock(t);
  const { client, server, last } = await connected();
  await server.close(4409);
  await pass(60000);
  assert.equal(server.sockets.length, 1);
  assert.equal(last('session.ended').reason, 'superseded');
  await assert.rejects(client.message('bob', 'x'), NotPossible);
});

test('a session that is not resumed ends, with its requests and its call', async (t) => {
  const pass = clock(t);
  const { client, server, last } = await inCall();
  const lost = assert.rejects(client.message('bob', 'x'), NotPossible);
  await server.close(1006);
  await pass(500);
  server.socket.open();
  await settle();
  server.seq = 0;
  await server.ack0({ sessionId: 's-2', resumeToken: 'q' });
  await lost;
  assert.equal(last('call.ended').reason, 'dropped');
  assert.equal(last('session.ended').reason, 'not_resumed');
  assert.equal(last('session.welcome').session, 's-2');
});

test('a connection that does not answer a probe is given up', async (t) => {
  const pass = clock(t);
  const { server, last } = await connected();
  await pass(10000);
  assert.equal(server.frames.filter((f) => f.type === 'state').length, 2);
  assert.deepEqual(server.last('state').data, { userId: 'alice' });
  await pass(1999);
  assert.equal(last('session.reconnecting'), undefined);
  await pass(1);
  assert.equal(last('session.reconnecting').cause, 'pong_timeout');
});

test('a probe is no question of the application', async () => {
  const { events } = await connected();
  assert.equal(events('presence.state').length, 0);
});

test('a newer token is shown before the old one runs out', async (t) => {
  const pass = clock(t);
  let n = 0;
  const { server, last } = await connected({ token: () => `jwt-${++n}` }, { tokenTTL: 100 });
  await pass(8000);
  await server.ack(server.last('state'), {});
  for (let i = 0; i < 7; i++) {
    await pass(10000);
    await server.ack(server.last('state'), {});
  }
  await pass(2000);
  assert.equal(server.last('token').data.token, 'jwt-2');
  await server.ack(server.last('token'), { tokenTTL: 100 });
  assert.equal(last('token.refreshed').ttl, 100);
});

test('close says goodbye', async () => {
  const { client, server, last } = await connected();
  client.close();
  assert.equal(server.socket.closed, 1000);
  assert.equal(last('session.ended').reason, 'closed');
});

test('frames that are none are told and survived', async () => {
  const { client, server, events } = await connected();
  for (const data of ['', 'x', '[]', 'null', '{}', '{"type":"rtc"}', new Uint8Array(3)]) server.socket.onmessage({ data });
  assert.equal(events('protocol.violation').filter((e) => e.what === 'bad_frame').length, 7);
  await server.send({ type: 'ack', id: '999', data: {} });
  await server.push('news', '', {});
  assert.deepEqual(events('protocol.violation').slice(-2).map((e) => e.what), ['unknown_request', 'unknown_type']);
  assert.equal(client.state.link, 'up');
});
