import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NotPossible } from '../client.js';
import { connected } from './fakes.js';

const stage = { roomId: 'stage' };

async function joined(role, type = 'broadcast') {
  const r = await connected();
  const done = r.client.join('stage', { type, role });
  await r.server.ack(r.server.last('rtc', 'join'), { ...stage, roomType: type, role, members: [{ userId: 'bob', role: 'publisher' }, { userId: 'alice', role }] });
  await done;
  return r;
}

test('a subscriber of a broadcast receives only', async () => {
  const { client, server, pcs, last } = await joined('subscriber');
  assert.deepEqual(server.last('rtc', 'join').data, { roomId: 'stage', roomType: 'broadcast', role: 'subscriber' });
  assert.deepEqual(last('room.entered'), { kind: 'room.entered', call: 'stage', type: 'broadcast', role: 'subscriber', members: 2, who: 'bob=publisher alice=subscriber' });
  assert.deepEqual(pcs[0].transceivers.map((t) => [t.track, t.init.direction]), [['audio', 'recvonly'], ['video', 'recvonly']]);
  assert.deepEqual(server.last('rtc', 'offer').data, { roomId: 'stage', sdp: 'offer 1' });
  assert.equal(client.state.room, 'stage');
});

test('a publisher of a broadcast sends only, and of a mixed room both', async () => {
  for (const [type, direction] of [['broadcast', 'sendonly'], ['mcu', 'sendrecv']]) {
    const { pcs } = await joined('publisher', type);
    assert.deepEqual(pcs[0].transceivers.map((t) => t.init.direction), [direction, direction]);
  }
});

test('who comes and goes is told, with how many there are', async () => {
  const { server, last } = await joined('subscriber');
  await server.push('rtc', 'joined', { ...stage, userId: 'carol', role: 'subscriber' });
  assert.deepEqual([last('room.joined').user, last('room.joined').members], ['carol', 3]);
  await server.push('rtc', 'left', { ...stage, userId: 'bob', reason: 'left' });
  assert.deepEqual([last('room.left').user, last('room.left').members, last('room.left').reason], ['bob', 2, 'left']);
  await server.push('rtc', 'recording', { ...stage, recording: 'ready', recordingId: 'x' });
  assert.deepEqual([last('room.recording').state, last('room.recording').recording], ['ready', 'x']);
});

test('a new role is sent in a new leg', async () => {
  const { server, pcs } = await joined('subscriber');
  await server.push('rtc', 'role', { ...stage, userId: 'alice', role: 'publisher' });
  await server.push('rtc', 'negotiate', { ...stage, reason: 'role_changed' });
  assert.deepEqual(pcs[1].transceivers.map((t) => [t.track.kind, t.init.direction]), [['audio', 'sendonly'], ['video', 'sendonly']]);
});

test('who is taken out confirms nothing', async () => {
  const { client, server, pcs, last } = await joined('subscriber');
  await server.push('rtc', 'ended', { ...stage, reason: 'kicked', userId: 'bob' });
  assert.deepEqual([last('room.ended').reason, last('room.ended').by], ['kicked', 'bob']);
  assert.equal(server.last('rtc', 'leave'), undefined);
  assert.ok(pcs[0].closed);
  await assert.rejects(client.kick('bob'), NotPossible);
});

test('what is asked of a room names it', async () => {
  const { client, server } = await joined('publisher', 'mcu');
  for (const [ask, action, data] of [
    [client.kick('bob'), 'kick', { userId: 'bob' }], [client.setRole('bob', 'subscriber'), 'role', { userId: 'bob', role: 'subscriber' }],
    [client.record('start'), 'record', { recording: 'start' }], [client.leave(), 'leave', {}]]) {
    assert.deepEqual(server.last('rtc', action).data, { ...stage, ...data });
    await server.ack(server.last('rtc', action));
    await ask;
  }
});

test('a refused room never was', async () => {
  const { client, server } = await connected();
  const done = client.join('stage');
  await server.refuse(server.last('rtc', 'join'), 'room_full');
  await assert.rejects(done, { code: 'room_full' });
  assert.equal(client.state.room, '');
});
