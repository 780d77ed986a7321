// @ts-check
// What getStats says of a leg, under short names.

/** @typedef {import('./types.d.ts').Attrs} Attrs */

/** The figures of each report that are told, by the name of the event's attribute (W3C webrtc-stats). */
const figures = {
  'inbound-rtp': {
    packets: 'packetsReceived', bytes: 'bytesReceived', lost: 'packetsLost', jitter_s: 'jitter', nacks: 'nackCount', plis: 'pliCount',
    frames_decoded: 'framesDecoded', key_frames_decoded: 'keyFramesDecoded', frames_dropped: 'framesDropped', freezes: 'freezeCount', freeze_s: 'totalFreezesDuration',
    width: 'frameWidth', height: 'frameHeight', concealed: 'concealedSamples', silent_concealed: 'silentConcealedSamples',
    energy: 'totalAudioEnergy', level: 'audioLevel', sound_s: 'totalSamplesDuration',
  },
  'outbound-rtp': { packets: 'packetsSent', bytes: 'bytesSent', frames_encoded: 'framesEncoded', key_frames_encoded: 'keyFramesEncoded', nacks: 'nackCount', plis: 'pliCount', target_bps: 'targetBitrate' },
  'candidate-pair': { rtt_s: 'currentRoundTripTime', available_bps: 'availableOutgoingBitrate', bytes_sent: 'bytesSent', bytes_received: 'bytesReceived' },
};

/**
 * One sample: a list of attributes for each stream in each direction, and for the pair in use.
 * @param {RTCPeerConnection} pc
 * @returns {Promise<Attrs[]>}
 */
export async function sample(pc) {
  /** @type {Attrs[]} */
  const out = [];
  (await pc.getStats()).forEach((/** @type {any} */ report) => {
    const names = figures[/** @type {keyof typeof figures} */ (report.type)];
    if (!names || (report.type === 'candidate-pair' && !report.nominated)) return;
    /** @type {Attrs} */
    const attrs = { of: report.type };
    if (report.kind) attrs.media = report.kind;
    for (const [name, key] of Object.entries(names)) {
      if (typeof report[key] === 'number') attrs[name] = report[key];
    }
    out.push(attrs);
  });
  return out;
}
