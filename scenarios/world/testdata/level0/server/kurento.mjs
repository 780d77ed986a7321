// As much of Kurento's JSON-RPC 2.0 as calls between two need.
import { dial } from './websocket.mjs';

const ANSWER_WITHIN = 10_000; // ms

/** A connection to a Kurento. */
export class Kurento {
  #socket; #session; #next = 1; #waiting = new Map(); #handlers = new Map();

  static async connect(url) {
    const k = new Kurento();
    k.#socket = await dial(url, 32 << 20);
    k.#socket.on('text', (text) => k.#got(JSON.parse(text)));
    k.#socket.on('close', () => {
      console.error('the media server has gone');
      process.exit(1);
    });
    k.#session = (await k.#call('connect', {})).sessionId;
    setInterval(() => k.#call('ping', { interval: 240_000 }).catch(() => {}), 60_000).unref(); // sessions end after 4 minutes of silence
    return k;
  }

  #call(method, params) {
    const id = this.#next++;
    const session = this.#session ? { sessionId: this.#session } : {};
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`${method} is not answered`));
      }, ANSWER_WITHIN);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket.send(JSON.stringify({ jsonrpc: '2.0', id, method, params: { ...params, ...session } }));
    });
  }

  #got(message) {
    if (message.method === 'onEvent') {
      const { object, type, data } = message.params.value;
      this.#handlers.get(`${object} ${type}`)?.(data);
      return;
    }
    const asked = this.#waiting.get(message.id);
    if (!asked) return;
    this.#waiting.delete(message.id);
    clearTimeout(asked.timer);
    if (message.error) asked.reject(new Error(message.error.message));
    else asked.resolve(message.result ?? {});
  }

  async create(type, constructorParams) {
    return (await this.#call('create', { type, constructorParams, properties: {} })).value;
  }

  async invoke(object, operation, operationParams) {
    return (await this.#call('invoke', { object, operation, operationParams })).value;
  }

  async on(object, type, handler) {
    this.#handlers.set(`${object} ${type}`, handler);
    await this.#call('subscribe', { type, object });
  }

  async release(object) {
    for (const key of this.#handlers.keys()) if (key.startsWith(`${object} `)) this.#handlers.delete(key);
    await this.#call('release', { object });
  }
}
