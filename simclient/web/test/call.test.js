import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NotPossible } from '../client.js';
import { connected, inCall, settle } from './fakes.js';

const ref = { callId: 'c-1', roomId: 'r-1' };
const host = (port, component = 1) => `candidate:1 ${component} UDP 2015364095 192.0.2.7 ${port} typ host`;

test('a caller offers when the callee has answered', async () => {
  const { client, server, pcs, last, told } = await inCall();
  assert.deepEqual(server.last('rtc', 'call').data, { targetUser: 'bob' });
  assert.deepEqual(server.last('rtc', 'offer').data, { ...ref, sdp: 'offer 1' });
  assert.deepEqual(pcs[0].transceivers.map((t) => [t.track.kind, t.init.direction]), [['audio', 'sendrecv'], ['video', 'sendrecv']]);
  await server.push('rtc', 'candidate', { ...ref, candidate: host(1), sdpMid: '0', sdpMLineIndex: 0 });
  await server.push('rtc', 'candidate', { ...ref, candidates: [{ candidate: host(2, 2) }, { candidate: host(3), sdpMid: '0' }, { candidate: '' }] });
  assert.deepEqual(pcs[0].candidates, []);
  await server.push('rtc', 'answer', { ...ref, sdp: 'answer' });
  assert.deepEqual(pcs[0].remoteDescription, { type: 'answer', sdp: 'answer' });
  assert.deepEqual(pcs[0].candidates, [host(1), host(3)]);
  await pcs[0].gather(host(4));
  await pcs[0].gather(null);
  assert.deepEqual(server.frames.filter((f) => f.action === 'candidate').map((f) => f.data.candidate), [host(4), '']);
  await pcs[0].become('connected');
  assert.deepEqual(last('call.connected'), { kind: 'call.connected', call: 'c-1', leg: 1 });
  assert.equal(client.state.callState, 'connected');
  assert.deepEqual(told.map((e) => e.kind).filter((k) => k.startsWith('call.')), ['call.outgoing', 'call.accepted', 'call.connected']);
});

test('a callee rings by itself, accepts and offers', async () => {
  const { client, server, last } = await connected();
  await server.push('rtc_invite', '', { ...ref, from: 'bob', expire: 60 });
  assert.deepEqual(last('call.incoming'), { kind: 'call.incoming', call: 'c-1', room: 'r-1', from: 'bob' });
  assert.deepEqual(server.last('rtc', 'ringing').data, { roomId: 'r-1', callId: 'c-1' });
  const accepted = client.accept();
  assert.equal(server.last('rtc', 'answer').data.sdp, undefined);
  await server.ack(server.last('rtc', 'answer'));
  await accepted;
  await settle();
  assert.equal(last('call.accepted').user, 'alice');
  assert.equal(server.last('rtc', 'offer').data.sdp, 'offer 1');
});

test('an invitation that is too late does not ring, and one that comes again is the same', async () => {
  const { client, server, events } = await connected();
  await server.push('rtc_invite', '', { ...ref, from: 'bob', expire: 0 });
  await server.push('rtc_invite', '', { ...ref, from: 'bob', expire: 60 });
  assert.equal(server.last('rtc', 'ringing'), undefined);
  assert.equal(events('call.incoming').length, 1);
  await server.push('rtc_invite', '', { callId: 'c-2', roomId: 'r-2', from: 'carol', expire: 60 });
  assert.equal(events('protocol.violation').at(-1).what, 'invited_in_call');
  assert.equal(client.state.call, 'c-1');
});

test('a refused answer leaves the call as it was', async () => {
  const { client, server } = await connected();
  await server.push('rtc_invite', '', { ...ref, from: 'bob', expire: 60 });
  const accepted = client.accept();
  await server.refuse(server.last('rtc', 'answer'), 'bad_state');
  await assert.rejects(accepted, { code: 'bad_state' });
  assert.equal(client.state.callState, 'incoming');
});

test('a refused call never was', async () => {
  const { client, server, events } = await connected();
  const called = client.call('bob');
  await server.refuse(server.last('rtc', 'call'), 'busy');
  await assert.rejects(called, { code: 'busy' });
  assert.equal(client.state.callState, '');
  assert.equal(events('call.ended').length, 0);
});

test('who hangs up before the server has made the call leaves it then', async () => {
  const { client, server, last } = await connected();
  const called = client.call('bob');
  const left = client.hangup();
  assert.equal(server.last('rtc', 'leave'), undefined);
  await server.ack(server.last('rtc', 'call'), ref);
  await called;
  await server.ack(server.last('rtc', 'leave'));
  await left;
  assert.equal(last('call.ended').reason, 'cancelled');
});

test('hanging up stops media at once, and the reason says where the call stood', async () => {
  const { client, server, pcs, last } = await inCall();
  const left = client.hangup();
  assert.ok(pcs[0].closed);
  await server.push('rtc', 'candidate', { ...ref, candidate: host(1) }); // was on its way
  await server.ack(server.last('rtc', 'leave'));
  await left;
  assert.deepEqual([last('call.ended').reason, last('call.ended').by], ['hangup', 'alice']);
  await assert.rejects(client.hangup(), NotPossible);
});

test('the end is confirmed, and told once', async () => {
  const { client, server, pcs, last } = await inCall();
  await server.push('rtc', 'ended', { ...ref, reason: 'hangup', userId: 'bob' });
  assert.deepEqual([last('call.ended').reason, last('call.ended').by], ['hangup', 'bob']);
  assert.deepEqual(server.last('rtc', 'leave').data, { roomId: 'r-1', callId: 'c-1' });
  assert.ok(pcs[0].closed);
  await server.refuse(server.last('rtc', 'leave'), 'no_such_call');
  assert.equal(last('error'), undefined); // the two have crossed
  await server.push('rtc', 'ended', { ...ref, reason: 'hangup' });
  assert.equal(last('protocol.violation').what, 'ended_twice');
  assert.equal(client.state.call, '');
});

test('an end that crosses with hanging up is no error', async () => {
  const { client, server, last } = await inCall();
  const left = client.hangup();
  await server.push('rtc', 'ended', { ...ref, reason: 'hangup', userId: 'bob' });
  await server.refuse(server.last('rtc', 'leave'), 'no_such_call');
  await left;
  assert.equal(last('call.ended').by, 'bob');
});

test('negotiate makes a new leg, and the answer to the old one is of no use', async () => {
  const { server, pcs, last } = await inCall();
  await server.push('rtc', 'negotiate', { ...ref, reason: 'media_restarted' });
  assert.equal(pcs.length, 2);
  assert.ok(pcs[0].closed);
  assert.deepEqual([last('call.negotiate').reason, last('call.negotiate').from, last('call.negotiate').leg], ['media_restarted', 'server', 2]);
  await server.push('rtc', 'answer', { ...ref, sdp: 'old' });
  assert.equal(pcs[1].remoteDescription, undefined);
  await server.push('rtc', 'answer', { ...ref, sdp: 'new' });
  assert.equal(pcs[1].remoteDescription.sdp, 'new');
  await server.push('rtc', 'answer', { ...ref, sdp: 'unasked' });
  assert.equal(last('protocol.violation').what, 'unasked_answer');
});

test('a leg that failed is made anew once the server is known to be there', async () => {
  const { server, pcs, last } = await inCall();
  await pcs[0].become('failed');
  assert.equal(pcs.length, 1);
  await server.ack(server.last('state'));
  assert.equal(pcs.length, 2);
  assert.deepEqual([last('call.negotiate').reason, last('call.negotiate').from], ['ice_failed', 'client']);
});

test('a resumed session that lost the call ends it', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  const { server, last } = await inCall();
  await server.close(1006);
  t.mock.timers.tick(500);
  await settle();
  await server.welcome({ resumed: true });
  assert.equal(last('protocol.violation').what, 'call_lost');
  assert.equal(last('call.ended').reason, 'dropped');
});

test('a resumed session names a call whose acknowledgement was lost', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  const { client, server, events } = await connected();
  const called = client.call('bob');
  await server.close(1006);
  t.mock.timers.tick(500);
  await settle();
  server.socket.open();
  await settle();
  await server.ack0({ resumed: true, call: { ...ref, peer: 'bob', state: 'ringing' } });
  await server.push('rtc', 'ringing', { ...ref, userId: 'bob' });
  await server.ack(server.last('rtc', 'call'), ref);
  await called;
  await server.ack(server.last('state'));
  assert.equal(events('call.outgoing').length, 1);
  assert.equal(client.state.callState, 'ringing');
  assert.equal(events('protocol.violation').length, 0);
});

test('ICE servers are the newest ones, and a client that needs a relay asks for others once', async () => {
  const turn = { urls: ['turn:192.0.2.1'], username: 'u', credential: 'p' };
  const r = await connected({ relay: true }, { iceServers: [turn], iceTTL: 300 });
  const called = r.client.call('bob');
  await r.server.ack(r.server.last('rtc', 'call'), ref);
  await called;
  await r.server.push('rtc', 'answer', { ...ref, userId: 'bob' });
  assert.deepEqual([r.pcs[0].config.iceServers, r.pcs[0].config.iceTransportPolicy], [[turn], 'relay']);
  await r.pcs[0].gather(null);
  const fresh = { ...turn, credential: 'q' };
  await r.server.ack(r.server.last('turn'), { iceServers: [fresh], ttl: 300 });
  assert.deepEqual(r.pcs[1].config.iceServers, [fresh]);
  await r.pcs[1].gather(null);
  assert.equal(r.pcs.length, 2);
});

test('hooks change candidates and leave them out', async () => {
  const candidate = (c, side) => (c.candidate.includes('typ relay') ? null : { ...c, candidate: `${side} ${c.candidate}` });
  const { server, pcs } = await inCall({ hooks: { candidate } });
  await server.push('rtc', 'answer', { ...ref, sdp: 'answer' });
  await server.push('rtc', 'candidate', { ...ref, candidate: host(1), sdpMid: '0' });
  await server.push('rtc', 'candidate', { ...ref, candidate: host(1).replace('host', 'relay'), sdpMid: '0' });
  await pcs[0].gather(host(2));
  assert.deepEqual(pcs[0].candidates, [`remote ${host(1)}`]);
  assert.equal(server.last('rtc', 'candidate').data.candidate, `local ${host(2)}`);
});

test('a muted kind is not sent, in later legs either, until it is unmuted', async () => {
  const { client, server, pcs } = await inCall();
  await client.setMuted('video', true);
  assert.deepEqual(pcs[0].transceivers.map((t) => t.sender.track?.kind), ['audio', undefined]);
  await server.push('rtc', 'negotiate', { ...ref, reason: 'dtls_timeout' });
  assert.deepEqual(pcs[1].transceivers.map((t) => t.sender.track?.kind), ['audio', undefined]);
  assert.deepEqual(pcs[1].transceivers.map((t) => t.init.direction), ['sendrecv', 'sendrecv']);
  await client.setMuted('video', false);
  assert.equal(pcs[1].transceivers[1].sender.track.kind, 'video');
});

test('statistics are told while a leg lives', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  const { server, pcs, last, events } = await inCall({ statsEvery: 1000 });
  await pcs[0].become('connected');
  t.mock.timers.tick(1000);
  await settle();
  assert.deepEqual(last('media.stats'), { kind: 'media.stats', call: 'c-1', of: 'inbound-rtp', media: 'audio', packets: 7, energy: 0.5, leg: 1 });
  await server.push('rtc', 'ended', { ...ref, reason: 'hangup' });
  t.mock.timers.tick(5000);
  await settle();
  assert.equal(events('media.stats').length, 1);
});

test('tracks are stopped with their call, unless the application keeps them', async () => {
  for (const stopTracks of [true, false]) {
    const { client, server, pcs } = await inCall({ stopTracks });
    const { track } = pcs[0].transceivers[0].sender;
    client.hangup();
    await server.ack(server.last('rtc', 'leave'));
    assert.equal(track.readyState, stopTracks ? 'ended' : 'live');
  }
});
