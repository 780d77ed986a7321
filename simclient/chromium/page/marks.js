// @ts-check
// The marks that Callbench's media carries: the marker of each coded unit, and the
// barcode of each picture. Package simclient/media has the same in Go.

/** @typedef {{call: string, user: string, track: number}} Identity */

const castagnoli = new Uint32Array(256).map((_, i) => {
  let c = i;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c;
});

/**
 * CRC-32C.
 * @param {Uint8Array} bytes
 */
export function checksum(bytes) {
  let crc = 0xffffffff;
  for (const b of bytes) crc = castagnoli[(crc ^ b) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/**
 * The 64-bit FNV-1a hash by which marks name a call.
 * @param {string} call
 */
export function callHash(call) {
  let h = 14695981039346656037n;
  for (const b of new TextEncoder().encode(call)) h = BigInt.asUintN(64, (h ^ BigInt(b)) * 1099511628211n);
  return h;
}

/**
 * The 32-bit FNV-1a hash by which marks name a user.
 * @param {string} user
 */
export function userHash(user) {
  let h = 2166136261;
  for (const b of new TextEncoder().encode(user)) h = Math.imul(h ^ b, 16777619);
  return h >>> 0;
}

/**
 * The 32 bytes that a coded unit carries.
 * @param {Identity} id
 * @param {number} sequence
 * @param {bigint} capture in nanoseconds since 1970
 */
export function marker(id, sequence, capture) {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xf2cb0100 | id.track);
  view.setBigUint64(4, callHash(id.call));
  view.setUint32(12, userHash(id.user));
  view.setUint32(16, sequence);
  view.setBigUint64(20, capture);
  view.setUint32(28, checksum(bytes.subarray(0, 28)));
  return bytes;
}

export const columns = 16;
export const rows = 12;

/**
 * The cells of a barcode's picture, row by row; true is bright.
 * @param {Identity} id
 * @param {number} count of the picture, modulo 256
 */
export function barcode(id, count) {
  const code = new Uint8Array(12);
  const view = new DataView(code.buffer);
  view.setUint32(0, userHash(id.user));
  view.setUint16(4, Number(callHash(id.call) & 0xffffn));
  view.setUint8(6, id.track);
  view.setUint8(7, count);
  view.setUint32(8, checksum(Uint8Array.of(...code.subarray(0, 8), 1)));
  return Array.from({ length: columns * rows }, (_, i) => {
    const x = (i % columns) - 2;
    const y = Math.floor(i / columns) - 2;
    if (x >= 0 && x < 12 && y >= 0 && y < 8) {
      const bit = y * 12 + x;
      return ((code[bit >> 3] >> (7 - (bit & 7))) & 1) !== 0;
    }
    return x >= -1 && x < 13 && y >= -1 && y < 9; // the ring
  });
}
