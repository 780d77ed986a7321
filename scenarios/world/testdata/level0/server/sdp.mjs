// What of an offer or a candidate a media server should not see.
import { isIP } from 'node:net';
import { Refusal } from './refusal.mjs';

/** Checks an offer, and leaves VP8 alone of its video codecs: a media server would code anew between two that differ. */
export function pinned(sdp) {
  if (typeof sdp !== 'string' || !sdp.startsWith('v=0')) throw new Refusal('invalid_sdp', 'not an SDP');
  const lines = sdp.split(/\r?\n/);
  if (lines.some((l) => /[\x00-\x1f\x7f]/.test(l))) throw new Refusal('invalid_sdp', 'control characters within a line');
  if (lines.some((l) => l !== '' && !/^[a-z]=/.test(l)) || !lines.some((l) => l.startsWith('m='))) throw new Refusal('invalid_sdp', 'not an SDP');
  const sections = [[]];
  for (const l of lines) {
    if (l.startsWith('m=')) sections.push([]);
    sections.at(-1).push(l);
  }
  return sections.map((s) => (s[0]?.startsWith('m=video') ? vp8(s) : s).join('\r\n')).join('\r\n');
}

/** A video section with VP8 and its retransmissions alone. */
function vp8(section) {
  const keep = new Set();
  for (const l of section) {
    const m = /^a=rtpmap:(\d+) VP8\//i.exec(l);
    if (m) keep.add(m[1]);
  }
  for (const l of section) {
    const m = /^a=fmtp:(\d+) apt=(\d+)/.exec(l);
    if (m && keep.has(m[2])) keep.add(m[1]);
  }
  if (keep.size === 0) throw new Refusal('codec_unsupported', 'the offer has no VP8');
  return section.filter((l) => {
    const m = /^a=(?:rtpmap|fmtp|rtcp-fb):(\d+) /.exec(l);
    return !m || keep.has(m[1]);
  }).map((l, i) => {
    if (i > 0) return l;
    const [media, port, protocol, ...formats] = l.split(' ');
    return [media, port, protocol, ...formats.filter((f) => keep.has(f))].join(' ');
  });
}

/** Checks a candidate, which must point to where a client may be. */
export function candidate(text) {
  const refuse = (why) => { throw new Refusal('invalid_candidate', why); };
  if (typeof text !== 'string') throw new Refusal('bad_data', 'a candidate is text');
  if (text.length > 512 || /[\x00-\x1f\x7f]/.test(text)) refuse('too long or with control characters');
  if (text === '') return text;
  const words = text.replace(/^a=/, '').split(' ');
  const [foundation, , transport, , address, port] = words;
  if (!foundation.startsWith('candidate:') || words.length < 8 || !isIP(address)) refuse('not a candidate with an address');
  if (/^(0\.|169\.254\.|22[4-9]\.|23\d\.|255\.|::$|fe[89ab]|ff)/i.test(address)) refuse(`${address} is where no client is`);
  const dials = transport.toLowerCase() === 'tcp' && port === '9';
  if (!(Number(port) >= 1024 && Number(port) <= 65535) && !dials) refuse(`port ${port} is not one of a client`);
  return text;
}
