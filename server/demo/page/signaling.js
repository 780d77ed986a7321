// The protocol of docs/protocol.md, level 1, on one WebSocket: hello, resume,
// requests with ack or error, receipts.

const receiptEvery = 32
const receiptAfter = 1000 // ms

export class Signaling extends EventTarget {
  #url; #token; #device = `tab-${crypto.randomUUID().slice(0, 8)}`
  #ws = null; #lastID = 0; #pending = new Map()
  #resumeToken = ''; #lastSeq = 0; #told = 0; #receipt = 0
  #attempt = 0; #closed = false
  user = ''; iceServers = []

  constructor(url, token) {
    super()
    this.#url = url
    this.#token = token
  }

  connect() {
    const ws = this.#ws = new WebSocket(this.#url)
    ws.onopen = () => this.#write({ type: 'hello', id: this.#newID(), data: {
      version: 1, token: this.#token, device: this.#device, features: ['resume'],
      ...(this.#resumeToken && { resume: this.#resumeToken, lastSeq: this.#lastSeq }) } })
    ws.onmessage = (e) => this.#receive(JSON.parse(e.data))
    ws.onclose = (e) => this.#lost(e)
  }

  close() {
    this.#closed = true
    this.#ws?.close(1000)
  }

  // request resolves with the data of the ack, or rejects with the error's.
  request(type, action, data) {
    return new Promise((resolve, reject) => {
      const frame = { type, ...(action && { action }), id: this.#newID(), data }
      this.#pending.set(frame.id, { frame, resolve, reject })
      if (this.user && this.#ws.readyState === WebSocket.OPEN) this.#write(frame)
    })
  }

  rtc(action, data) { return this.request('rtc', action, data) }

  #newID() { return String(++this.#lastID) }

  #write(frame) {
    this.#tell('frame', { out: true, frame })
    this.#ws.send(JSON.stringify(frame))
  }

  #tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })) }

  #receive(frame) {
    this.#tell('frame', { out: false, frame })
    const data = frame.data ?? {}
    if (frame.type === 'welcome') return this.#welcome(data)
    if (frame.type === 'ack' || frame.type === 'error') return this.#answered(frame, data)
    if (frame.seq <= this.#lastSeq) return // seen before a resume
    this.#lastSeq = frame.seq
    this.#receiptSoon()
    this.#tell(frame.type, { action: frame.action, ...data })
  }

  #welcome(w) {
    if (!w.resumed) {
      this.#lastSeq = this.#told = 0
      if (this.#resumeToken) this.#tell('lost')
    }
    this.#resumeToken = w.resumeToken
    this.user = w.userId
    this.iceServers = w.iceServers ?? []
    this.#attempt = 0
    this.#tell('open', { resumed: w.resumed })
    for (const { frame } of this.#pending.values()) this.#write(frame)
  }

  #answered(frame, data) {
    const waiting = this.#pending.get(frame.id)
    this.#pending.delete(frame.id)
    if (frame.type === 'ack') return waiting?.resolve(data)
    const error = Object.assign(new Error(data.message), { code: data.code })
    waiting ? waiting.reject(error) : this.#tell('refused', error)
  }

  #receiptSoon() {
    const tell = () => {
      clearTimeout(this.#receipt)
      this.#receipt = 0
      if (this.#ws.readyState !== WebSocket.OPEN || this.#told === this.#lastSeq) return
      this.#told = this.#lastSeq
      this.#write({ type: 'ack', data: { seq: this.#lastSeq } })
    }
    if (this.#lastSeq - this.#told >= receiptEvery) return tell()
    this.#receipt ||= setTimeout(tell, receiptAfter)
  }

  // lost comes back as the close code says: never for what a new connection
  // cannot mend, else after a random time that grows.
  #lost({ code, reason }) {
    const never = [1000, 4401, 4406, 4409].includes(code)
    this.#tell('closed', { code, reason, again: !never && !this.#closed })
    if (never || this.#closed) return
    if (code === 4400) this.#resumeToken = ''
    const wait = Math.random() * Math.min(8000, 500 * 2 ** this.#attempt++)
    setTimeout(() => this.connect(), wait)
  }
}
