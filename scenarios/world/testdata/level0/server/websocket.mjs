// RFC 6455 in both roles, as far as this server and Kurento use it: no extensions, no subprotocols.
import { createHash, randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import http from 'node:http';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'; // RFC 6455 §1.3
const acceptOf = (key) => createHash('sha1').update(key + GUID).digest('base64');

/** The opcodes of RFC 6455 §5.2. */
const TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;

/** A WebSocket. It emits text, binary, ping, pong and, once, close. */
export class Socket extends EventEmitter {
  #socket; #client; #limit; #read = Buffer.alloc(0); #parts = []; #opcode = 0; #closed = false;

  constructor(socket, head, { client, limit }) {
    super();
    this.#socket = socket;
    this.#client = client;
    this.#limit = limit;
    socket.setNoDelay(true);
    socket.on('data', (b) => this.#take(b));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#end());
    if (head.length > 0) setImmediate(() => this.#take(head)); // when listeners are there
  }

  /** Sends a text message. */
  send(text) { this.#write(TEXT, Buffer.from(text)); }

  ping() { this.#write(PING, Buffer.alloc(0)); }

  /** Says goodbye; the other side ends the connection, or is cut off. */
  close(code = 1000) {
    if (this.#closed) return;
    const body = Buffer.alloc(2);
    body.writeUInt16BE(code);
    this.#write(CLOSE, body);
    this.#closed = true;
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), 1000).unref();
  }

  #write(opcode, body) {
    if (this.#closed || this.#socket.destroyed) return;
    const long = body.length > 65535 ? 8 : body.length > 125 ? 2 : 0;
    const head = Buffer.alloc(2 + long);
    head[0] = 0x80 | opcode;
    head[1] = long === 8 ? 127 : long === 2 ? 126 : body.length;
    if (long === 8) head.writeBigUInt64BE(BigInt(body.length), 2);
    if (long === 2) head.writeUInt16BE(body.length, 2);
    if (!this.#client) {
      this.#socket.write(Buffer.concat([head, body]));
      return;
    }
    const mask = randomBytes(4); // only clients mask
    head[1] |= 0x80;
    this.#socket.write(Buffer.concat([head, mask, body.map((byte, i) => byte ^ mask[i % 4])]));
  }

  #end() {
    if (this.ended) return;
    this.ended = true;
    this.emit('close');
  }

  #take(bytes) {
    this.#read = Buffer.concat([this.#read, bytes]);
    while (!this.#closed && this.#frame());
  }

  /** Takes one frame, if it is all there. */
  #frame() {
    const b = this.#read;
    if (b.length < 2) return false;
    const masked = (b[1] & 0x80) !== 0;
    let size = b[1] & 0x7f, at = 2;
    if (size === 126) { if (b.length < 4) return false; size = b.readUInt16BE(2); at = 4; }
    else if (size === 127) { if (b.length < 10) return false; size = Number(b.readBigUInt64BE(2)); at = 10; }
    if (masked === this.#client || (b[0] & 0x70) !== 0) return this.#refuse(1002);
    if (size > this.#limit) return this.#refuse(1009);
    const end = at + (masked ? 4 : 0) + size;
    if (b.length < end) return false;
    let body = Buffer.from(b.subarray(end - size, end));
    if (masked) body = body.map((byte, i) => byte ^ b[at + (i % 4)]);
    this.#read = b.subarray(end);
    this.#got(b[0] & 0x0f, (b[0] & 0x80) !== 0, body);
    return true;
  }

  #refuse(code) {
    this.emit('refused', code);
    this.close(code);
    return false;
  }

  #got(opcode, final, body) {
    switch (opcode) {
      case PING: this.#write(PONG, body); this.emit('ping'); return;
      case PONG: this.emit('pong'); return;
      case CLOSE: this.close(body.length >= 2 ? body.readUInt16BE(0) : 1000); return;
    }
    if (opcode !== 0) { this.#parts = []; this.#opcode = opcode; }
    this.#parts.push(body);
    const whole = Buffer.concat(this.#parts);
    if (whole.length > this.#limit) { this.#refuse(1009); return; }
    if (!final) return;
    this.#parts = [];
    if (this.#opcode === BINARY) { this.emit('binary', whole); return; }
    let text;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(whole);
    } catch {
      this.#refuse(1007);
      return;
    }
    this.emit('text', text);
  }
}

/** Answers the request for a WebSocket. */
export function accept(request, socket, head, limit) {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${acceptOf(request.headers['sec-websocket-key'])}\r\n\r\n`);
  return new Socket(socket, head, { client: false, limit });
}

/** Connects to a server. */
export function dial(url, limit) {
  const key = randomBytes(16).toString('base64');
  return new Promise((resolve, reject) => {
    const request = http.get(url.replace(/^ws/, 'http'), {
      headers: { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': key },
    });
    request.on('error', reject);
    request.on('response', (r) => reject(new Error(`${url} answers ${r.statusCode}`)));
    request.on('upgrade', (response, socket, head) => {
      if (response.headers['sec-websocket-accept'] !== acceptOf(key)) {
        socket.destroy();
        reject(new Error(`${url} is no WebSocket`));
        return;
      }
      resolve(new Socket(socket, head, { client: true, limit }));
    });
  });
}
