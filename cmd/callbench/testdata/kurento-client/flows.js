// The flows of Kurento's tutorials, with the official client: node flows.js URL FLOW [RECORDING]
//
// Peers live in the parent process. It writes one JSON object a line, {peer, offer}, {peer, candidate} or
// {stop: true}; this script answers with {peer, answer}, {peer, candidate}, {event, peer, …} and {stopped: true}.
'use strict';
const kurento = require('kurento-client');
const readline = require('readline');

const [url, flow, recording] = process.argv.slice(2);
const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');
const fail = (error) => { say({ error: String(error.message || error) }); process.exit(1); };

const watched = ['Error', 'MediaStateChanged', 'ConnectionStateChanged', 'MediaFlowInStateChanged',
  'MediaFlowOutStateChanged', 'UriEndpointStateChanged', 'Recording', 'Stopped'];

function watch(object, peer, events) {
  for (const name of events) {
    object.on(name, (event) => say({ event: name, peer, state: event.newState || event.state, media: event.mediaType,
      description: event.description }));
  }
}

const endpointEvents = watched.slice(0, 5);
const recorderEvents = ['Error', ...watched.slice(5)];

// Each flow says how a peer's endpoint is wired once it exists.
const flows = {
  async helloWorld(state, peer, endpoint) {
    await endpoint.connect(endpoint);
  },
  async one2one(state, peer, endpoint) {
    const other = Object.keys(state.endpoints).find((name) => name !== peer);
    if (other) {
      await state.endpoints[other].connect(endpoint);
      await endpoint.connect(state.endpoints[other]);
    }
  },
  async one2many(state, peer, endpoint) {
    state.presenter = state.presenter || endpoint;
    if (endpoint !== state.presenter) await state.presenter.connect(endpoint);
  },
  async recorder(state, peer, endpoint) {
    state.recorder = await state.pipeline.create('RecorderEndpoint', { uri: recording, mediaProfile: 'WEBM' });
    watch(state.recorder, 'recorder', recorderEvents);
    await endpoint.connect(endpoint);
    await endpoint.connect(state.recorder);
    await state.recorder.record();
  },
  async composite(state, peer, endpoint) {
    state.composite = state.composite || await state.pipeline.create('Composite');
    const port = await state.composite.createHubPort();
    await endpoint.connect(port);
    await port.connect(endpoint);
  },
};

async function join(state, peer, offer) {
  const endpoint = await state.pipeline.create('WebRtcEndpoint');
  watch(endpoint, peer, endpointEvents);
  endpoint.on('IceCandidateFound', (event) => say({ peer, candidate: kurento.getComplexType('IceCandidate')(event.candidate) }));
  await flows[flow](state, peer, endpoint);
  state.endpoints[peer] = endpoint;
  say({ peer, answer: await endpoint.processOffer(offer) });
  await endpoint.gatherCandidates();
  for (const candidate of state.early[peer] || []) await endpoint.addIceCandidate(candidate);
}

async function stop(state, client) {
  if (state.recorder) await state.recorder.stopAndWait();
  const stats = {};
  for (const [peer, endpoint] of Object.entries(state.endpoints)) {
    stats[peer] = Object.values(await endpoint.getStats()).map((one) => one.type);
  }
  await state.pipeline.release();
  const manager = await client.getServerManager();
  const pipelines = await manager.getPipelines();
  say({ stopped: true, stats, left: pipelines.some((one) => one.id === state.pipeline.id) });
}

async function main() {
  const client = await kurento(url, { failAfter: 1 });
  const state = { pipeline: await client.create('MediaPipeline'), endpoints: {}, early: {} };
  say({ ready: true });
  // One line after the other: joining peers find those before them complete.
  let queue = Promise.resolve();
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const message = JSON.parse(line);
    queue = queue.then(() => take(state, client, message)).catch(fail);
  }).on('close', () => queue.then(() => {
    client.close();
    process.exit(0); // the client's timers would keep the process for 20 s
  }));
}

async function take(state, client, message) {
  if (message.stop) return stop(state, client);
  if (message.offer) return join(state, message.peer, message.offer);
  const candidate = kurento.getComplexType('IceCandidate')(message.candidate);
  const endpoint = state.endpoints[message.peer];
  if (endpoint) return endpoint.addIceCandidate(candidate);
  (state.early[message.peer] = state.early[message.peer] || []).push(candidate);
}

process.on('unhandledRejection', fail);
main().catch(fail);
