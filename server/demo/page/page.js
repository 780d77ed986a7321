import { Signaling } from './signaling.js'
import { Call } from './call.js'
import * as source from './source.js'

const $ = (id) => document.getElementById(id)
const text = (node, s) => { node.textContent = s; return node }
const item = (s, name) => Object.assign(text(document.createElement('li'), s), { className: name ?? '' })

let users = [], sig, call = null, stream = null, facts = 0
const status = new Map()

function enter(me) {
  $('login').hidden = true
  $('desk').hidden = false
  document.title = `${me.name} – Callbench demo`
  for (const u of users.filter((u) => u.name !== me.name)) {
    const row = item('')
    row.id = `contact-${u.name}`
    const name = Object.assign(text(document.createElement('span'), u.name), { className: 'name' })
    name.dataset.status = 'offline'
    const b = text(document.createElement('button'), 'Call')
    b.onclick = () => dial(u.name)
    row.append(name, b)
    $('contacts').append(row)
    $('to').append(new Option(u.name))
  }
  sig = new Signaling(new URL('ws', location.href.replace(/^http/, 'ws').replace(/#.*/, '')), me.token)
  for (const [name, f] of Object.entries(events)) sig.addEventListener(name, (e) => f(e.detail))
  sig.connect()
}

const events = {
  open: ({ resumed }) => text($('session'), `connected as ${sig.user}${resumed ? ' (resumed)' : ''}`),
  closed: ({ code, reason, again }) => text($('session'), `connection lost (${code} ${reason})${again ? ', coming back …' : ''}`),
  lost: () => finish('the session could not be resumed'),
  refused: (e) => note(`refused: ${e.message}`),
  frame: ({ out, frame }) => {
    const brief = JSON.stringify(frame, (k, v) => (['sdp', 'token', 'resume', 'resumeToken', 'credential'].includes(k) ? '…' : v))
    $('frames').append(item(`${out ? '→' : '←'} ${brief}`))
    while ($('frames').children.length > 200) $('frames').firstChild.remove()
  },
  state: (s) => {
    if ((s.version ?? 0) < (status.get(s.userId) ?? 0)) return
    status.set(s.userId, s.version ?? 0)
    const name = document.querySelector(`#contact-${CSS.escape(s.userId)} .name`)
    if (name) name.dataset.status = s.status
  },
  message: (m) => $('messages').append(item(`${m.from} → ${m.to}: ${m.content}`, m.call ? 'call' : '')),
  rtc_invite: (i) => {
    call = new Call(sig, { callId: i.callId, roomId: i.roomId }, i.from, false)
    text($('caller'), i.from)
    $('ring').hidden = false
    call.ringing()
  },
  rtc: (d) => { if (call?.is(d)) onRTC(d) },
}

function onRTC(d) {
  switch (d.action) {
    case 'ringing': return text($('state'), `rings at ${d.userId}`)
    case 'answer': return d.sdp ? call.sdpAnswer(d.sdp).catch(broken) : begin()
    case 'candidate': return call.candidate(d).catch(broken)
    case 'negotiate': return call.negotiate(stream).catch(broken)
    case 'reconnecting': return text($('state'), `${d.userId}'s connection dropped`)
    case 'reconnected': return text($('state'), 'connected')
    case 'ended':
      call.end('leave')
      return finish(d.reason)
  }
}

async function dial(user) {
  if (call) return
  show(user)
  try {
    const ref = await sig.rtc('call', { targetUser: user })
    call = new Call(sig, { callId: ref.callId, roomId: ref.roomId }, user, true)
  } catch (e) {
    finish(e.code)
  }
}

async function begin() {
  await media()
  await call.negotiate(stream).catch(broken)
}

$('accept').onclick = async () => {
  $('ring').hidden = true
  show(call.peer)
  await media()
  await call.accept(stream).catch((e) => finish(e.code ?? e.message))
}

$('reject').onclick = () => { call.end('reject'); finish('declined') }
$('hangup').onclick = () => { call?.end('leave'); finish('hangup') }

async function media() {
  stream = await source.open($('source').value, sig.user)
  $('local').srcObject = stream
  const c = call
  c.addEventListener('state', (e) => {
    text($('state'), e.detail)
    $('remote').srcObject = c.remote
  })
  facts = setInterval(async () => {
    const f = await c.facts()
    $('facts').dataset.frames = f.frames
    text($('facts'), `${f.frames} frames decoded, ${f.packets} audio packets`)
  }, 500)
}

function show(peer) {
  $('call').hidden = false
  text($('peer'), peer)
  text($('state'), 'calling …')
  text($('facts'), '')
}

function finish(why) {
  if (!call && $('call').hidden) return
  source.close(stream)
  clearInterval(facts)
  call = stream = null
  $('ring').hidden = $('call').hidden = true
  note(`call over: ${why}`)
}

function broken(e) {
  note(`the call broke: ${e.message}`)
  call?.end('leave')
  finish('failed here')
}

function note(s) { $('messages').append(item(s, 'call')) }

$('say').onsubmit = async (e) => {
  e.preventDefault()
  const m = { messageId: crypto.randomUUID(), to: $('to').value, content: $('text').value }
  $('text').value = ''
  try {
    await sig.request('message', '', m)
    $('messages').append(item(`${sig.user} → ${m.to}: ${m.content}`))
  } catch (err) {
    note(`not delivered: ${err.message}`)
  }
}

users = await (await fetch('users.json')).json()
for (const u of users) {
  const b = text(document.createElement('button'), u.name)
  b.onclick = () => enter(u)
  $('users').append(b)
}
const wished = users.find((u) => u.name === location.hash.slice(1))
if (wished) enter(wished)
